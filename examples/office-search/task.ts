/**
 * Product search: find an office product by its vendor's description when only titles are indexed.
 *
 *     rec-r1 train examples/office-search/task.ts --data FOLDER --run runs/office --steps 10
 *     rec-r1 eval runs/office --split test
 *
 * FOLDER (or the environment variable OFFICE_DATA) holds `items.jsonl`, lines of {"id", "title"}, and
 * `search.train.jsonl`, `search.valid.jsonl` and `search.test.jsonl`, lines of {"id", "query", "relevant": [item ids]}.
 */
import { existsSync } from "node:fs";
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

function dataFile(name: string, { data }: TaskContext): string {
  const folder = data ?? process.env.OFFICE_DATA;
  if (folder === undefined) {
    throw new ConfigError("NO_DATA", "Where is the data? Give its folder with --data, or in OFFICE_DATA.");
  }
  const path = join(folder, name);
  if (existsSync(path)) return path;
  throw new ConfigError("NO_DATA", `The data folder ${folder} has no ${name}.`);
}

/** Only titles are indexed, so a description's words are not the catalogue's. */
export const recommender = (context: TaskContext) =>
  LanceDbRecommender.fromJsonl(dataFile("items.jsonl", context), { text: ["title"] });

/** Words of a description that the policy reads. */
const shownWords = 40;
const shown = (query: string): string => query.split(/\s+/).slice(0, shownWords).join(" ");

/** Descriptions are long, so the prompts are: fewer of them in a step than for short queries. */
export const config = {
  warmupSteps: 120,
  warmupBatch: 32,
  warmupLearningRate: 1e-3,
  warmupSchedule: "linear",
  rampSteps: 5,
  promptsPerStep: 8,
  groupSize: 12,
  maxTokens: 24,
  learningRate: 1e-4,
  evalEvery: 20,
};

/**
 * The description is searched for as it is, and the policy's words once more: those of the description that titles
 * have, so that they count twice, and others that titles have instead.
 */
export default (context: TaskContext) =>
  defineTask({
    name: "office-search",
    data: {
      train: dataFile("search.train.jsonl", context),
      valid: dataFile("search.valid.jsonl", context),
      test: dataFile("search.test.jsonl", context),
    },
    prompt: ({ query }) => [
      { role: "system", content: "title words" },
      { role: "user", content: shown(query) },
    ],
    parse: (completion, { query }) => expandQuery(query, completion, { maxWords: 10, repeat: true }),
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : 0),
    topK: 10,
    warmup: hindsightWarmup({
      own: ({ query }) => distinctWords(shown(query)),
      probes: () => readCatalogueWords(dataFile("items.jsonl", context), { textFields: ["title"] }),
      minExamples: 5,
      maxWords: 2,
    }),
  });
