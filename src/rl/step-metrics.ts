/** The figures of one step, from its rollouts and its optimizer steps. */
import type { Datum, ForwardBackwardResult, OptimResult } from "../engines/engine.ts";
import { hasVariance, meanOf, standardDeviation } from "./advantage.ts";
import type { BestRewrite } from "./events.ts";
import type { Group, Rollout } from "./rollout.ts";
import type { Task } from "./task.ts";

/** Figures of the rollouts of a step. Shares are of rollouts unless they say `Groups`. */
export function measureRollouts(groups: readonly Group<unknown>[]): Record<string, number> {
  const all = groups.flatMap((group) => group.rollouts);
  const scored = all.filter((rollout) => rollout.reward !== null);
  const rewards_P_G = groups.map((group) =>
    group.rollouts.map(({ reward }) => reward).filter((reward) => reward !== null),
  );
  const shareOf = (count: number): number => count / Math.max(1, all.length);
  const queries = all.map(({ query }) => query).filter((query) => query !== null);
  const partNames = [...new Set(scored.flatMap(({ parts }) => Object.keys(parts)))].sort();
  return {
    reward: meanOf(rewards_P_G.flat()),
    rewardBest: meanOf(rewards_P_G.filter((rewards) => rewards.length > 0).map((rewards) => Math.max(...rewards))),
    rewardStd: meanOf(rewards_P_G.map(standardDeviation)),
    learningGroups: rewards_P_G.filter(hasVariance).length / Math.max(1, groups.length),
    rollouts: all.length,
    failed: all.length - scored.length,
    unparsed: shareOf(all.length - queries.length),
    empty: shareOf(all.filter(({ hits }) => hits?.length === 0).length),
    truncated: shareOf(all.filter(({ sample }) => sample.stopReason === "length").length),
    differentQueries: meanOf(
      groups.map(({ rollouts }) => new Set(rollouts.map(({ query }) => query)).size / rollouts.length),
    ),
    queryWords: meanOf(queries.map((query) => query.split(/\s+/).length)),
    completionTokens: meanOf(all.map(({ turns }) => turns.reduce((sum, { sample }) => sum + sample.ids.length, 0))),
    shortenedPrompts: groups.filter(({ isShortened }) => isShortened).length / Math.max(1, groups.length),
    ...measureTruncation(all),
    ...Object.fromEntries(
      partNames.map((name) => [`part/${name}`, meanOf(scored.map(({ parts }) => parts[name] ?? 0))]),
    ),
  };
}

/**
 * What top-p, top-k and min-p did, where they were on: `keptMass`, the mean probability of the tokens that could be drawn,
 * and `samplerKl`, the divergence in nats of the distribution that was drawn from to the policy's (−log keptMass).
 */
function measureTruncation(rollouts: readonly Rollout[]): Record<string, number> {
  const masses = rollouts.flatMap(({ turns }) => turns.flatMap(({ sample }) => Array.from(sample.keptMass ?? [])));
  if (masses.length === 0) return {};
  return { keptMass: meanOf(masses), samplerKl: -meanOf(masses.map(Math.log)) };
}

/** The query whose reward is furthest above the mean of its group; undefined where all groups are equal. */
export function findBestRewrite<E extends object>(groups: readonly Group<E>[], task: Task<E>): BestRewrite | undefined {
  let best: { gain: number; group: Group<E>; query: string; reward: number } | undefined;
  for (const group of groups) {
    const mean = meanOf(group.rollouts.map(({ reward }) => reward).filter((reward) => reward !== null));
    for (const { reward, query } of group.rollouts) {
      const gain = reward === null ? 0 : reward - mean;
      if (query === null || reward === null || gain <= (best?.gain ?? 0)) continue;
      best = { gain, group, query, reward };
    }
  }
  return best && { raw: task.raw(best.group.example.example), query: best.query, reward: best.reward };
}

/** Gathers what the optimizer steps of one training step report. */
export class UpdateMetrics {
  private tokens = 0;
  private readonly sums: Record<string, number> = {};
  private loss = 0;
  private readonly gradNorms: number[] = [];
  private samplerDifference: number | undefined;
  /** Optimizer steps that changed nothing because gradients weren't finite. */
  skipped = 0;

  /** Whether nothing was added yet. */
  get isEmpty(): boolean {
    return this.tokens === 0;
  }

  /** @param isFirst whether the weights are still those that sampled, so that log-probs should be equal */
  addForwardBackward(data: readonly Datum[], result: ForwardBackwardResult, isFirst: boolean): void {
    const tokens = data.reduce((sum, datum) => sum + datum.completion.length, 0);
    this.tokens += tokens;
    for (const [name, value] of Object.entries(result.metrics)) {
      this.sums[name] = (this.sums[name] ?? 0) + value * tokens;
    }
    this.loss += result.loss;
    if (isFirst) this.samplerDifference = largestDifference(data, result.logprobs);
  }

  addOptimStep({ gradNorm, applied }: OptimResult): void {
    if (applied) this.gradNorms.push(gradNorm);
    else this.skipped++;
  }

  /** Means over tokens or optimizer steps; `loss` is the sum over the step's batches. */
  summarise(): Record<string, number> {
    const means = Object.entries(this.sums).map(([name, sum]) => [name, sum / this.tokens] as const);
    return {
      loss: this.loss,
      gradNorm: meanOf(this.gradNorms),
      optimizerSteps: this.gradNorms.length,
      skipped: this.skipped,
      ...Object.fromEntries(means.sort(([a], [b]) => (a < b ? -1 : 1))),
      ...(this.samplerDifference === undefined ? {} : { samplerDifference: this.samplerDifference }),
    };
  }
}

/** Largest difference between log-probs when sampled and when trained on, in nats. */
function largestDifference(data: readonly Datum[], logprobs: readonly Float32Array[]): number {
  let largest = 0;
  data.forEach(({ oldLogprobs }, i) => {
    oldLogprobs?.forEach((old, t) => {
      largest = Math.max(largest, Math.abs(old - (logprobs[i]?.[t] ?? old)));
    });
  });
  return largest;
}
