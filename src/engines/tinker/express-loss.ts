/**
 * From our data and losses to what a Tinker server computes. Its losses are sums over tokens, so that weights and
 * averaging go into the advantages. What it hasn't got is expressed exactly all the same: the gradient of any loss of
 * log-probs is that of importance sampling at ratio 1 with advantage −∂loss/∂logprob (a forward pass gives the log-probs).
 */
import type { Datum, Loss } from "../engine.ts";
import { requireAdvantages, requireLogprobs } from "../loss-settings.ts";
import { computeTerms, type ResolvedLoss } from "./loss-terms.ts";
import type { DatumWire } from "./wire.ts";

/**
 * How a server adds up a batch. `sum`: over all tokens (the Tinker API, SkyRL on GPUs). `sequence_mean`: each datum's tokens
 * are averaged, prompt included, then the data (SkyRL on JAX).
 */
export type Reduction = "sum" | "sequence_mean";

/** A loss in the server's own terms. */
export interface ServerLoss {
  lossFn: string;
  config: Record<string, number>;
}

/** The server's loss that has ours as its gradient when advantages are scaled; undefined: there is none. */
export function findServerLoss(shape: ResolvedLoss, reduction: Reduction): ServerLoss | undefined {
  if (shape.klCoef > 0) return undefined;
  switch (shape.name) {
    case "cross_entropy":
      // Averaging over the weights would cancel them.
      return reduction === "sum" ? { lossFn: "cross_entropy", config: {} } : undefined;
    case "importance_sampling":
      return { lossFn: "importance_sampling", config: {} };
    case "ppo":
    case "grpo":
    case "dapo":
    case "dr_grpo":
      return { lossFn: "ppo", config: clipConfig(1 - shape.clipLow, 1 + shape.clipHigh) };
    case "cispo":
      return { lossFn: "cispo", config: clipConfig(0, 1 + shape.clipHigh) };
    case "gspo":
      return undefined;
  }
}

/** Importance sampling, which every server knows. */
export const surrogateLoss: ServerLoss = { lossFn: "importance_sampling", config: {} };

/** The API's own range is left unsaid, for servers that take no settings. */
function clipConfig(low: number, high: number): Record<string, number> {
  const isDefault = Math.abs(low - 0.8) < 1e-12 && Math.abs(high - 1.2) < 1e-12;
  return isDefault ? {} : { clip_low_threshold: low, clip_high_threshold: high };
}

/** What undoes the server's averaging of one datum. @param data how many data its average is over */
export function reductionFactor(reduction: Reduction, { prompt, completion }: Datum, data: number): number {
  return reduction === "sum" ? 1 : (prompt.length + completion.length - 1) * data;
}

/** Input and target tokens, each target the input's successor, and where the completion's targets begin. */
function toTokens({ prompt, completion }: Pick<Datum, "prompt" | "completion">): { wire: DatumWire; start: number } {
  const all = [...prompt, ...completion];
  const targets = all.slice(1);
  return {
    wire: { tokens: all.slice(0, -1), inputs: { target_tokens: { dtype: "int64", data: targets } } },
    start: prompt.length - 1,
  };
}

/** Values of the completion's tokens among zeros for the prompt's. */
function padded(values: ArrayLike<number>, start: number): { dtype: "float32"; data: Float32Array } {
  const data = new Float32Array(start + values.length);
  data.set(values, start);
  return { dtype: "float32", data };
}

/** A datum whose log-probs are asked for. */
export function toForwardDatum(datum: Pick<Datum, "prompt" | "completion">): DatumWire {
  const { wire, start } = toTokens(datum);
  wire.inputs.weights = padded(new Float32Array(datum.completion.length).fill(1), start);
  return wire;
}

/** A datum of a loss that the server has; `weights` are its tokens' `[T]`, the server's averaging undone. */
export function toServerDatum(datum: Datum, loss: Loss, { lossFn }: ServerLoss, weights: Float64Array): DatumWire {
  const { wire, start } = toTokens(datum);
  if (lossFn === "cross_entropy") {
    wire.inputs.weights = padded(weights, start);
    return wire;
  }
  const advantages = requireAdvantages(datum, loss).map((advantage, t) => advantage * (weights[t] as number));
  wire.inputs.logprobs = padded(requireLogprobs(datum, "oldLogprobs", loss), start);
  wire.inputs.advantages = padded(advantages, start);
  return wire;
}

/** A datum of {@link surrogateLoss}, at `logprobs` `[T]` under the weights that are trained. */
export function toSurrogateDatum(
  datum: Datum,
  logprobs: Float32Array,
  { loss, shape, weights, factor }: { loss: Loss; shape: ResolvedLoss; weights: Float64Array; factor: number },
): DatumWire {
  const { wire, start } = toTokens(datum);
  const { slopes } = computeTerms(datum, logprobs, { loss, shape, weights });
  wire.inputs.logprobs = padded(logprobs, start);
  wire.inputs.advantages = padded(
    slopes.map((slope) => -slope * factor),
    start,
  );
  return wire;
}
