/**
 * Advantages of a group's completions from their rewards (Shao et al. 2024, "DeepSeekMath", section 4.1; Dr. GRPO: Liu
 * et al. 2025; leave-one-out: Ahmadian et al. 2024). Suffixes: `_G` one group `[G]`, `_P_G` all groups `[P][G]`.
 */

/**
 * What differences to the baseline are divided by: the `group`'s standard deviation, that of the whole `batch`'s
 * differences, or nothing.
 */
export type AdvantageNorm = "group" | "batch" | "none";

/** What a reward is compared with: the group's mean, or the mean of the group's other completions. */
export type AdvantageBaseline = "mean" | "leave_one_out";

/** Keeps the division finite; rewards are of the order of 1. */
const epsilon = 1e-4;

/** Sample standard deviation (n − 1); 0 for fewer than two values. */
export function standardDeviation(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const mean = meanOf(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}

/** Arithmetic mean; 0 for no values. */
export function meanOf(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Whether a group's rewards differ, so that it says which completion was better. */
export function hasVariance(rewards_G: readonly number[]): boolean {
  return rewards_G.some((reward) => Math.abs(reward - (rewards_G[0] as number)) > 1e-12);
}

/**
 * Advantages `[P][G]` of rewards `[P][G]` (groups may differ in size; a group of fewer than two gets zeros).
 * `group`: (r − mean) / (std + 1e-4), std with n − 1; `batch`: the same differences over their standard deviation in
 * the whole batch; `none`: the differences. `leave_one_out` multiplies differences by n / (n − 1).
 */
export function computeAdvantages(
  rewards_P_G: readonly (readonly number[])[],
  { norm = "group", baseline = "mean" }: { norm?: AdvantageNorm; baseline?: AdvantageBaseline } = {},
): number[][] {
  const differences_P_G = rewards_P_G.map((rewards_G) => {
    if (!hasVariance(rewards_G)) return rewards_G.map(() => 0);
    const mean = meanOf(rewards_G);
    const n = rewards_G.length;
    const factor = baseline === "leave_one_out" ? n / (n - 1) : 1;
    return rewards_G.map((reward) => (reward - mean) * factor);
  });
  if (norm === "none") return differences_P_G;
  if (norm === "batch") {
    const divisor = standardDeviation(differences_P_G.flat()) + epsilon;
    return differences_P_G.map((differences_G) => differences_G.map((difference) => difference / divisor));
  }
  return differences_P_G.map((differences_G, p) => {
    const divisor = standardDeviation(rewards_P_G[p] as readonly number[]) + epsilon;
    return differences_G.map((difference) => difference / divisor);
  });
}
