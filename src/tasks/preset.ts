/**
 * What all presets share. A preset is a task's definition with every part filled in (data, prompt, parser, reward,
 * metrics); any part given in its options takes the place of the preset's.
 */
import { map, mrr, ndcg, recall } from "../ranking/metrics.ts";
import type { Metric, TaskDefinition } from "../rl/task.ts";
import type { Judged } from "./paper-reward.ts";

/** Parts of a task that an option may replace, one by one. */
export type PresetParts<E extends object> = Partial<Omit<TaskDefinition<E>, "data">>;

/** Cuts of the authors' reward by the file's `data_source`: theirs differ between training and the rest. */
export function authorsCut(dataSource: string | undefined): number | undefined {
  if (dataSource === undefined) return undefined;
  const isHeldOut = dataSource.includes("test") || dataSource.includes("val");
  if (dataSource.startsWith("amazon_review")) return isHeldOut ? 50 : 5000;
  return isHeldOut ? 100 : 1000;
}

/** The largest cut that a reward asks for, where no option says. */
const largestRewardCut = { search: 1000, history: 5000, order: 10 };
/** The largest cut of the presets' metrics. */
const largestMetricCut = 100;

/** Hits that a preset needs: as many as its reward looks at, and its metrics. */
export function hitsNeeded(kind: keyof typeof largestRewardCut, rewardTopK: number | undefined): number {
  return Math.max(rewardTopK ?? largestRewardCut[kind], largestMetricCut);
}

const measures = {
  ndcg: (hits: readonly { id: string }[], example: Judged, k: number): number => ndcg(hits, example.relevant, { k }),
  recall: (hits: readonly { id: string }[], example: Judged, k: number): number =>
    recall(hits, example.relevant, { k }),
  mrr: (hits: readonly { id: string }[], example: Judged, k: number): number => mrr(hits, example.relevant, { k }),
  map: (hits: readonly { id: string }[], example: Judged, k: number): number => map(hits, example.relevant, { k }),
};

/** A task's metric by name and cut: `metric("ndcg", 100)` is `ndcg@100`. */
export function metric(name: keyof typeof measures, k: number): Metric<Judged> {
  return { name: `${name}@${k}`, score: ({ example, hits }) => measures[name](hits, example, k) };
}
