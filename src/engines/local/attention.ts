/**
 * The three ways in which queries meet keys. Rows are tokens without padding; attention happens in padded "slots",
 * and moving between the two is a pair of gathers, each the other's gradient.
 *
 * Rows include one dummy row, and slots at least one slot that no real row has. Padding slots read the dummy row and
 * the dummy row's slot is a padding slot, so no gradient ever passes through padding.
 */
import type { Value } from "../../graph/graph.ts";
import {
  Add,
  Concat,
  FusedMatMul,
  Gather,
  MatMul,
  Mul,
  ReduceSum,
  Reshape,
  ReshapeTo,
  Softmax,
  Split,
  Transpose,
} from "../../graph/operators.ts";
import type { ModelConfig } from "../../models/model.ts";

/** Queries `[N, heads × headDim]`, keys and values `[N, kvHeads × headDim]`, positions applied. */
export interface Projected {
  q: Value;
  k: Value;
  v: Value;
}

/** Index inputs of a packed batch of P groups: prompts `[P, T]`, completions `[P, n, C]`. */
export interface PackedIndices {
  /** `[P, T]` int64: row in each prompt slot. */
  promptRows: Value;
  /** `[P, n, C]` int64: row in each completion slot. */
  completionRows: Value;
  /** `[N]` int64: slot of each row, prompt slots first. */
  rowSlots: Value;
  /** `[P, 1, G·T, T]`: 0 or a large negative number. G is heads / kvHeads. */
  promptMask: Value;
  /** `[P, 1, 1, 1, T]`: which prompt slots are real. */
  promptKeyMask: Value;
  /** `[1, 1, 1, G·C, C]`: causal. */
  completionMask: Value;
  /** `[2]` int64: T and C. */
  keySizes: Value;
}

/** Rows to slots: `[N, F]` → `[P, T, F]` and `[P, n, C, F]`. */
function toSlots(rows: Value, { promptRows, completionRows, rowSlots }: PackedIndices): [Value, Value] {
  const features = rows.shape[1] as number;
  return rows.graph.composite(
    "toSlots",
    [rows],
    () => [Gather(rows, promptRows), Gather(rows, completionRows)],
    (operation, gradients) => {
      const flat = operation.outputs.map((output, i) =>
        Reshape(gradients[i] ?? Mul(output, output.graph.constant(0)), [-1, features], ["slots", features]),
      );
      return [Gather(Concat(flat as [Value, Value], 0, "allSlots"), rowSlots)];
    },
  ) as [Value, Value];
}

/** Slots to rows, the inverse of {@link toSlots}. */
function toRows(prompt: Value, completion: Value, { promptRows, completionRows, rowSlots }: PackedIndices): Value {
  const features = prompt.shape.at(-1) as number;
  const build = (): Value[] => {
    const flat = [prompt, completion].map((slots) => Reshape(slots, [-1, features], ["slots", features]));
    return [Gather(Concat(flat as [Value, Value], 0, "allSlots"), rowSlots)];
  };
  return prompt.graph.composite("toRows", [prompt, completion], build, (_operation, [dy]) =>
    dy ? [Gather(dy, promptRows), Gather(dy, completionRows)] : [],
  )[0] as Value;
}

/** `[P, T, heads·D]` → `[P, kvHeads, G·T, D]` */
function promptQueries(q: Value, { kvHeads, heads, headDim }: ModelConfig): Value {
  const group = heads / kvHeads;
  const split = Reshape(q, [0, 0, kvHeads, group, headDim], ["P", "T", kvHeads, group, headDim]);
  return Reshape(Transpose(split, [0, 2, 3, 1, 4]), [0, 0, -1, headDim], ["P", kvHeads, "GT", headDim]);
}

/** `[P, T, kvHeads·D]` → `[P, kvHeads, T, D]` */
function promptKeys(k: Value, { kvHeads, headDim }: ModelConfig): Value {
  return Transpose(Reshape(k, [0, 0, kvHeads, headDim], ["P", "T", kvHeads, headDim]), [0, 2, 1, 3]);
}

/** `[P, kvHeads, G·T, D]` → `[P, T, heads·D]` */
function promptResult(o: Value, { kvHeads, heads, headDim }: ModelConfig): Value {
  const group = heads / kvHeads;
  const split = Reshape(o, [0, 0, group, -1, headDim], ["P", kvHeads, group, "T", headDim]);
  return Reshape(Transpose(split, [0, 3, 1, 2, 4]), [0, 0, -1], ["P", "T", heads * headDim]);
}

function attendToPrompt(q: Value, k: Value, v: Value, mask: Value, config: ModelConfig): Value {
  const scores = FusedMatMul(q, k, { transB: true, alpha: 1 / Math.sqrt(config.headDim) });
  return MatMul(Softmax(Add(scores, mask)), v);
}

/**
 * Attention of prompts alone.
 * @returns the result in rows, and keys and values `[P, kvHeads, T, D]` for the cache.
 */
export function promptAttention(
  { q, k, v }: Projected,
  indices: Pick<PackedIndices, "promptRows" | "rowSlots" | "promptMask">,
  config: ModelConfig,
): { rows: Value; keys: Value; values: Value } {
  const [keys, values] = [k, v].map((x) => promptKeys(Gather(x, indices.promptRows), config)) as [Value, Value];
  const queries = promptQueries(Gather(q, indices.promptRows), config);
  const slots = promptResult(attendToPrompt(queries, keys, values, indices.promptMask, config), config);
  const features = config.heads * config.headDim;
  const rows = Gather(Reshape(slots, [-1, features], ["slots", features]), indices.rowSlots);
  return { rows, keys, values };
}

/**
 * Attention of packed groups: prompts attend to themselves, completions to their group's prompt, computed once, and to
 * themselves.
 */
export function packedAttention({ q, k, v }: Projected, indices: PackedIndices, config: ModelConfig): Value {
  const { kvHeads, heads, headDim } = config;
  const group = heads / kvHeads;
  const scale = 1 / Math.sqrt(headDim);
  const [qp, qc] = toSlots(q, indices);
  const [kp, kc] = toSlots(k, indices);
  const [vp, vc] = toSlots(v, indices);

  const promptK = promptKeys(kp, config);
  const promptV = promptKeys(vp, config);
  const promptOut = promptResult(
    attendToPrompt(promptQueries(qp, config), promptK, promptV, indices.promptMask, config),
    config,
  );

  const querySplit = Reshape(qc, [0, 0, 0, kvHeads, group, headDim], ["P", "n", "C", kvHeads, group, headDim]);
  const queries = Reshape(
    Transpose(querySplit, [0, 3, 1, 4, 2, 5]),
    [0, 0, 0, -1, headDim],
    ["P", kvHeads, "n", "GC", headDim],
  );
  const [ownK, ownV] = [kc, vc].map((x) =>
    Transpose(Reshape(x, [0, 0, 0, kvHeads, headDim], ["P", "n", "C", kvHeads, headDim]), [0, 3, 1, 2, 4]),
  ) as [Value, Value];
  const [sharedK, sharedV] = [promptK, promptV].map((x) =>
    Reshape(x, [0, 0, 1, -1, headDim], ["P", kvHeads, 1, "T", headDim]),
  ) as [Value, Value];
  const promptScores = Add(FusedMatMul(queries, sharedK, { transB: true, alpha: scale }), indices.promptKeyMask);
  const ownScores = Add(FusedMatMul(queries, ownK, { transB: true, alpha: scale }), indices.completionMask);
  const probabilities = Softmax(Concat([promptScores, ownScores], -1, "T+C"));
  const [onPrompt, onOwn] = Split(probabilities, -1, indices.keySizes, ["T", "C"]) as [Value, Value];
  const mixed = Add(MatMul(onPrompt, sharedV), MatMul(onOwn, ownV));
  const outSplit = Reshape(mixed, [0, 0, 0, group, -1, headDim], ["P", kvHeads, "n", group, "C", headDim]);
  const completionOut = Reshape(
    Transpose(outSplit, [0, 2, 4, 1, 3, 5]),
    [0, 0, 0, -1],
    ["P", "n", "C", heads * headDim],
  );
  return toRows(promptOut, completionOut, indices);
}

/** What a decoding step reads: one new token for each of N running completions of P prompts, m at most for each. */
export interface DecodeInputs {
  /** `[P, m]` int64: running completion in each place of its prompt. */
  promptPlaces: Value;
  /** `[N]` int64: place of each running completion. */
  rowPlaces: Value;
  /** `[P, kvHeads, T, D]` keys of the prompts. */
  promptKeys: Value;
  promptValues: Value;
  /** `[P, 1, 1, T]` */
  promptKeyMask: Value;
  /** `[N, kvHeads, L, D]` keys of the completions' earlier tokens. */
  ownKeys: Value;
  ownValues: Value;
  /** `[1, 1, 1, L]` which of L are filled. */
  ownMask: Value;
  /** `[3]` int64: T, L, 1. */
  keySizes: Value;
  /** int64 sizes `[P, kvHeads, m, G, T]`, `[P·m, kvHeads, G, T]`, `[P, m, kvHeads, G, T]` and `[P, kvHeads, m·G, T]`. */
  splitSizes: Value;
  flatSizes: Value;
  placedSizes: Value;
  mergedSizes: Value;
}

/**
 * Attention of one new token for each running completion.
 * @returns the result in rows `[N, heads·D]`, and the new keys and values `[N, kvHeads, D]`.
 */
export function decodeAttention({ q, k, v }: Projected, inputs: DecodeInputs, config: ModelConfig) {
  const { kvHeads, heads, headDim } = config;
  const group = heads / kvHeads;
  const scale = 1 / Math.sqrt(headDim);
  const perHead = (x: Value, count: number): Value =>
    Reshape(x, [0, kvHeads, count, headDim], ["N", kvHeads, count, headDim]);
  const queries = perHead(q, group);
  const newK = perHead(k, 1);
  const newV = perHead(v, 1);

  const placed = Reshape(
    Gather(q, inputs.promptPlaces),
    [0, 0, kvHeads, group, headDim],
    ["P", "m", kvHeads, group, headDim],
  );
  const placedQueries = Reshape(Transpose(placed, [0, 2, 1, 3, 4]), [0, 0, -1, headDim], ["P", kvHeads, "mG", headDim]);
  const shared = Add(
    FusedMatMul(placedQueries, inputs.promptKeys, { transB: true, alpha: scale }),
    inputs.promptKeyMask,
  );
  const splitScores = ReshapeTo(shared, inputs.splitSizes, ["P", kvHeads, "m", group, "T"]);
  const flatScores = ReshapeTo(Transpose(splitScores, [0, 2, 1, 3, 4]), inputs.flatSizes, ["Pm", kvHeads, group, "T"]);
  const promptScores = Gather(flatScores, inputs.rowPlaces);
  const ownScores = Add(FusedMatMul(queries, inputs.ownKeys, { transB: true, alpha: scale }), inputs.ownMask);
  const selfScores = ReduceSum(Mul(queries, Mul(newK, q.graph.constant(scale))), [-1]);
  const probabilities = Softmax(Concat([promptScores, ownScores, selfScores], -1, "T+L+1"));
  const [onPrompt, onOwn, onSelf] = Split(probabilities, -1, inputs.keySizes, ["T", "L", 1]) as [Value, Value, Value];

  const onPromptFlat = Reshape(onPrompt, [0, -1], ["N", "kGT"]);
  const placedProbabilities = ReshapeTo(Gather(onPromptFlat, inputs.promptPlaces), inputs.placedSizes, [
    "P",
    "m",
    kvHeads,
    group,
    "T",
  ]);
  const mergedProbabilities = ReshapeTo(Transpose(placedProbabilities, [0, 2, 1, 3, 4]), inputs.mergedSizes, [
    "P",
    kvHeads,
    "mG",
    "T",
  ]);
  const placedMix = Reshape(
    MatMul(mergedProbabilities, inputs.promptValues),
    [0, 0, -1, group, headDim],
    ["P", kvHeads, "m", group, headDim],
  );
  const flatMix = Reshape(
    Transpose(placedMix, [0, 2, 1, 3, 4]),
    [-1, kvHeads, group, headDim],
    ["Pm", kvHeads, group, headDim],
  );
  const promptMix = Gather(flatMix, inputs.rowPlaces);
  const mixed = Add(Add(promptMix, MatMul(onOwn, inputs.ownValues)), Mul(onSelf, newV));
  return { rows: Reshape(mixed, [0, -1], ["N", heads * headDim]), newK, newV };
}
