/**
 * The three ways in which queries meet keys. Rows are tokens without padding; attention happens in padded "slots", head by
 * head, and moving between the two is a pair of gathers of single heads, each the other's gradient.
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
  Reshape,
  ReshapeLike,
  ReshapeTo,
  Softmax,
  Split,
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
 * heads / kvHeads. Indices count single heads: that of row r is r · heads + head, or r · kvHeads + head among keys. Masks
 * hold 0 or a large negative number.
 */
export interface PackedIndices {
  /** `[1, kvHeads, G·F]` int32: row and head of each query slot of the prefix; likewise below. */
  prefixQueryRows: Value;
  /** `[1, kvHeads, F]` int32: of each slot of keys and values. */
  prefixKeyRows: Value;
  /** `[P, kvHeads, G·T]` */
  promptQueryRows: Value;
  /** `[P, kvHeads, T]` */
  promptKeyRows: Value;
  /** `[P, kvHeads, n, G·C]` */
  completionQueryRows: Value;
  /** `[P, kvHeads, n, C]` */
  completionKeyRows: Value;
  /** `[N, heads]` int32: query slot of each row's heads; slots of all levels are counted in this order. */
  rowQuerySlots: Value;
  /** `[N, kvHeads]` int32: the same of keys and values. */
  rowKeySlots: Value;
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
  | "completionQueryRows"
  | "completionKeyRows"
  | "promptKeyMask"
  | "completionMask"
  | "completionKeySizes"
  | "ownScoreSizes"
>;

/** What scores are multiplied by. */
function attentionScale({ headDim, traits }: ModelConfig): number {
  return traits?.attentionScale ?? 1 / Math.sqrt(headDim);
}

/** Rows to slots: `[N, features]` to `[.., headDim]` for each level's index input. */
function toSlots(rows: Value, levels: readonly Value[], rowSlots: Value, headDim: number): Value[] {
  return rows.graph.composite(
    "toSlots",
    [rows],
    () => gatherHeads(rows, levels, headDim),
    (operation, gradients) => {
      const slots = operation.outputs.map((output, i) => gradients[i] ?? Mul(output, output.graph.constant(0)));
      return [joinSlots(slots, rowSlots, rows.shape[1] as number, headDim)];
    },
  );
}

/** Slots to rows `[N, features]`, the inverse of {@link toSlots}. */
function toRows(
  slots: readonly Value[],
  levels: readonly Value[],
  rowSlots: Value,
  features: number,
  headDim: number,
): Value {
  const [first] = slots as [Value];
  return first.graph.composite(
    "toRows",
    slots,
    () => [joinSlots(slots, rowSlots, features, headDim)],
    (_operation, [dy]) => (dy ? gatherHeads(dy, levels, headDim) : []),
  )[0] as Value;
}

function gatherHeads(rows: Value, levels: readonly Value[], headDim: number): Value[] {
  const heads = Reshape(rows, [-1, headDim], ["rowHeads", headDim]);
  return levels.map((level) => Gather(heads, level));
}

function joinSlots(slots: readonly Value[], rowSlots: Value, features: number, headDim: number): Value {
  const flat = slots.map((level) => Reshape(level, [-1, headDim], ["slots", headDim]));
  const joined = Concat(flat as [Value, ...Value[]], 0, "allSlots");
  return Reshape(Gather(joined, rowSlots), [0, features], ["N", features]);
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
  const prefixSet = { keys: prefix.k, values: prefix.v, mask: indices.prefixKeyMask, size: "F" };
  const promptSet = { keys: prompt.k, values: prompt.v, mask: indices.promptMask, size: "T" };
  return {
    prefixOut: attendTo(prefix.q, [{ ...prefixSet, mask: indices.prefixMask }], undefined, config),
    promptOut: attendTo(prompt.q, [prefixSet, promptSet], indices.promptKeySizes, config),
  };
}

/** q, k and v in the slots of each level. */
function slotsOf({ q, k, v }: Projected, indices: PromptIndices & Partial<PackedIndices>, headDim: number): Slots[] {
  const { prefixQueryRows, promptQueryRows, completionQueryRows, rowQuerySlots, rowKeySlots } = indices;
  const { prefixKeyRows, promptKeyRows, completionKeyRows } = indices;
  const isThere = (level: Value | undefined): level is Value => level !== undefined;
  const queryLevels = [prefixQueryRows, promptQueryRows, completionQueryRows].filter(isThere);
  const keyLevels = [prefixKeyRows, promptKeyRows, completionKeyRows].filter(isThere);
  const queries = toSlots(q, queryLevels, rowQuerySlots, headDim);
  const keys = toSlots(k, keyLevels, rowKeySlots, headDim);
  const values = toSlots(v, keyLevels, rowKeySlots, headDim);
  return queries.map((query, i) => ({ q: query, k: keys[i] as Value, v: values[i] as Value }));
}

/**
 * Attention of prompts alone.
 * @returns the result in rows, and keys and values for the cache: `[1, kvHeads, F, D]` and `[P, kvHeads, T, D]`.
 */
export function promptAttention(projected: Projected, indices: PromptIndices, config: ModelConfig) {
  const { heads, headDim } = config;
  const [prefix, prompt] = slotsOf(projected, indices, headDim) as [Slots, Slots];
  const { prefixOut, promptOut } = attendPrompts(prefix, prompt, indices, config);
  const levels = [indices.prefixQueryRows, indices.promptQueryRows];
  return {
    rows: toRows([prefixOut, promptOut], levels, indices.rowQuerySlots, heads * headDim, headDim),
    prefixKeys: prefix.k,
    prefixValues: prefix.v,
    promptKeys: prompt.k,
    promptValues: prompt.v,
  };
}

/**
 * Attention of packed groups: prompts attend to what they all begin with, computed once for the batch, and to
 * themselves; completions attend to both, computed once for the group, and to themselves.
 */
export function packedAttention(projected: Projected, indices: PackedIndices, config: ModelConfig): Value {
  const { kvHeads, heads, headDim } = config;
  const alpha = attentionScale(config);
  const [prefix, prompt, completion] = slotsOf(projected, indices, headDim) as [Slots, Slots, Slots];
  const { prefixOut, promptOut } = attendPrompts(prefix, prompt, indices, config);

  // What a group's completions share is multiplied once for all of them: one large product instead of n small ones.
  const merged = Reshape(completion.q, [0, 0, -1, headDim], ["P", kvHeads, "nGC", headDim]);
  const scoresOn = (keys: Value, mask: Value): Value => Add(FusedMatMul(merged, keys, { transB: true, alpha }), mask);
  const ownScores = Add(FusedMatMul(completion.q, completion.k, { transB: true, alpha }), indices.completionMask);
  const probabilities = Softmax(
    Concat(
      [
        scoresOn(prefix.k, indices.prefixKeyMask),
        scoresOn(prompt.k, indices.promptKeyMask),
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
  const shared = Add(MatMul(onPrefix, prefix.v), MatMul(onPrompt, prompt.v));
  const own = MatMul(onOwn, completion.v);
  const completionOut = Add(ReshapeLike(shared, own), own);
  const levels = [indices.prefixQueryRows, indices.promptQueryRows, indices.completionQueryRows];
  return toRows([prefixOut, promptOut, completionOut], levels, indices.rowQuerySlots, heads * headDim, headDim);
}

/** What a decoding step reads: one new token for each of N running completions of P prompts, m at most for each. */
export interface DecodeInputs {
  /** `[P, kvHeads, m·G]` int32: query (row · heads + head) in each place of its prompt. */
  promptPlaces: Value;
  /** `[N, kvHeads, G]` int32: place of each query, counted through all of {@link promptPlaces}. */
  queryPlaces: Value;
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
  /** `[2]` int64: −1 and T. */
  promptScoreSizes: Value;
}

/**
 * Attention of one new token for each running completion. Queries of a prompt's completions are put side by side for what
 * they have in common, the prompt's keys and values, and apart again for their own.
 * @returns the result in rows `[N, heads·D]`, and the new keys and values `[N, kvHeads, 1, D]`.
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
  const flat = (x: Value, size: number): Value => Reshape(x, [-1, size], ["queries", size]);
  const flatScores = (x: Value): Value => ReshapeTo(x, inputs.promptScoreSizes, ["queries", "T"]);

  const placed = Gather(flat(q, headDim), inputs.promptPlaces);
  const shared = Add(FusedMatMul(placed, inputs.promptKeys, { transB: true, alpha: scale }), inputs.promptKeyMask);
  const promptScores = Gather(flatScores(shared), inputs.queryPlaces);
  const ownScores = Add(FusedMatMul(queries, inputs.ownKeys, { transB: true, alpha: scale }), inputs.ownMask);
  const selfScores = FusedMatMul(queries, newK, { transB: true, alpha: scale });
  const probabilities = Softmax(Concat([promptScores, ownScores, selfScores], -1, "T+L+1"));
  const [onPrompt, onOwn, onSelf] = Split(probabilities, -1, inputs.keySizes, ["T", "L", 1]) as [Value, Value, Value];

  const placedMix = MatMul(Gather(flatScores(onPrompt), inputs.promptPlaces), inputs.promptValues);
  const promptMix = Gather(flat(placedMix, headDim), inputs.queryPlaces);
  const mixed = Add(Add(promptMix, MatMul(onOwn, inputs.ownValues)), Mul(onSelf, newV));
  return { rows: Reshape(mixed, [0, -1], ["N", heads * headDim]), newK, newV };
}
