/**
 * From hidden states to log-probs of given tokens, without ever holding the whole vocabulary for all of them.
 *
 * A token's log-prob depends on its own hidden state h alone, and its gradient there is the vector
 * u = (E[target] − Σ p·E) / temperature. So each chunk computes u beside the log-prob while its logits are at hand, and
 * the backward pass is one multiplication. The entropy follows from u as well: H = −logprob + h·u.
 */
import type { Dimension, Value } from "../../graph/graph.ts";
import {
  Add,
  Concat,
  Exp,
  Gather,
  GatherElements,
  Gemm,
  LogSoftmax,
  MatMul,
  Mul,
  Neg,
  ReduceSum,
  Reshape,
  ScatterAdd,
  Split,
  Sub,
} from "../../graph/operators.ts";

export interface ScoringInputs {
  /** `[M, hidden]`, after the last norm. */
  hidden: Value;
  /** `[vocab, hidden]` */
  head: Value;
  /** `[M, 1]` int64 */
  targets: Value;
  /** One number: 1 / temperature. */
  inverseTemperature: Value;
  /** `[chunks]` int64, adding up to M; none 0. */
  chunkSizes: Value;
  chunks: number;
}

/** Log-probs `[M, 1]` of the targets and entropies `[M, 1]` (nats; no gradient passes through them). */
export function scoreTokens(inputs: ScoringInputs): { logprobs: Value; entropy: Value } {
  const { hidden, head, targets, inverseTemperature, chunkSizes, chunks } = inputs;
  const names = Array.from({ length: chunks }, (_, i) => `chunk${i}`);
  const saved: { direction: Value; scaled: Value; logSoftmax: Value[] }[] = [];
  const build = (): Value[] => {
    const scaled = Mul(hidden, inverseTemperature);
    const parts = chunks === 1 ? [scaled] : Split(scaled, 0, chunkSizes, names);
    const targetParts = chunks === 1 ? [targets] : Split(targets, 0, chunkSizes, names);
    const scored = parts.map((part, i) => {
      const target = targetParts[i] as Value;
      const logSoftmax = LogSoftmax(Gemm(part, head, undefined, { transB: true }));
      const mean = MatMul(Exp(logSoftmax), head);
      const own = Gather(head, Reshape(target, [-1], [part.shape[0] as Dimension]));
      return { logSoftmax, logprobs: GatherElements(logSoftmax, target), direction: Sub(own, mean) };
    });
    const join = (values: Value[]): Value =>
      chunks === 1 ? (values[0] as Value) : Concat(values as [Value, ...Value[]], 0, "M");
    const logprobs = join(scored.map((part) => part.logprobs));
    const direction = join(scored.map((part) => part.direction));
    const entropy = Add(Neg(logprobs), ReduceSum(Mul(scaled, direction), [-1]));
    saved.push({ direction, scaled, logSoftmax: scored.map((part) => part.logSoftmax) });
    return [logprobs, entropy];
  };
  const [logprobs, entropy] = hidden.graph.composite(
    "scoreTokens",
    [hidden, head],
    build,
    (_operation, [dy], needed) => {
      const [forward] = saved;
      if (!dy || !forward) return [];
      const dHidden = Mul(Mul(dy, forward.direction), inverseTemperature);
      return [needed[0] ? dHidden : undefined, needed[1] ? headGradient(inputs, forward, dy) : undefined];
    },
  ) as [Value, Value];
  return { logprobs, entropy };
}

/** dE = Σ dy·(onehot − p)ᵀ·h, chunk by chunk. */
function headGradient(
  { head, targets, chunkSizes, chunks }: ScoringInputs,
  { scaled, logSoftmax }: { scaled: Value; logSoftmax: Value[] },
  dy: Value,
): Value {
  const names = logSoftmax.map((_, i) => `chunk${i}`);
  const weighted = Mul(scaled, dy);
  const parts = chunks === 1 ? [weighted] : Split(weighted, 0, chunkSizes, names);
  const fromSoftmax = parts.reduce<Value | undefined>(
    (sum, part, i) => Gemm(Exp(logSoftmax[i] as Value), part, sum, { transA: true, alpha: -1 }),
    undefined,
  ) as Value;
  return ScatterAdd({ ...fromSoftmax, shape: head.shape }, targets, weighted);
}
