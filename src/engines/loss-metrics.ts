/** What a training pass tells about itself, from its tokens' log-probs. */
import type { Datum } from "./engine.ts";
import type { LossShape } from "./loss-settings.ts";

export interface TokenRecord {
  /** `[T]` under the weights used. */
  logprobs: Float32Array;
  /** `[T]` in nats, where the engine computes it. */
  entropy?: Float32Array;
}

/**
 * Means over all tokens: `entropy` (where it is known), `clipFraction` (ratios beyond the clip range), `approxKl` (k3 from old to new),
 * `logprobDifference` (largest |new − old|), `klToReference` (k3) where reference log-probs are given.
 */
export function lossMetrics(
  data: readonly Datum[],
  records: ReadonlyMap<Datum, TokenRecord>,
  { clipLow, clipHigh }: LossShape,
): Record<string, number> {
  let entropy = 0;
  let withEntropy = 0;
  let clipped = 0;
  let approxKl = 0;
  let largest = 0;
  let reference = 0;
  let withOld = 0;
  let withReference = 0;
  for (const datum of data) {
    const record = records.get(datum) as TokenRecord;
    record.logprobs.forEach((logprob, t) => {
      if (record.entropy) {
        withEntropy += 1;
        entropy += record.entropy[t] as number;
      }
      const old = datum.oldLogprobs?.[t];
      if (old !== undefined) {
        const ratio = Math.exp(logprob - old);
        withOld += 1;
        if (ratio < 1 - clipLow || ratio > 1 + clipHigh) clipped += 1;
        approxKl += ratio - 1 - (logprob - old);
        largest = Math.max(largest, Math.abs(logprob - old));
      }
      const ref = datum.refLogprobs?.[t];
      if (ref !== undefined) {
        withReference += 1;
        reference += Math.exp(ref - logprob) - (ref - logprob) - 1;
      }
    });
  }
  return {
    ...(withEntropy > 0 ? { entropy: entropy / withEntropy } : {}),
    ...(withOld > 0
      ? { clipFraction: clipped / withOld, approxKl: approxKl / withOld, logprobDifference: largest }
      : {}),
    ...(withReference > 0 ? { klToReference: reference / withReference } : {}),
  };
}
