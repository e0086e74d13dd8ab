/**
 * The three ways in which queries meet keys. Rows are tokens without padding; attention happens in padded "slots",
 * and moving between the two is a pair of gathers, each the other's gradient.
 *
 * Rows include one dummy row, and slots at least one slot that no real row has. Padding slots read the dummy row and
 * the dummy row's slot is a padding slot, so no gradient ever passes through padding.
 */
import type { Dimension, Value } from "../../graph/graph.ts";
import {
  Add,
  Concat,
  FusedMatMul,
  Gather,
  MatMul,
  Mul,
  ReduceSum,
  Reshape,
  ReshapeLike,
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

/**
 * Index inputs of a packed batch. Slots come in three levels, each of which attends to itself and to those above: the
 * tokens that all prompts begin with `[1, F]`, the rest of P prompts `[P, T]`, their completions `[P, n, C]`. G is
 * heads / kvHeads. Masks hold 0 or a large negative number.
 */
export interface PackedIndices {
  /** `[1, F]` int64: row in each prefix slot. */
  prefixRows: Value;
  /** `[P, T]` int64: row in each prompt slot. */
  promptRows: Value;
  /** `[P, n, C]` int64: row in each completion slot. */
  completionRows: Value;
  /** `[N]` int64: slot of each row; prefix slots first, then the prompts'. */
  rowSlots: Value;
  /** `[1, 1, G·F, F]`: causal. */
  prefixMask: Value;
  /** `[1, 1, 1, F]`: masked where there is no prefix. */
  prefixKeyMask: Value;
  /** `[P, 1, G·T, T]`: causal, and only real keys. */
  promptMask: Value;
  /** `[P, 1, 1, T]`: which prompt slots are real. */
  promptKeyMask: Value;
  /** `[1, 1, 1, G·C, C]`: causal. */
  completionMask: Value;
  /** `[2]` int64: F and T. */
  promptKeySizes: Value;
  /** `[3]` int64: F, T and C. */
  completionKeySizes: Value;
  /** `[4]` int64: the sizes that merge scores `[P, kvHeads, n, G·C, C]` to `[P, kvHeads, n·G·C, C]`: 0, 0, −1 and C. */
  ownScoreSizes: Value;
}

/** The indices that prompts alone need. */
export type PromptIndices = Omit<
  PackedIndices,
  "completionRows" | "promptKeyMask" | "completionMask" | "completionKeySizes" | "ownScoreSizes"
>;

/** What scores are multiplied by. */
function attentionScale({ headDim, traits }: ModelConfig): number {
  return traits?.attentionScale ?? 1 / Math.sqrt(headDim);
}

/** Rows to slots: `[N, features]` to `[.., features]` for each index input. */
function toSlots(rows: Value, levels: readonly Value[], rowSlots: Value): Value[] {
  const features = rows.shape[1] as number;
  return rows.graph.composite(
    "toSlots",
    [rows],
    () => levels.map((level) => Gather(rows, level)),
    (operation, gradients) => {
      const slots = operation.outputs.map((output, i) => gradients[i] ?? Mul(output, output.graph.constant(0)));
      return [Gather(flatten(slots, features), rowSlots)];
    },
  );
}

/** Slots to rows, the inverse of {@link toSlots}. */
function toRows(slots: readonly Value[], levels: readonly Value[], rowSlots: Value): Value {
  const [first] = slots as [Value];
  const features = first.shape.at(-1) as number;
  return first.graph.composite(
    "toRows",
    slots,
    () => [Gather(flatten(slots, features), rowSlots)],
    (_operation, [dy]) => (dy ? levels.map((level) => Gather(dy, level)) : []),
  )[0] as Value;
}

/** All levels' slots one after the other, `[slots, features]`. */
function flatten(slots: readonly Value[], features: number): Value {
  const flat = slots.map((level) => Reshape(level, [-1, features], ["slots", features]));
  return Concat(flat as [Value, ...Value[]], 0, "allSlots");
}

/** `[B, S, heads·D]` → `[B, kvHeads, G·S, D]` */
function splitQueries(q: Value, name: string, { kvHeads, heads, headDim }: ModelConfig): Value {
  const [batch, length] = q.shape as [Dimension, Dimension];
  const group = heads / kvHeads;
  const split = Reshape(q, [0, 0, kvHeads, group, headDim], [batch, length, kvHeads, group, headDim]);
  return Reshape(Transpose(split, [0, 2, 3, 1, 4]), [0, 0, -1, headDim], [batch, kvHeads, `G${name}`, headDim]);
}

/** `[B, S, kvHeads·D]` → `[B, kvHeads, S, D]` */
function splitKeys(k: Value, { kvHeads, headDim }: ModelConfig): Value {
  const [batch, length] = k.shape as [Dimension, Dimension];
  return Transpose(Reshape(k, [0, 0, kvHeads, headDim], [batch, length, kvHeads, headDim]), [0, 2, 1, 3]);
}

/** `[B, kvHeads, G·S, D]` → `[B, S, heads·D]` */
function joinHeads(o: Value, name: string, { kvHeads, heads, headDim }: ModelConfig): Value {
  const batch = o.shape[0] as Dimension;
  const group = heads / kvHeads;
  const split = Reshape(o, [0, 0, group, -1, headDim], [batch, kvHeads, group, name, headDim]);
  return Reshape(Transpose(split, [0, 3, 1, 2, 4]), [0, 0, -1], [batch, name, heads * headDim]);
}

/** Keys and values of one level, and what is added to the scores on them. */
interface KeySet {
  keys: Value;
  values: Value;
  mask: Value;
  /** Name of the number of keys. */
  size: string;
}

/** Softmax attention of `queries` over several sets of keys; `sizes` `[sets]` int64 says how many each has. */
function attendTo(queries: Value, sets: readonly KeySet[], sizes: Value | undefined, config: ModelConfig): Value {
  const alpha = attentionScale(config);
  const scores = sets.map(({ keys, mask }) => Add(FusedMatMul(queries, keys, { transB: true, alpha }), mask));
  if (!sizes) return MatMul(Softmax(scores[0] as Value), (sets[0] as KeySet).values);
  const names = sets.map(({ size }) => size);
  const probabilities = Softmax(Concat(scores as [Value, ...Value[]], -1, names.join("+")));
  const parts = probabilities.graph.recomputed(() => Split(probabilities, -1, sizes, names));
  return parts.map((part, i) => MatMul(part, (sets[i] as KeySet).values)).reduce((sum, part) => Add(sum, part));
}

interface Slots {
  q: Value;
  k: Value;
  v: Value;
}

/** The two upper levels: the prefix and the prompts. */
function attendPrompts(prefix: Slots, prompt: Slots, indices: PromptIndices, config: ModelConfig) {
  const prefixKeys = splitKeys(prefix.k, config);
  const prefixValues = splitKeys(prefix.v, config);
  const promptKeys = splitKeys(prompt.k, config);
  const promptValues = splitKeys(prompt.v, config);
  const prefixSet = { keys: prefixKeys, values: prefixValues, mask: indices.prefixKeyMask, size: "F" };
  const promptSet = { keys: promptKeys, values: promptValues, mask: indices.promptMask, size: "T" };
  const onPrefix = attendTo(
    splitQueries(prefix.q, "F", config),
    [{ ...prefixSet, mask: indices.prefixMask }],
    undefined,
    config,
  );
  const onPrompt = attendTo(
    splitQueries(prompt.q, "T", config),
    [prefixSet, promptSet],
    indices.promptKeySizes,
    config,
  );
  return {
    prefixKeys,
    prefixValues,
    promptKeys,
    promptValues,
    prefixOut: joinHeads(onPrefix, "F", config),
    promptOut: joinHeads(onPrompt, "T", config),
  };
}

/** q, k and v in the slots of each level. */
function slotsOf({ q, k, v }: Projected, levels: readonly Value[], rowSlots: Value): Slots[] {
  const [qs, ks, vs] = [q, k, v].map((rows) => toSlots(rows, levels, rowSlots)) as [Value[], Value[], Value[]];
  return levels.map((_, i) => ({ q: qs[i] as Value, k: ks[i] as Value, v: vs[i] as Value }));
}

/**
 * Attention of prompts alone.
 * @returns the result in rows, and keys and values for the cache: `[1, kvHeads, F, D]` and `[P, kvHeads, T, D]`.
 */
export function promptAttention(projected: Projected, indices: PromptIndices, config: ModelConfig) {
  const levels = [indices.prefixRows, indices.promptRows];
  const [prefix, prompt] = slotsOf(projected, levels, indices.rowSlots) as [Slots, Slots];
  const { prefixOut, promptOut, ...cache } = attendPrompts(prefix, prompt, indices, config);
  return { rows: toRows([prefixOut, promptOut], levels, indices.rowSlots), ...cache };
}

/**
 * Attention of packed groups: prompts attend to what they all begin with, computed once for the batch, and to
 * themselves; completions attend to both, computed once for the group, and to themselves.
 */
export function packedAttention(projected: Projected, indices: PackedIndices, config: ModelConfig): Value {
  const { kvHeads, heads, headDim } = config;
  const group = heads / kvHeads;
  const alpha = attentionScale(config);
  const levels = [indices.prefixRows, indices.promptRows, indices.completionRows];
  const [prefix, prompt, completion] = slotsOf(projected, levels, indices.rowSlots) as [Slots, Slots, Slots];
  const upper = attendPrompts(prefix, prompt, indices, config);

  const querySplit = Reshape(
    completion.q,
    [0, 0, 0, kvHeads, group, headDim],
    ["P", "n", "C", kvHeads, group, headDim],
  );
  const queries = Reshape(
    Transpose(querySplit, [0, 3, 1, 4, 2, 5]),
    [0, 0, 0, -1, headDim],
    ["P", kvHeads, "n", "GC", headDim],
  );
  const [ownKeys, ownValues] = [completion.k, completion.v].map((rows) => {
    const split = Reshape(rows, [0, 0, 0, kvHeads, headDim], ["P", "n", "C", kvHeads, headDim]);
    return Transpose(split, [0, 3, 1, 2, 4]);
  }) as [Value, Value];

  // What a group's completions share is multiplied once for all of them: one large product instead of n small ones.
  const merged = Reshape(queries, [0, 0, -1, headDim], ["P", kvHeads, "nGC", headDim]);
  const scoresOn = (keys: Value, mask: Value): Value => Add(FusedMatMul(merged, keys, { transB: true, alpha }), mask);
  const ownScores = Add(FusedMatMul(queries, ownKeys, { transB: true, alpha }), indices.completionMask);
  const probabilities = Softmax(
    Concat(
      [
        scoresOn(upper.prefixKeys, indices.prefixKeyMask),
        scoresOn(upper.promptKeys, indices.promptKeyMask),
        ReshapeTo(ownScores, indices.ownScoreSizes, ["P", kvHeads, "nGC", "C"]),
      ],
      -1,
      "F+T+C",
    ),
  );
  const [onPrefix, onPrompt, onOwn] = probabilities.graph.recomputed(() => {
    const parts = Split(probabilities, -1, indices.completionKeySizes, ["F", "T", "C"]) as [Value, Value, Value];
    return [parts[0], parts[1], ReshapeLike(parts[2], ownScores)];
  }) as [Value, Value, Value];
  const shared = Add(MatMul(onPrefix, upper.prefixValues), MatMul(onPrompt, upper.promptValues));
  const own = MatMul(onOwn, ownValues);
  const mixed = Add(ReshapeLike(shared, own), own);
  const outSplit = Reshape(mixed, [0, 0, 0, group, -1, headDim], ["P", kvHeads, "n", group, "C", headDim]);
  const completionOut = Reshape(
    Transpose(outSplit, [0, 2, 4, 1, 3, 5]),
    [0, 0, 0, -1],
    ["P", "n", "C", heads * headDim],
  );
  return toRows([upper.prefixOut, upper.promptOut, completionOut], levels, indices.rowSlots);
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
  const scale = attentionScale(config);
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
