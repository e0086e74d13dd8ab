/** `rec-r1 search`: asks a recommender a few queries, to see whether it answers, with what, and how fast. */
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { Closing } from "./closing.ts";
import { formatScore, printable, Reporter } from "./progress.ts";
import { openRecommenderFile } from "./recommender-settings.ts";

interface SearchFlags {
  top: string;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument("<settings>", "JSON file of the recommender: its kind and options (see docs/recommenders.md)")
    .argument("<query...>", "queries, each in quotes")
    .option("--top <number>", "hits asked for", "5")
    .option("--json", "print the result as one JSON object on the last line")
    .action(search);
}

async function search(settings: string, texts: readonly string[], flags: SearchFlags): Promise<void> {
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const closing = new Closing();
  try {
    const { signal } = interrupt;
    const recommender = closing.add(await openRecommenderFile(settings, signal));
    const topK = Math.max(1, Number.parseInt(flags.top, 10) || 5);
    const start = performance.now();
    const answers = await recommender.search(
      texts.map((text) => ({ text })),
      { topK, signal },
    );
    const milliseconds = performance.now() - start;
    const fingerprint = await recommender.fingerprint();
    reporter.clear();
    if (flags.json) {
      const results = answers.map((hits, i) => ({ query: texts[i], hits }));
      process.stdout.write(`${JSON.stringify({ fingerprint, milliseconds, results })}\n`);
      return;
    }
    answers.forEach((hits, i) => {
      process.stdout.write(`${printable(texts[i] as string)}\n`);
      if (hits.length === 0) process.stdout.write("  nothing found\n");
      for (const { id, score, payload } of hits) {
        const shown = Object.values(payload ?? {}).map((value) =>
          typeof value === "string" ? value : JSON.stringify(value),
        );
        const text = printable(shown.join(" · ")).slice(0, 100);
        process.stdout.write(`  ${formatScore(score).padStart(6)}  ${printable(id)}  ${text}`.trimEnd() + "\n");
      }
    });
    const summary = `${texts.length} queries in ${milliseconds.toFixed(0)} ms (${fingerprint})`;
    process.stdout.write(`${summary}\n`);
  } finally {
    reporter.clear();
    await closing.close();
    interrupt.dispose();
  }
}
