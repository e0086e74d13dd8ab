/** `rec-r1 init`: from a catalogue and queries or clicks to a task file, with a first measurement. */
import { join, resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { writeFileAtomic } from "../core/atomic-write.ts";
import { AbortError, ConfigError, DataError } from "../core/errors.ts";
import { quoteForShell } from "../core/shell-quote.ts";
import { suggestion } from "../core/suggest.ts";
import { bootstrapInterval } from "../eval/significance.ts";
import { evaluateRaw } from "../eval/evaluate.ts";
import { Closing } from "./closing.ts";
import { readJudgments, recogniseJudgments } from "./convert/read-judgments.ts";
import { lookAtCatalogue } from "./init/look-at-catalogue.ts";
import type { CatalogueLook } from "./init/look-at-catalogue.ts";
import {
  checkCatalogue,
  findExisting,
  keepBackups,
  keepKnown,
  nameOfFolder,
  refuseExisting,
  splitQueries,
  writeData,
} from "./init/make-project.ts";
import { parseMetric, readmeFile, taskFile } from "./init/project-files.ts";
import type { ChosenRecommender, Project, RawFigures } from "./init/project-files.ts";
import { loadTask } from "./load-task.ts";
import { parseCount, parseEta } from "./options.ts";
import { printable, Reporter } from "./progress.ts";

interface InitFlags {
  catalogue?: string;
  queries?: string;
  id?: string;
  text?: string[];
  recommender?: string;
  url?: string;
  index?: string;
  hits: string;
  hitId: string;
  metric?: string;
  name?: string;
  eta: string;
  minClicks: string;
  topics?: string;
  seed: string;
  yes?: boolean;
  force?: boolean;
  eval: boolean;
  json?: boolean;
}

const recommenderKinds = ["lancedb", "opensearch", "http"] as const;

export function define(command: Command): void {
  command
    .argument("[folder]", "folder of the project", ".")
    .option("--catalogue <file>", "the items: JSON Lines, JSON, CSV, TSV or parquet")
    .option("--queries <file>", "queries with what is relevant, or a click log: any format of rec-r1 convert")
    .option("--id <field>", "the catalogue's id (default: guessed)")
    .option("--text <field...>", "fields whose text is searched (default: guessed)")
    .option("--recommender <kind>", `${recommenderKinds.join(", ")} (default: lancedb, which needs no server)`)
    .option("--url <address>", "opensearch, http: the server's address")
    .option("--index <name>", "opensearch: the index")
    .option("--hits <path>", "http: JSON path of the hits in an answer", "$.results[*]")
    .option("--hit-id <path>", "http: JSON path of the id in a hit", "$.id")
    .option("--metric <name>", "ndcg@K, recall@K, mrr@K or success@K (default: ndcg@10)")
    .option("--name <text>", "name of the task (default: the folder's)")
    .option("--eta <number>", "clicks: how fast attention falls with the position; auto: estimated", "auto")
    .option("--min-clicks <number>", "clicks: clicks that an item of a query needs", "2")
    .option("--topics <file>", "TREC judgments: texts of the queries")
    .option("--seed <number>", "addresses the split", "0")
    .option("--yes", "ask nothing: take what is given and guessed")
    .option("--force", "write over files that exist; they are kept as NAME.bak")
    .option("--no-eval", "don't measure the raw queries")
    .option("--json", "print the result as one JSON object on the last line")
    .addHelpText(
      "after",
      `
Examples:
  rec-r1 init shop                                                      asks for everything
  rec-r1 init shop --catalogue products.csv --queries clicks.csv --yes  asks nothing
  rec-r1 init shop --catalogue products.csv --queries clicks.csv --recommender opensearch --url http://localhost:9200 --index products

Columns are recognised by what they are called: query; sku, product_id, clicked_id …; clicks; position; impressions.
Writes task.ts, README.md and the splits, and measures the users' own words. See docs/tutorial.md, docs/click-logs.md.`,
    )
    .action(init);
}

/** Asks a person; gives the guess back where nobody is there or nothing is typed. */
type Ask = (question: string, guess: string | undefined) => Promise<string | undefined>;

async function init(folder: string, flags: InitFlags): Promise<void> {
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const { signal } = interrupt;
  const isAsking = !flags.yes && process.stdin.isTTY === true;
  const lines = isAsking ? createInterface({ input: process.stdin, output: process.stderr }) : undefined;
  // While a question is open, Ctrl-C arrives there.
  lines?.on("SIGINT", () => process.kill(process.pid, "SIGINT"));
  const ask: Ask = async (question, guess) => {
    if (!lines) return guess;
    const shown = guess === undefined ? "" : ` [${guess}]`;
    try {
      const answer = await lines.question(printable(`${question}${shown}: `), { signal });
      return answer.trim() === "" ? guess : answer.trim();
    } catch (error) {
      throw signal.aborted ? new AbortError("Stopped; nothing was written.") : error;
    }
  };
  try {
    const existing = findExisting(folder);
    if (existing.length > 0 && !flags.force) {
      const answer = await ask(`${folder} has ${existing.join(", ")}. Write over them (yes/no)?`, "no");
      if (!isAsking || !/^y(es)?$/i.test(answer ?? "")) refuseExisting(folder, existing);
    }
    const result = await makeProject(folder, flags, { ask, reporter, signal, existing });
    reporter.clear();
    if (flags.json) process.stdout.write(`${JSON.stringify(result)}\n`);
    else process.stdout.write(printable(describeResult(folder, result)));
  } finally {
    reporter.clear();
    lines?.close();
    interrupt.dispose();
  }
}

interface InitResult {
  folder: string;
  task: string;
  items: number;
  id: string;
  text: string[];
  examples: Project["examples"];
  metric: string;
  origin: string[];
  raw: RawFigures | null;
  /** Why the raw queries couldn't be measured. */
  problem?: string;
}

async function makeProject(
  folder: string,
  flags: InitFlags,
  {
    ask,
    reporter,
    signal,
    existing,
  }: { ask: Ask; reporter: Reporter; signal: AbortSignal; existing: readonly string[] },
): Promise<InitResult> {
  const required = async (
    given: string | undefined,
    question: string,
    flag: string,
    guess?: string,
  ): Promise<string> => {
    const answer = given ?? (await ask(question, guess));
    if (answer !== undefined) return answer;
    throw new ConfigError("MISSING_OPTION", `${question}? Say it with ${flag}.`);
  };
  const seed = parseCount(flags.seed, "--seed");
  const progress = (path: string) => (read: number, total: number) =>
    reporter.status(`reading ${path}: ${total > 0 ? Math.floor((100 * read) / total) : 100} %`);

  const cataloguePath = await required(flags.catalogue, "File of the catalogue", "--catalogue FILE");
  const look = await lookAtCatalogue(cataloguePath, { signal });
  if (!flags.json) reporter.line(describeLook(look));
  const id = await required(flags.id, "Field of the item's id", "--id FIELD", look.id);
  const text =
    flags.text ??
    splitFields((await ask("Fields whose text is searched, with commas between", look.text.join(","))) ?? "");
  checkFields(look, [id, ...text]);
  const judgmentsPath = await required(
    flags.queries,
    "File of queries with what is relevant, or of clicks",
    "--queries FILE",
  );
  const source = await recogniseJudgments(judgmentsPath).catch((error: unknown) => {
    if (!(error instanceof DataError) || error.code !== "DATA_UNKNOWN_LAYOUT") throw error;
    throw new DataError(
      error.code,
      `${error.message} With init, make judgments of it first: rec-r1 convert ${quoteForShell(judgmentsPath)} judgments.jsonl --from clicks --query COLUMN --item COLUMN, then --queries judgments.jsonl.`,
      { cause: error, details: error.details },
    );
  });
  if (source === "run")
    throw new ConfigError("BAD_OPTION", `${judgmentsPath} is a run folder; expected queries or clicks.`);
  const recommender = await chooseRecommender(flags, { ask, required });
  const metric = parseMetric(await required(flags.metric, "Metric", "--metric NAME", "ndcg@10"));
  const name = flags.name ?? nameOfFolder(folder);

  const { ids, copy } = await checkCatalogue(look, { id, text }, { signal, onProgress: progress(cataloguePath) });
  const judgments = await readJudgments(judgmentsPath, source, {
    signal,
    onProgress: progress(judgmentsPath),
    eta: parseEta(flags.eta),
    minClicks: parseCount(flags.minClicks, "--min-clicks"),
    commasInIds: [...ids].some((item) => item.includes(",")),
    ...(flags.topics === undefined ? {} : { topics: flags.topics }),
  });
  const known = keepKnown(judgments.queries, ids);
  const splits = splitQueries(known.queries, seed);
  const origin = [
    `Queries and judgments come from ${judgmentsPath} (${source}).`,
    ...describeReading(judgments.facts),
    ...(known.missing > 0 ? [`${known.missing} judgments of items that the catalogue lacks were left out.`] : []),
    ...(known.leftOut > 0
      ? [`${known.leftOut} queries were left out: nothing relevant to them is in the catalogue.`]
      : []),
  ];
  await keepBackups(folder, existing);
  const catalogue = await writeData(folder, { catalogue: cataloguePath, copy, splits });
  const examples = { train: splits.train.length, valid: splits.valid.length, test: splits.test.length };
  const project: Project = { name, catalogue, idField: id, textFields: text, recommender, metric, examples, origin };
  const task = join(folder, "task.ts");
  await writeFileAtomic(task, taskFile(project));
  await writeFileAtomic(join(folder, "README.md"), readmeFile(project, undefined));
  const result = {
    folder: resolve(folder),
    task,
    items: ids.size,
    id,
    text,
    examples,
    metric: metric.name,
    origin,
    raw: null,
  };
  if (!flags.eval) return result;
  reporter.status("measuring the raw queries");
  try {
    const raw = await measureRaw(task, signal);
    await writeFileAtomic(join(folder, "README.md"), readmeFile(project, raw));
    return { ...result, raw };
  } catch (error) {
    // The project stands; a search engine that isn't there yet is for the user to start.
    if (signal.aborted) throw error;
    return { ...result, problem: error instanceof Error ? error.message : String(error) };
  }
}

async function chooseRecommender(
  flags: InitFlags,
  {
    ask,
    required,
  }: { ask: Ask; required: (given: string | undefined, question: string, flag: string) => Promise<string> },
): Promise<ChosenRecommender> {
  const kind = flags.recommender ?? (await ask(`Recommender (${recommenderKinds.join(", ")})`, "lancedb")) ?? "lancedb";
  if (!(recommenderKinds as readonly string[]).includes(kind)) {
    throw new ConfigError(
      "BAD_OPTION",
      `--recommender: "${kind}" is no recommender that init sets up.${suggestion(kind, recommenderKinds)} Any other goes into the task file by hand.`,
    );
  }
  if (kind === "lancedb") return { kind };
  const url = await required(flags.url, "Address of the server", "--url ADDRESS");
  if (kind === "http") return { kind, url, hits: flags.hits, id: flags.hitId };
  return { kind: "opensearch", url, index: await required(flags.index, "Name of the index", "--index NAME") };
}

/** The users' own words on the test split, as the task file that was written has it. */
async function measureRaw(task: string, signal: AbortSignal): Promise<RawFigures> {
  const closing = new Closing();
  try {
    const loaded = await loadTask(task, { data: undefined });
    const recommender = closing.add(await loaded.openRecommender());
    const { records, counts, metric } = await evaluateRaw({ task: loaded.task, recommender, split: "test", signal });
    const scores = records.flatMap(({ scores }) => (scores ? [scores[metric] as number] : []));
    if (scores.length === 0)
      throw new ConfigError("NO_ANSWER", records[0]?.failure ?? "The recommender answered nothing.");
    const { mean, low, high } = bootstrapInterval(scores, { seed: 0 });
    return { mean, low, high, queries: scores.length, empty: counts.empty, failed: counts.failed };
  } finally {
    await closing.close();
  }
}

/** What is worth saying of how the judgments were read, a sentence each. */
function describeReading({ columns, clicks, position, dropped, ...facts }: Record<string, unknown>): string[] {
  const taken = Object.entries(columns ?? {}).map(([role, name]) => `${role}: ${String(name)}`);
  const passedOver = Object.entries(facts["passed over"] ?? {}).map(([why, count]) => `${String(count)} with ${why}`);
  return [
    ...(taken.length > 0 ? [`Columns were taken as ${taken.join(", ")}.`] : []),
    ...(typeof clicks === "string" ? [`No column counts clicks: ${clicks}.`] : []),
    ...(typeof dropped === "string" ? [`Rows that can't be used were dropped: ${dropped}.`] : []),
    ...(passedOver.length > 0 ? [`Events were passed over: ${passedOver.join(", ")}.`] : []),
    ...(typeof position === "string" ? [`Clicks were ${position}.`] : []),
  ];
}

function describeLook({ path, format, fields, id, text, rows }: CatalogueLook): string {
  const sample = JSON.stringify(rows[0]).slice(0, 100);
  return `${path}: ${format}, fields ${fields.slice(0, 12).join(", ")}; id: ${id ?? "none found"}; text: ${text.join(", ")}\n  such as ${sample}`;
}

function describeResult(folder: string, { items, examples, raw, metric, origin, problem }: InitResult): string {
  const { train, valid, test } = examples;
  const measured = raw
    ? `The users' own words: ${metric} ${raw.mean.toFixed(4)} on the test split (95 % interval ${raw.low.toFixed(4)} to ${raw.high.toFixed(4)}); ${raw.empty} of ${raw.queries} queries find nothing.`
    : problem === undefined
      ? "The users' own words were not measured."
      : `The users' own words could not be measured: ${problem}`;
  return `${folder}: ${items} items; ${train} queries to train on, ${valid} for validation, ${test} for the test
${origin.map((line) => `  ${line}\n`).join("")}${measured}
Next:
  rec-r1 doctor ${quoteForShell(join(folder, "task.ts"))}
  rec-r1 train ${quoteForShell(join(folder, "task.ts"))} --run ${quoteForShell(join(folder, "runs/first"))}
`;
}

function splitFields(text: string): string[] {
  return text
    .split(",")
    .map((field) => field.trim())
    .filter((field) => field !== "");
}

function checkFields({ path, fields }: CatalogueLook, asked: readonly string[]): void {
  const unknown = asked.find((field) => !fields.includes(field));
  if (unknown === undefined) return;
  throw new ConfigError("BAD_OPTION", `${path} has no field "${unknown}".${suggestion(unknown, fields)}`);
}
