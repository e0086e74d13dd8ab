/** `rec-r1 convert`: judgments, clicks and runs from the formats that search teams have, and back into them. */
import type { Command } from "commander";
import { stat } from "node:fs/promises";
import { listenForInterrupt } from "../core/abort.ts";
import { ConfigError } from "../core/errors.ts";
import { suggestion } from "../core/suggest.ts";
import { printable, Reporter } from "./progress.ts";
import { parseCount, parseEta } from "./options.ts";

interface ConvertFlags {
  from?: string;
  to?: string;
  topics?: string;
  queries?: string;
  action?: string[];
  firstPosition: string;
  query?: string;
  item?: string;
  clicks?: string;
  position?: string;
  impressions?: string;
  eta: string;
  minClicks: string;
  grades?: string;
  evaluation?: string;
  name?: string;
  force?: boolean;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument("<in>", "file, or a run folder")
    .argument("<out>", "file to write")
    .option(
      "--from <format>",
      "examples, clicks, ubi, quepid, opensearch, trec or run (default: told from the content)",
    )
    .option(
      "--to <format>",
      "examples, quepid, opensearch, trec, trec-run or ubi-queries (default: told from the name)",
    )
    .option("--topics <file>", "TREC: texts of the queries, TSV of id and text")
    .option("--queries <file>", "UBI: the queries, for events without user_query")
    .option("--action <name...>", "UBI: actions that count as a click (default: click)")
    .option("--first-position <number>", "UBI: ordinal of the first result, 0 or 1", "1")
    .option("--query <column>", "clicks: column of the query")
    .option("--item <column>", "clicks: column of the clicked id")
    .option("--clicks <column>", "clicks: column of the number of clicks")
    .option("--position <column>", "clicks: column of the position, 1 at the top")
    .option("--impressions <column>", "clicks: column of the number of impressions")
    .option(
      "--eta <number>",
      "clicks: how fast attention falls with the position; auto: estimated from the log",
      "auto",
    )
    .option("--min-clicks <number>", "clicks: clicks that an item of a query needs", "2")
    .option("--grades <number>", "highest grade of the judgments (default: 3 for clicks, else gains stay as they are)")
    .option("--evaluation <name>", "run: which of its evaluations (default: test-tuned)")
    .option("--name <text>", "opensearch: name of the judgment list; trec-run: the run's tag")
    .option("--force", "write over a file that exists")
    .option("--json", "print the result as one JSON object on the last line")
    .addHelpText("after", helpText)
    .action(convert);
}

const helpText = `
Formats
  examples     JSON Lines {"id", "query", "relevant"}, what tasks read
  clicks       CSV, TSV, JSON Lines or parquet of query and clicked id, better with clicks, position and impressions
  ubi          events of User Behavior Insights; ubi-queries: what a run's policy asked and got, as UBI queries
  quepid       CSV query,docid,rating, and the CSV of a book
  opensearch   a judgment list of the Search Relevance Workbench
  trec         qrels, with topics in FILE.topics.tsv beside; trec-run: rankings of a run

  rec-r1 convert clicks.csv train.jsonl
  rec-r1 convert train.jsonl judgments.csv --to quepid
  rec-r1 convert runs/first tuned.run --evaluation test-tuned --to trec-run`;

async function convert(input: string, output: string, flags: ConvertFlags): Promise<void> {
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping"));
  const { signal } = interrupt;
  try {
    const { judgmentSources, readJudgments, recogniseJudgments } = await import("./convert/read-judgments.ts");
    const { judgmentTargets, writeJudgments } = await import("./convert/write-judgments.ts");
    const { runTargets, writeRanking } = await import("./convert/write-ranking.ts");
    const from = flags.from ?? (await recogniseJudgments(input));
    const to = flags.to ?? targetOf(output, from === "run" ? runTargets : judgmentTargets);
    check("--from", from, [...judgmentSources, "run"]);
    check("--to", to, from === "run" ? runTargets : judgmentTargets);
    if (!flags.force && (await exists(output))) {
      throw new ConfigError(
        "FILE_EXISTS",
        `${output} exists already. Choose another name, or write over it with --force.`,
      );
    }
    const result =
      from === "run"
        ? await writeRanking(input, output, to, flags)
        : await (async () => {
            const judgments = await readJudgments(input, from, {
              ...flags,
              firstPosition: parseCount(flags.firstPosition, "--first-position"),
              minClicks: parseCount(flags.minClicks, "--min-clicks"),
              eta: parseEta(flags.eta),
              ...(flags.grades === undefined ? {} : { grades: parseCount(flags.grades, "--grades") }),
              signal,
              onProgress: (read, total) => reporter.status(`reading ${input}: ${Math.floor((100 * read) / total)} %`),
            } as Parameters<typeof readJudgments>[2]);
            return { ...judgments.facts, ...(await writeJudgments(output, to, judgments.queries, flags)) };
          })();
    reporter.clear();
    if (flags.json) {
      process.stdout.write(`${JSON.stringify({ in: input, out: output, from, to, ...result })}\n`);
      return;
    }
    process.stdout.write(`${input} (${from}) → ${output} (${to})\n`);
    const facts = Object.entries(result).map(([name, value]) => `  ${name.padEnd(12)} ${describe(value)}\n`);
    process.stdout.write(printable(facts.join("")));
  } finally {
    reporter.clear();
    interrupt.dispose();
  }
}

function describe(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value);
  return Object.entries(value)
    .map(([name, inner]) => `${name} ${String(inner)}`)
    .join(", ");
}

/** The format that a file's name asks for. */
function targetOf(output: string, targets: readonly string[]): string {
  const byName: [RegExp, string][] = [
    [/\.qrels$|qrels.*\.(txt|tsv)$/i, "trec"],
    [/\.run$|\.trec$/i, "trec-run"],
    [/ubi.*\.(jsonl|ndjson)$/i, "ubi-queries"],
    [/\.csv$/i, "quepid"],
    [/\.json$/i, "opensearch"],
    [/\.(jsonl|ndjson)$/i, "examples"],
  ];
  const found = byName.find(([pattern, format]) => pattern.test(output) && targets.includes(format))?.[1];
  if (found) return found;
  throw new ConfigError(
    "BAD_OPTION",
    `The name ${output} doesn't say which format to write. Say it: --to ${targets.join(", --to ")}.`,
  );
}

function check(flag: string, name: string, known: readonly string[]): void {
  if (known.includes(name)) return;
  throw new ConfigError("BAD_OPTION", `${flag}: "${name}" is none of ${known.join(", ")}.${suggestion(name, known)}`);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
