/**
 * Next item: what does someone buy next, who bought these office products? Search over titles is asked by the title of
 * the last purchase; the policy reads the last purchases and writes words besides.
 *
 *     rec-r1 train examples/office-next-item/task.ts --data FOLDER --run runs/next --no-doctor
 *     rec-r1 eval runs/next --split test
 *     rec-r1 compare examples/office-next-item/task.ts --data FOLDER --run runs/next --baselines all
 *
 * Without --no-doctor the doctor stops it: some people buy the same after the same, so that a few held-out examples are
 * in the training rows as well, those of other people.
 *
 * FOLDER (or the environment variable OFFICE_DATA) holds `items.jsonl`, lines of {"id", "title"}, and
 * `next-item.train.jsonl`, `next-item.valid.jsonl` and `next-item.test.jsonl`, lines of {"history": [item ids, oldest
 * first], "target": item id}. OFFICE_SASREC names the folder of a SASRec model (rec-r1 sequential train), which comparisons
 * need for the baseline of that name.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  ConfigError,
  defineTask,
  distinctWords,
  expandQuery,
  hindsightWarmup,
  ndcg,
  readCatalogueWords,
  type TaskContext,
} from "rec-r1";
import { LanceDbRecommender } from "rec-r1/recommenders/lancedb";
import { SequentialRecommender } from "rec-r1/recommenders/sequential";

interface Purchase {
  id: string;
  /** Titles of what was bought, oldest first. */
  titles: readonly string[];
  relevant: readonly string[];
}

/** Purchases that the policy reads, and words of each title. */
const shownTitles = 3;
const shownWords = 16;

function dataFile(name: string, { data }: TaskContext): string {
  const folder = data ?? process.env.OFFICE_DATA;
  if (folder === undefined) {
    throw new ConfigError("NO_DATA", "Where is the data? Give its folder with --data, or in OFFICE_DATA.");
  }
  const path = join(folder, name);
  if (existsSync(path)) return path;
  throw new ConfigError("NO_DATA", `The data folder ${folder} has no ${name}.`);
}

function readLines<T>(path: string): T[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line.trim() !== "").map((line) => JSON.parse(line) as T);
}

export const recommender = (context: TaskContext) =>
  LanceDbRecommender.fromJsonl(dataFile("items.jsonl", context), { text: ["title"] });

export const config = {
  warmupSteps: 120,
  warmupBatch: 32,
  warmupLearningRate: 1e-3,
  warmupSchedule: "linear",
  rampSteps: 5,
  promptsPerStep: 16,
  groupSize: 12,
  maxTokens: 24,
  learningRate: 1e-4,
  evalEvery: 20,
};

/** For comparisons: next-item models, which read all of a history and no text. */
const wholeHistory = (purchase: object): string => (purchase as Purchase).titles.join("\n");
export const baselines = {
  sasrec: async (context: TaskContext) => {
    const model = process.env.OFFICE_SASREC;
    if (model === undefined) {
      throw new ConfigError("NO_DATA", "Where is the SASRec model? Train one and name its folder in OFFICE_SASREC.");
    }
    return {
      name: "SASRec",
      recommender: await SequentialRecommender.open(model, dataFile("items.jsonl", context)),
      query: wholeHistory,
    };
  },
  counts: async (context: TaskContext) => ({
    name: "counts of what came after what",
    recommender: await SequentialRecommender.fromHistories(
      dataFile("next-item.train.jsonl", context),
      dataFile("items.jsonl", context),
    ),
    query: wholeHistory,
  }),
};

export default (context: TaskContext) => {
  const titles = new Map(
    readLines<{ id: string; title: string }>(dataFile("items.jsonl", context)).map(({ id, title }) => [id, title]),
  );
  const read = (split: string) => (): Purchase[] =>
    readLines<{ history: string[]; target: string }>(dataFile(`next-item.${split}.jsonl`, context)).map(
      ({ history, target }, i) => ({
        id: `${split}-${i}`,
        titles: history.map((item) => titles.get(item) ?? ""),
        relevant: [target],
      }),
    );
  const shown = ({ titles }: Purchase): string =>
    titles
      .slice(-shownTitles)
      .map((title) => title.split(/\s+/).slice(0, shownWords).join(" "))
      .join("\n");
  const last = ({ titles }: Purchase): string => titles.at(-1) ?? "";
  return defineTask<Purchase>({
    name: "office-next-item",
    data: { train: read("train"), valid: read("valid"), test: read("test") },
    prompt: (example) => [
      { role: "system", content: "next purchase" },
      { role: "user", content: shown(example) },
    ],
    raw: last,
    parse: (completion, example) => expandQuery(last(example), completion, { maxWords: 10, repeat: true }),
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : 0),
    topK: 10,
    warmup: hindsightWarmup({
      own: (example) => distinctWords(shown(example)),
      probes: () => readCatalogueWords(dataFile("items.jsonl", context), { textFields: ["title"] }),
      minExamples: 5,
      maxWords: 2,
    }),
  });
};
