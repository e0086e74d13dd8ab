/**
 * Product search, the paper's first task: from a user's words to the query that makes the engine find what the user
 * means. ESCI and Amazon-C4 in the paper; here also any JSON Lines, CSV, BEIR or TREC collection.
 */
import { readSearchFile } from "../datasets/read-search.ts";
import type { SearchExample } from "../datasets/task-examples.ts";
import type { DataSource, TaskDefinition } from "../rl/task.ts";
import { formWarmup } from "./form-warmup.ts";
import { authorsCut, hitsNeeded, metric, type PresetParts } from "./preset.ts";
import { wordingOf, type WordingChoice } from "./wording.ts";

export interface ProductSearchOptions extends PresetParts<SearchExample> {
  /** Files of any layout that {@link readSearchFile} knows, examples, or functions that load them. */
  data: TaskDefinition<SearchExample>["data"];
  /** Default: as in the examples' file where it has prompts, else the paper's `terms`. */
  wording?: WordingChoice;
  /** Cut of the reward's NDCG. Default 1000; on the authors' own files as in their code, 100 on held-out rows. */
  rewardTopK?: number;
  /** A warm-up on answers in the right form, for models that don't find it: see {@link formWarmup}. Default false. */
  teachForm?: boolean;
}

/** The preset as a task's definition, for `defineTask`. */
export function productSearch(options: ProductSearchOptions): TaskDefinition<SearchExample> {
  const { data, wording, rewardTopK, teachForm = false, ...parts } = options;
  const inputOf = ({ query }: SearchExample): string => query;
  const wordingFor = wordingOf<SearchExample>(wording, { kind: "search", fallback: "terms", inputOf });
  return {
    name: "product-search",
    data: withLoader(data, readSearchFile),
    prompt: (example) => wordingFor(example).prompt(inputOf(example)),
    shorten: shortenQuery,
    parse: (completion, example) => wordingFor(example).parse(completion),
    write: (query, example) => wordingFor(example).write(query),
    reward: ({ completion, hits, example }) =>
      wordingFor(example).reward({ completion, hits, example }, rewardTopK ?? authorsCut(example.dataSource) ?? 1000),
    topK: hitsNeeded("search", rewardTopK),
    metrics: [metric("ndcg", 100), metric("ndcg", 10), metric("recall", 10), metric("recall", 100)],
    raw: inputOf,
    ...(teachForm ? { warmup: formWarmup() } : {}),
    ...parts,
  };
}

/** The query without its last quarter of words; null when one word is left. */
function shortenQuery<E extends SearchExample>(example: E): E | null {
  const words = example.query.trim().split(/\s+/);
  if (words.length < 2) return null;
  return { ...example, query: words.slice(0, Math.floor(words.length * 0.75)).join(" ") };
}

/** Paths among a task's data become calls of `read`. */
export function withLoader<E extends object>(
  data: TaskDefinition<E>["data"],
  read: (path: string) => Promise<E[]>,
): TaskDefinition<E>["data"] {
  const load = (source: DataSource<E>): DataSource<E> => (typeof source === "string" ? () => read(source) : source);
  return {
    train: load(data.train),
    ...(data.valid === undefined ? {} : { valid: load(data.valid) }),
    ...(data.test === undefined ? {} : { test: load(data.test) }),
  };
}
