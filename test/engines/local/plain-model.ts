/**
 * The models and losses once more, as plain loops in float64: slow, with nothing packed, merged or cached, so that the
 * engine has something independent to be compared with.
 */
import type { Datum, Loss, TokenIds } from "../../../src/engines/engine.ts";
import type { ModelConfig } from "../../../src/models/model.ts";

export type PlainWeights = ReadonlyMap<string, Float64Array>;

/** `W·x` for `W [out, in]` row-major. */
function multiply(weight: Float64Array, x: Float64Array): Float64Array {
  const y = new Float64Array(weight.length / x.length);
  for (let i = 0; i < y.length; i++) {
    let sum = 0;
    for (let j = 0; j < x.length; j++) sum += weight[i * x.length + j]! * x[j]!;
    y[i] = sum;
  }
  return y;
}

function rmsNorm(x: Float64Array, weight: Float64Array, epsilon: number): Float64Array {
  const mean = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  return x.map((value, i) => (value / Math.sqrt(mean + epsilon)) * weight[i]!);
}

const geluTanh = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

const plus = (a: Float64Array, b: Float64Array | undefined): Float64Array => (b ? a.map((x, i) => x + b[i]!) : a);

/** Angle per position of each pair of a head's numbers, stretched as the config says. */
export function rotaryFrequencies({ headDim, ropeTheta, ropeScaling }: ModelConfig): number[] {
  return Array.from({ length: headDim / 2 }, (_, i) => {
    const frequency = 1 / ropeTheta ** ((2 * i) / headDim);
    if (!ropeScaling) return frequency;
    if (ropeScaling.type === "linear") return frequency / ropeScaling.factor;
    // Llama 3.1: short waves stay, long ones are stretched, those between are mixed.
    const { factor, lowFreqFactor, highFreqFactor, originalContextLength } = ropeScaling;
    const turns = (originalContextLength * frequency) / (2 * Math.PI);
    const share = Math.min(1, Math.max(0, (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor)));
    return share * frequency + ((1 - share) * frequency) / factor;
  });
}

function rotate(head: Float64Array, position: number, frequencies: readonly number[]): Float64Array {
  const half = head.length / 2;
  return head.map((x, i) => {
    const angle = position * frequencies[i % half]!;
    const other = i < half ? -head[i + half]! : head[i - half]!;
    return x * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** Logits `[T][vocab]` after each of `ids`. */
export function plainLogits(config: ModelConfig, weights: PlainWeights, ids: TokenIds): Float64Array[] {
  const { hiddenSize, heads, kvHeads, headDim, rmsNormEps } = config;
  const {
    activation,
    normsAround,
    normOffset = 0,
    embeddingScale = 1,
    attentionScale,
    localRope,
  } = config.traits ?? {};
  const get = (name: string): Float64Array => weights.get(name)!;
  const normWeight = (name: string): Float64Array => get(name).map((w) => w + normOffset);
  const embedding = get("model.embed_tokens.weight");
  let states: Float64Array[] = ids.map((id) =>
    embedding.slice(id * hiddenSize, (id + 1) * hiddenSize).map((x) => x * embeddingScale),
  );
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const norm = (x: Float64Array, name: string): Float64Array =>
      rmsNorm(x, normWeight(`${prefix}.${name}.weight`), rmsNormEps);
    const frequencies = localRope?.layers.includes(layer)
      ? rotaryFrequencies({ ...config, ropeTheta: localRope.theta, ropeScaling: null })
      : rotaryFrequencies(config);
    const projected = states.map((x, position) => {
      const normed = norm(x, "input_layernorm");
      const project = (name: string): Float64Array =>
        plus(
          multiply(get(`${prefix}.self_attn.${name}_proj.weight`), normed),
          weights.get(`${prefix}.self_attn.${name}_proj.bias`),
        );
      const split = (flat: Float64Array): Float64Array[] =>
        Array.from({ length: flat.length / headDim }, (_, h) => flat.slice(h * headDim, (h + 1) * headDim));
      const turn = (name: "q" | "k"): Float64Array[] =>
        split(project(name)).map((head) => {
          const normed = config.qkNorm ? norm(head, `self_attn.${name}_norm`) : head;
          return rotate(normed, position, frequencies);
        });
      return { q: turn("q"), k: turn("k"), v: split(project("v")) };
    });
    states = states.map((x, t) => {
      const mixed = new Float64Array(heads * headDim);
      for (let h = 0; h < heads; h++) {
        const shared = Math.floor(h / (heads / kvHeads));
        const query = projected[t]!.q[h]!;
        const scores = projected
          .slice(0, t + 1)
          .map(
            ({ k }) =>
              query.reduce((sum, value, i) => sum + value * k[shared]![i]!, 0) *
              (attentionScale ?? 1 / Math.sqrt(headDim)),
          );
        const most = Math.max(...scores);
        const powers = scores.map((score) => Math.exp(score - most));
        const total = powers.reduce((a, b) => a + b, 0);
        powers.forEach((power, s) => {
          for (let i = 0; i < headDim; i++) {
            mixed[h * headDim + i]! += (power / total) * projected[s]!.v[shared]![i]!;
          }
        });
      }
      const out = multiply(get(`${prefix}.self_attn.o_proj.weight`), mixed);
      const attended = plus(x, normsAround ? norm(out, "post_attention_layernorm") : out);
      const normed = norm(attended, normsAround ? "pre_feedforward_layernorm" : "post_attention_layernorm");
      const gate = multiply(get(`${prefix}.mlp.gate_proj.weight`), normed);
      const up = multiply(get(`${prefix}.mlp.up_proj.weight`), normed);
      const inner = gate.map((g, i) => (activation === "gelu_tanh" ? geluTanh(g) : g / (1 + Math.exp(-g))) * up[i]!);
      const fed = multiply(get(`${prefix}.mlp.down_proj.weight`), inner);
      return plus(attended, normsAround ? norm(fed, "post_feedforward_layernorm") : fed);
    });
  }
  const head = config.tieWordEmbeddings ? embedding : get("lm_head.weight");
  return states.map((x) => multiply(head, rmsNorm(x, normWeight("model.norm.weight"), rmsNormEps)));
}

/** Log of the softmax at a temperature. */
export function logSoftmax(logits: Float64Array, temperature = 1): Float64Array {
  const scaled = logits.map((x) => x / temperature);
  const most = Math.max(...scaled);
  const total = most + Math.log(scaled.reduce((sum, x) => sum + Math.exp(x - most), 0));
  return scaled.map((x) => x - total);
}

/** Log-probs `[T]` of a completion. */
export function plainLogprobs(
  config: ModelConfig,
  weights: PlainWeights,
  { prompt, completion }: Pick<Datum, "prompt" | "completion">,
  temperature = 1,
): number[] {
  const logits = plainLogits(config, weights, [...prompt, ...completion].slice(0, -1));
  return completion.map((id, t) => logSoftmax(logits[prompt.length - 1 + t]!, temperature)[id]!);
}

/** A loss from its definition, from each datum's log-probs. */
export function plainLoss(data: readonly Datum[], logprobs: readonly (readonly number[])[], loss: Loss): number {
  const {
    clipLow = loss.name === "gspo" ? 0.03 : 0.2,
    clipHigh = loss.name === "gspo" ? 0.04 : loss.name === "dapo" ? 0.28 : 0.2,
    klCoef = 0,
    klEstimator = "k3",
  } = loss;
  const own = { grpo: "sequence", gspo: "sequence", dr_grpo: "constant" } as const;
  const aggregation = loss.aggregation ?? (loss.name in own ? own[loss.name as keyof typeof own] : "token");
  const tokens = loss.batch?.tokens ?? data.reduce((sum, { completion }) => sum + completion.length, 0);
  const completions = loss.batch?.completions ?? data.length;
  let total = 0;
  data.forEach((datum, d) => {
    const advantage = datum.advantage ?? 0;
    const ratios = logprobs[d]!.map((logprob, t) => logprob - (datum.oldLogprobs?.[t] ?? 0));
    const sequenceRatio = ratios.reduce((a, b) => a + b, 0) / ratios.length;
    const terms = logprobs[d]!.map((logprob, t) => {
      const ratio = Math.exp(loss.name === "gspo" ? sequenceRatio : ratios[t]!);
      const clipped = Math.min(Math.max(ratio, 1 - clipLow), 1 + clipHigh);
      const term =
        loss.name === "cross_entropy"
          ? -logprob
          : loss.name === "importance_sampling"
            ? -ratio * advantage
            : loss.name === "cispo"
              ? -Math.min(ratio, 1 + clipHigh) * advantage * logprob
              : -Math.min(ratio * advantage, clipped * advantage);
      const difference = (datum.refLogprobs?.[t] ?? 0) - logprob;
      const kl = {
        k1: -difference,
        k2: difference ** 2 / 2,
        k3: Math.exp(difference) - difference - 1,
      }[klEstimator];
      return term + (klCoef === 0 ? 0 : klCoef * kl);
    });
    const sum = terms.reduce((a, b) => a + b, 0) * (datum.weight ?? 1);
    if (aggregation === "token") total += sum / tokens;
    else if (aggregation === "sequence") total += sum / terms.length / completions;
    else total += sum / (completions * loss.maxTokens!);
  });
  return total;
}
