/** `rec-r1 forget`: general ability of a model before and after it was trained, by reinforcement or with supervision. */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { describeFileError, writeFileAtomic } from "../core/atomic-write.ts";
import { ConfigError } from "../core/errors.ts";
import type { Engine } from "../engines/engine.ts";
import { renderMarkdown, renderText } from "../eval/comparison/tables.ts";
import {
  readArithmetic,
  readChoices,
  readInstructions,
  readPrograms,
  takeShares,
} from "../eval/forgetting/benchmarks.ts";
import { measureAbility, measureDivergence } from "../eval/forgetting/measure.ts";
import type { AbilityOptions, Measures } from "../eval/forgetting/measure.ts";
import { forgettingFormat, forgettingTable } from "../eval/forgetting/report.ts";
import type { AbilityMeasure, ForgettingReport } from "../eval/forgetting/report.ts";
import { readManifest } from "../runs/run-folder.ts";
import { Closing } from "./closing.ts";
import { engineConfigSchema } from "./launch-config.ts";
import { loadPolicy } from "./load-policy.ts";
import { openEngine } from "./open-engine.ts";
import { parseCount } from "./options.ts";
import { printable, Reporter } from "./progress.ts";
import { labelRuns } from "./run-labels.ts";

interface ForgetFlags {
  ifeval?: string;
  gsm8k?: string;
  mmlu: string[];
  humaneval?: string;
  allowCode?: boolean;
  prompts?: string;
  text?: string;
  limit: string;
  maxTokens: string;
  seed: string;
  checkpoint: string;
  out?: string;
  markdown?: string;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument("<run...>", "run folders of the same model, such as one of rec-r1 train and one of rec-r1 compare --sft")
    .option("--ifeval <file>", "IFEval's input_data.jsonl")
    .option("--gsm8k <file>", "GSM8K's test.jsonl")
    .option("--mmlu <file...>", "MMLU's CSV files, or JSON Lines", [])
    .option("--humaneval <file>", "HumanEval.jsonl; parsed, and run only with --allow-code")
    .option("--allow-code", "run the programs that the model writes, in processes of their own with limits")
    .option("--prompts <file>", "general prompts for the divergence, one a line (default: the project's own 40)")
    .option("--text <file>", "held-out text for the perplexity (default: the project's own)")
    .option("--limit <number>", "only the first so many items of each benchmark, of MMLU's files together; 0: all", "0")
    .option("--max-tokens <number>", "longest answer, in tokens", "256")
    .option("--seed <number>", "addresses sampling", "0")
    .option("--checkpoint <which>", "best (on validation), last, or the number of a step", "best")
    .option("--out <file>", "write the report as JSON (rec-r1 gate reads it)")
    .option("--markdown <file>", "write the table as Markdown")
    .option("--json", "print the report as one JSON object on the last line")
    .action(async (runs: string[], flags: ForgetFlags) => runForget(runs, flags));
}

async function runForget(runs: readonly string[], flags: ForgetFlags): Promise<void> {
  const seed = parseCount(flags.seed, "--seed");
  const limit = parseCount(flags.limit, "--limit");
  const maxTokens = Math.max(1, parseCount(flags.maxTokens, "--max-tokens"));
  const labels = labelRuns("rec-r1 forget", runs);
  const manifests = await Promise.all(
    runs.map(async (dir) => ({ dir, config: engineConfigSchema.parse((await readManifest(dir)).launch.engine) })),
  );
  const model = (manifests[0] as (typeof manifests)[number]).config.model;
  const other = manifests.find(({ config }) => config.model !== model);
  if (other) {
    throw new ConfigError(
      "MODELS_DIFFER",
      `${runs[0]} trained ${model}, ${other.dir} trained ${other.config.model}. Compare runs of one model at a time.`,
    );
  }
  const notes: string[] = [];
  const choices = takeShares(await Promise.all(flags.mmlu.map((path) => readChoices(path, limit))), limit);
  const programs = flags.humaneval === undefined ? undefined : await readPrograms(flags.humaneval, limit);
  if (programs && !flags.allowCode)
    notes.push(`HumanEval: ${programs.length} items parsed, none run: that needs --allow-code.`);
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const { signal } = interrupt;
  const options: AbilityOptions = {
    ...(flags.ifeval === undefined ? {} : { instructions: await readInstructions(flags.ifeval, limit) }),
    ...(flags.gsm8k === undefined ? {} : { arithmetic: await readArithmetic(flags.gsm8k, limit) }),
    ...(choices.length > 0 ? { choices } : {}),
    ...(programs ? { programs } : {}),
    ...(flags.allowCode ? { runPrograms: {} } : {}),
    ...(flags.prompts === undefined
      ? {}
      : { prompts: (await readText(flags.prompts)).split("\n").filter((line) => line.trim() !== "") }),
    ...(flags.text === undefined ? {} : { text: await readText(flags.text) }),
    ...{ maxTokens, seed, signal },
    onProgress: (text) => reporter.status(text),
  };
  const closing = new Closing();
  try {
    const open = async (config: (typeof manifests)[number]["config"]): Promise<Engine> =>
      openEngine(config, { seed, reporter, signal });
    const baseEngine = closing.add(await open((manifests[0] as (typeof manifests)[number]).config));
    const base = { engine: baseEngine, weights: "policy" as const };
    reporter.line("measuring the base model");
    const before = await measureAbility(base, options);
    const policies: ForgettingReport["policies"] = [{ name: "base", measures: withBase(before, undefined) }];
    for (const [i, { dir, config }] of manifests.entries()) {
      const engine = await open(config);
      try {
        const step = await loadPolicy(engine, dir, flags.checkpoint, reporter);
        reporter.line(`measuring ${dir}, step ${step}`);
        const policy = { engine, weights: "policy" as const };
        const after = await measureAbility(policy, options);
        const { fromBase, toBase } = await measureDivergence(policy, base, options);
        const measures = withBase(after, before);
        measures["KL(policy ‖ base), nats/token"] = { ...fromBase, base: null };
        measures["KL(base ‖ policy), nats/token"] = { ...toBase, base: null };
        policies.push({ name: `${labels[i]}, step ${step}`, measures });
      } finally {
        await engine.close();
      }
    }
    reporter.clear();
    const report: ForgettingReport = {
      format: forgettingFormat,
      createdAt: new Date().toISOString(),
      seed,
      policies,
      notes,
    };
    const table = forgettingTable(report);
    if (flags.out !== undefined) await writeFileAtomic(flags.out, `${JSON.stringify(report, null, 1)}\n`);
    if (flags.markdown !== undefined) await writeFileAtomic(flags.markdown, renderMarkdown(table));
    process.stdout.write(
      flags.json
        ? `${JSON.stringify(report)}\n`
        : printable(`${renderText(table)}${notes.join("\n")}${notes.length > 0 ? "\n" : ""}`),
    );
  } finally {
    reporter.clear();
    await closing.close();
    interrupt.dispose();
  }
}

function withBase(measures: Measures, before: Measures | undefined): Record<string, AbilityMeasure> {
  return Object.fromEntries(
    Object.entries(measures).map(([name, measure]) => [name, { ...measure, base: before?.[name]?.value ?? null }]),
  );
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw describeFileError(error, "read", path);
  }
}
