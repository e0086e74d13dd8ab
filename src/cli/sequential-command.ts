/** `rec-r1 sequential train | eval`: a next-item model for histories of items, and how well it ranks what came next. */
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { ConfigError, DataError } from "../core/errors.ts";
import { readJsonl } from "../core/data-lines.ts";
import { ndcg, recall } from "../ranking/index.ts";
import { fuseRankings } from "../recommenders/fused.ts";
import type { Hit } from "../recommenders/recommender.ts";
import type { Interaction, ItemVectors, TrainSequentialOptions } from "../recommenders/sequential/index.ts";
import { Closing } from "./closing.ts";
import { createEta, formatSeconds, Reporter } from "./progress.ts";

/** Flags that are numbers: the option that they set, and what they are. */
const numberFlags = {
  epochs: ["--epochs", "most epochs (default: 60)"],
  patience: ["--patience", "epochs without a better validation after which training stops (default: 8)"],
  hiddenSize: ["--hidden-size", "numbers in an item's vector (default: 64)"],
  blocks: ["--blocks", "layers (default: 2)"],
  heads: ["--heads", "attention heads, a divisor of the hidden size (default: 2)"],
  historyLength: ["--history-length", "longest history, in items (default: 10)"],
  dropout: ["--dropout", "share of numbers that are set to 0 (default: 0.3)"],
  learningRate: ["--learning-rate", "default: 0.001"],
  batchSize: ["--batch-size", "histories of a step (default: 128)"],
  sampledItems: ["--sampled-items", "items of a step's softmax, 0: all (default: all up to 20,000, 4,096 above)"],
  seed: ["--seed", "default: 0"],
  threads: ["--threads", "threads (default: those of onnxruntime)"],
} as const;

interface TrainFlags extends Partial<Record<keyof typeof numberFlags, string>> {
  items: string;
  train: string;
  valid?: string;
  out: string;
  id: string;
  title: string;
  encoder?: string;
  json?: boolean;
}

interface EvalFlags {
  items: string;
  test: string;
  id: string;
  title: string;
  json?: boolean;
}

/** Cuts of the metrics that are printed. */
const cuts = [10, 50] as const;
/** Hits of each side that are fused. */
const fusedDepth = 200;

export function define(command: Command): void {
  const train = command
    .command("train")
    .description("train SASRec on histories")
    .requiredOption("--items <file>", "JSON Lines catalogue, whose ids can be recommended")
    .requiredOption("--train <file>", 'JSON Lines of {"history": [ids, oldest first], "target": id, "user"?}')
    .option("--valid <file>", "the same, held out: decides when to stop")
    .requiredOption("--out <folder>", "where the model goes: absent, empty, or an earlier model")
    .option("--id <field>", "field of the item's id", "id");
  train
    .option("--encoder <name>", "let items begin at their titles' vectors by this encoder, such as all-minilm-l6-v2")
    .option("--title <field>", "field of the item's title, for --encoder", "title");
  for (const [flag, description] of Object.values(numberFlags)) train.option(`${flag} <number>`, description);
  train.option("--json", "print the result as one JSON object on the last line").action(trainModel);
  command
    .command("eval")
    .description("rank what came next by the model, by BM25 on the last title, and by both")
    .argument("<model>", "folder that train wrote")
    .requiredOption("--items <file>", "JSON Lines catalogue")
    .requiredOption("--test <file>", "JSON Lines of histories and targets")
    .option("--id <field>", "field of the item's id", "id")
    .option("--title <field>", "field of the item's title", "title")
    .option("--json", "print the result as one JSON object on the last line")
    .action(evaluateModel);
}

function readNumber(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new ConfigError("CONFIG_BAD_NUMBER", `${flag}: expected a number, got "${text}".`);
}

/** Titles by id, in the file's order; empty where an item has none. */
async function readTitles(
  path: string,
  fields: { id: string; title: string },
  signal: AbortSignal,
): Promise<Map<string, string>> {
  const titles = new Map<string, string>();
  for await (const { line, value } of readJsonl(path, { signal })) {
    const id = value[fields.id];
    if (typeof id !== "string" && typeof id !== "number") {
      throw new DataError("DATA_BAD_ID", `${path} line ${line}: expected an id in "${fields.id}".`);
    }
    if (titles.has(String(id))) {
      throw new DataError("DATA_DUPLICATE_ID", `${path} line ${line}: the id "${id}" was used before.`);
    }
    const title = value[fields.title];
    titles.set(String(id), typeof title === "string" ? title : "");
  }
  return titles;
}

/** The titles' vectors, as a start for the items'. */
async function encodeTitles(
  source: string,
  titles: readonly string[],
  threads: number | undefined,
  onProgress: (done: number) => void,
  signal: AbortSignal,
): Promise<ItemVectors> {
  const { loadEncoder } = await import("../encoders/index.ts");
  const encoder = await loadEncoder(source, { signal, ...(threads === undefined ? {} : { threads }) });
  try {
    const data = await encoder.encode(titles, "document", { signal, onProgress });
    return { data, dimensions: encoder.dimensions };
  } finally {
    await encoder.close();
  }
}

async function trainModel(flags: TrainFlags): Promise<void> {
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping"));
  const start = performance.now();
  try {
    const { readInteractions, trainSequential } = await import("../recommenders/sequential/index.ts");
    const { requireModelFolder } = await import("../recommenders/sequential/sequential-model.ts");
    const { signal } = interrupt;
    await requireModelFolder(flags.out);
    const titles = await readTitles(flags.items, flags, signal);
    const items = [...titles.keys()];
    const numbers = Object.entries(numberFlags).flatMap(([name, [flag]]) => {
      const value = readNumber(flag, flags[name as keyof typeof numberFlags]);
      return value === undefined ? [] : [[name, value] as const];
    });
    const given = Object.fromEntries(numbers) as Partial<TrainSequentialOptions>;
    const encodingEta = createEta();
    const show = (done: number): void =>
      reporter.status(`encoding titles: ${done} of ${items.length}${encodingEta(done, items.length)}`);
    const { epochs = 60 } = given;
    const eta = createEta();
    eta(0, epochs);
    const itemVectors =
      flags.encoder === undefined
        ? undefined
        : await encodeTitles(flags.encoder, [...titles.values()], given.threads, show, signal);
    const options: TrainSequentialOptions = {
      items,
      ...(itemVectors ? { itemVectors } : {}),
      train: await readInteractions(flags.train, { signal }),
      ...(flags.valid === undefined ? {} : { valid: await readInteractions(flags.valid, { signal }) }),
      ...given,
      signal,
      onProgress: ({ epoch, loss, validNdcg }) => {
        const shown = validNdcg === null ? "" : `, NDCG@10 ${validNdcg.toFixed(4)} on the held-out histories`;
        reporter.status(`epoch ${epoch} of at most ${epochs}: loss ${loss.toFixed(4)}${shown}${eta(epoch, epochs)}`);
      },
    };
    const model = await trainSequential(options);
    await model.save(flags.out);
    await model.close();
    reporter.clear();
    const seconds = (performance.now() - start) / 1000;
    const { epoch, validNdcg } = model.notes as { epoch: number; validNdcg: number | null };
    if (flags.json) {
      process.stdout.write(`${JSON.stringify({ model: flags.out, items: items.length, epoch, validNdcg, seconds })}\n`);
      return;
    }
    const quality = validNdcg === null ? "" : `, NDCG@10 ${validNdcg.toFixed(4)} on the held-out histories`;
    process.stdout.write(
      `${flags.out}: ${items.length} items, epoch ${epoch}${quality}, in ${formatSeconds(seconds)}\n`,
    );
  } finally {
    reporter.clear();
    interrupt.dispose();
  }
}

type Scores = Record<string, number>;

/** Means over all rows; a row without an answer counts 0. */
function summarize(answers: readonly (readonly Hit[])[], rows: readonly Interaction[]): Scores {
  const scores: Scores = {};
  for (const k of cuts) {
    const mean = (metric: typeof recall): number =>
      answers.reduce((sum, hits, i) => sum + metric(hits, [rows[i]?.target as string], { k }), 0) / rows.length;
    scores[`ndcg@${k}`] = mean(ndcg);
    scores[`recall@${k}`] = mean(recall);
  }
  return scores;
}

async function evaluateModel(folder: string, flags: EvalFlags): Promise<void> {
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping"));
  const closing = new Closing();
  try {
    const { SequentialModel, readInteractions } = await import("../recommenders/sequential/index.ts");
    const { inMemory, LanceDbRecommender } = await import("../recommenders/lancedb/index.ts");
    const { signal } = interrupt;
    const model = closing.add(await SequentialModel.load(folder));
    const rows = await readInteractions(flags.test, { signal });
    const topK = Math.max(fusedDepth, ...cuts);
    reporter.status(`ranking for ${rows.length} histories`);
    const next = await model.next(
      rows.map(({ history }) => history),
      { topK, signal },
    );
    const titles = await readTitles(flags.items, flags, signal);
    const words = closing.add(
      await LanceDbRecommender.fromJsonl(flags.items, {
        id: flags.id,
        text: [flags.title],
        store: [],
        indexDir: inMemory,
        signal,
      }),
    );
    const found = await words.search(
      rows.map(({ history }) => ({ text: titles.get(history.at(-1) ?? "") ?? "" })),
      { topK, signal },
    );
    reporter.clear();
    const fused = rows.map((_, i) => fuseRankings([next[i] ?? [], found[i] ?? []]));
    const result = {
      rows: rows.length,
      sasrec: summarize(next, rows),
      bm25: summarize(found, rows),
      fused: summarize(fused, rows),
    };
    if (flags.json) {
      process.stdout.write(`${JSON.stringify(result)}\n`);
      return;
    }
    const names = Object.keys(result.sasrec);
    process.stdout.write(
      `${rows.length} histories\n${"".padEnd(22)}${names.map((name) => name.padStart(11)).join("")}\n`,
    );
    for (const [label, scores] of [
      ["SASRec", result.sasrec],
      ["BM25, the last title", result.bm25],
      ["both, by rank", result.fused],
    ] as const) {
      const numbers = names.map((name) => (scores[name] as number).toFixed(4).padStart(11)).join("");
      process.stdout.write(`${label.padEnd(22)}${numbers}\n`);
    }
  } finally {
    reporter.clear();
    await closing.close();
    interrupt.dispose();
  }
}
