/** `rec-r1 index`: builds the embedded search index of a catalogue, and answers queries with it. */
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { ConfigError } from "../core/errors.ts";
import type { SearchKind } from "../recommenders/lancedb/index.ts";
import { Closing } from "./closing.ts";
import { createEta, formatScore, formatSeconds, printable, Reporter } from "./progress.ts";

interface IndexFlags {
  text: string[];
  id?: string;
  store?: string[];
  search: string;
  encoder?: string;
  indexDir?: string;
  query: string[];
  top: string;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument("<catalogue>", "JSON Lines file, one item a line")
    .requiredOption("--text <field...>", "fields whose text is searched; with weights as title=3 description=1")
    .option("--id <field>", "field of the item's id (default: id)")
    .option("--store <field...>", "fields shown with a hit (default: those of --text)")
    .option("--search <kind>", "bm25, dense or hybrid", "bm25")
    .option("--encoder <name>", "for dense and hybrid: a known name or a folder (default: all-minilm-l6-v2)")
    .option("--index-dir <folder>", "folder of indexes (default: .rec-r1/index)")
    .option("--query <words...>", "queries to try, each in quotes", [])
    .option("--top <number>", "hits shown for a query", "5")
    .option("--json", "print the result as one JSON object on the last line")
    .action(buildIndex);
}

/** Fields as they are given, or their weights where one is written with them. @throws ConfigError on a bad weight */
function readFields(given: readonly string[]): string[] | Record<string, number> {
  if (!given.some((field) => field.includes("="))) return [...given];
  return Object.fromEntries(
    given.map((text) => {
      const at = text.lastIndexOf("=");
      const weight = at < 0 ? 1 : Number(text.slice(at + 1));
      if (weight > 0) return [at < 0 ? text : text.slice(0, at), weight];
      throw new ConfigError("CONFIG_BAD_FIELDS", `--text ${text}: expected a weight above 0, such as title=3.`);
    }),
  );
}

async function buildIndex(catalogue: string, flags: IndexFlags): Promise<void> {
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const closing = new Closing();
  const start = performance.now();
  const eta = createEta();
  try {
    const { LanceDbRecommender } = await import("../recommenders/lancedb/index.ts");
    let items = 0;
    const recommender = closing.add(
      await LanceDbRecommender.fromJsonl(catalogue, {
        text: readFields(flags.text),
        search: flags.search as SearchKind,
        ...(flags.encoder === undefined ? {} : { encoder: flags.encoder }),
        ...(flags.id === undefined ? {} : { id: flags.id }),
        ...(flags.store === undefined ? {} : { store: flags.store }),
        ...(flags.indexDir === undefined ? {} : { indexDir: flags.indexDir }),
        signal: interrupt.signal,
        onProgress: ({ stage, rows, total }) => {
          items = rows;
          const rest = stage === "reading" ? eta(rows, total) : "";
          reporter.status(`${stage} ${catalogue}: ${rows} of ${total} items${rest}`);
        },
      }),
    );
    const seconds = (performance.now() - start) / 1000;
    const queries = flags.query.map((text) => ({ text }));
    const topK = Math.max(1, Number.parseInt(flags.top, 10) || 5);
    const answers = queries.length > 0 ? await recommender.search(queries, { topK, signal: interrupt.signal }) : [];
    const fingerprint = await recommender.fingerprint();
    reporter.clear();
    if (flags.json) {
      const results = answers.map((hits, i) => ({ query: flags.query[i], hits }));
      process.stdout.write(`${JSON.stringify({ catalogue, items, fingerprint, seconds, results })}\n`);
      return;
    }
    process.stdout.write(`${catalogue}: ${items} items, ready in ${formatSeconds(seconds)} (${fingerprint})\n`);
    answers.forEach((hits, i) => {
      process.stdout.write(`\n${printable(flags.query[i] as string)}\n`);
      if (hits.length === 0) process.stdout.write("  nothing found\n");
      for (const { id, score, payload } of hits) {
        const shown = Object.values(payload ?? {}).map((value) =>
          typeof value === "string" ? value : JSON.stringify(value),
        );
        process.stdout.write(
          `  ${formatScore(score).padStart(6)}  ${printable(id)}  ${printable(shown.join(" · ")).slice(0, 100)}\n`,
        );
      }
    });
  } finally {
    reporter.clear();
    await closing.close();
    interrupt.dispose();
  }
}
