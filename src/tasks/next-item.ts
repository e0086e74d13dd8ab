/**
 * Next-item recommendation, the paper's second task: from what a user bought to the query that finds what the user buys
 * next. The history is cut from its oldest item when the prompt is too long.
 */
import { readHistoryFile, type HistoryTitles } from "../datasets/read-histories.ts";
import type { HistoryExample } from "../datasets/task-examples.ts";
import type { Hit } from "../recommenders/recommender.ts";
import type { Metric, TaskDefinition } from "../rl/task.ts";
import { formWarmup } from "./form-warmup.ts";
import { formatHistory } from "./paper-prompts.ts";
import { authorsCut, hitsNeeded, metric, type PresetParts } from "./preset.ts";
import { withLoader } from "./product-search.ts";
import { wordingOf, type WordingChoice } from "./wording.ts";

export interface NextItemOptions extends PresetParts<HistoryExample> {
  /** Files of any layout that {@link readHistoryFile} knows, examples, or functions that load them. */
  data: TaskDefinition<HistoryExample>["data"];
  /** Titles by item id, or the catalogue that has them; needed where the files have ids alone. */
  titles?: HistoryTitles;
  /** Items of a history that are shown, the newest. Default 10, as in the paper; of titles in a file, all. */
  maxHistory?: number;
  /** Default: the paper's. */
  wording?: WordingChoice;
  /** Cut of the reward's NDCG. Default 1000; on the authors' own files as in their code: 5000, 50 on held-out rows. */
  rewardTopK?: number;
  /** A warm-up on answers in the right form, for models that don't find it: see {@link formWarmup}. Default false. */
  teachForm?: boolean;
  /** Leaves out of the hits what the user bought before, the target too if bought again. Default false, as in the paper. */
  maskBought?: boolean;
}

/** The preset as a task's definition, for `defineTask`. */
export function nextItem(options: NextItemOptions): TaskDefinition<HistoryExample> {
  const { data, titles, maxHistory, wording, rewardTopK, ...rest } = options;
  const { teachForm = false, maskBought = false, ...parts } = rest;
  const inputOf = (example: HistoryExample): string => formatHistory(example.titles);
  const wordingFor = wordingOf<HistoryExample>(wording, { kind: "history", fallback: "next-item", inputOf });
  const unseen = <H extends { id: string }>(hits: readonly H[], { bought, history }: HistoryExample): readonly H[] =>
    maskBought ? hits.filter(({ id }) => !(bought ?? history).includes(id)) : hits;
  const masked = (inner: Metric<HistoryExample>): Metric<HistoryExample> => ({
    name: inner.name,
    score: ({ example, hits }) => inner.score({ example, hits: unseen(hits, example) as Hit[] }),
  });
  return {
    name: "next-item",
    data: withLoader(data, (path) =>
      readHistoryFile(path, { ...(titles ? { titles } : {}), ...(maxHistory === undefined ? {} : { maxHistory }) }),
    ),
    prompt: (example) => wordingFor(example).prompt(inputOf(example)),
    shorten: dropOldest,
    parse: (completion, example) => wordingFor(example).parse(completion),
    write: (query, example) => wordingFor(example).write(query),
    reward: ({ completion, hits, example }) =>
      wordingFor(example).reward(
        { completion, hits: hits && unseen(hits, example), example },
        rewardTopK ?? authorsCut(example.dataSource) ?? 1000,
      ),
    topK: hitsNeeded("history", rewardTopK),
    metrics: [
      ...[metric("ndcg", 10), metric("ndcg", 50), metric("recall", 10), metric("recall", 50)],
      metric("ndcg", 100),
    ].map(masked),
    // The strongest of the simple baselines: more titles only blur what is searched for.
    raw: (example) => example.titles.findLast((title) => title.trim() !== "") ?? null,
    ...(teachForm ? { warmup: formWarmup() } : {}),
    config: { maxPromptTokens: 512 },
    ...parts,
  };
}

/** The history without its oldest item; null when one is left. */
function dropOldest(example: HistoryExample): HistoryExample | null {
  if (example.titles.length < 2) return null;
  return { ...example, history: example.history.slice(1), titles: example.titles.slice(1) };
}
