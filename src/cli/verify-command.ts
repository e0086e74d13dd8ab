/** `rec-r1 verify`: our numbers against reference values that other programs computed. */
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { printable, Reporter } from "./progress.ts";
import { formatPart, formatSummary, toJson } from "./verify/format.ts";
import { runVerify } from "./verify/verify.ts";

interface VerifyFlags {
  fixtures: string;
  model?: string;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .requiredOption(
      "--fixtures <folder>",
      "reference values: tiny-models/NAME/, smollm2-135m-instruct.json, trec-eval.json, lucene/; absent ones are skipped",
    )
    .option(
      "--model <path>",
      "model that smollm2-135m-instruct.json is of (default: the Q4_1 GGUF of that name, fetched if need be)",
    )
    .option("--json", "print the result as one JSON object on the last line")
    .action(verify);
}

async function verify({ fixtures, model, json }: VerifyFlags): Promise<void> {
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  try {
    const result = await runVerify({
      fixtures,
      ...(model === undefined ? {} : { model }),
      signal: interrupt.signal,
      onStatus: (text) => reporter.status(text),
      onPart: (part) => {
        reporter.clear();
        if (!json) process.stdout.write(printable(formatPart(part)));
      },
    });
    process.stdout.write(json ? `${JSON.stringify(toJson(result))}\n` : formatSummary(result));
    if (!result.ok) process.exitCode = 1;
  } finally {
    reporter.clear();
    interrupt.dispose();
  }
}
