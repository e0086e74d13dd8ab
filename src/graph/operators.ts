/**
 * Operators by their ONNX names, each with the shape of its result. Those of the `com.microsoft` domain are
 * onnxruntime's own. Gradients are in gradients.ts.
 */
import { EngineError } from "../core/errors.ts";
import {
  type Attribute,
  type Dimension,
  type ElementType,
  microsoftDomain,
  type OutputSpec,
  type Value,
} from "./graph.ts";
import { onnxElementTypes } from "./onnx-proto.ts";

function single(
  opType: string,
  inputs: readonly [Value, ...(Value | undefined)[]],
  attributes: Record<string, Attribute>,
  output: OutputSpec,
  domain = "",
): Value {
  return inputs[0].graph.node(opType, inputs, attributes, [output], domain)[0] as Value;
}

/** Shape of a broadcast result, by ONNX's (NumPy's) rules. */
export function broadcastShapes(a: readonly Dimension[], b: readonly Dimension[]): Dimension[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const sizeA = a[axis - (rank - a.length)] ?? 1;
    const sizeB = b[axis - (rank - b.length)] ?? 1;
    if (sizeA === sizeB || sizeB === 1) return sizeA;
    if (sizeA === 1) return sizeB;
    throw new EngineError("GRAPH_SHAPE", `Shapes [${a.join()}] and [${b.join()}] can't be broadcast together.`);
  });
}

function elementwise(opType: string, a: Value, b: Value): Value {
  return single(opType, [a, b], {}, { type: a.type, shape: broadcastShapes(a.shape, b.shape) });
}

function unary(opType: string, x: Value): Value {
  return single(opType, [x], {}, { type: x.type, shape: x.shape });
}

export const Add = (a: Value, b: Value): Value => elementwise("Add", a, b);
export const Sub = (a: Value, b: Value): Value => elementwise("Sub", a, b);
export const Mul = (a: Value, b: Value): Value => elementwise("Mul", a, b);
export const Div = (a: Value, b: Value): Value => elementwise("Div", a, b);
/** Elementwise minimum; the gradient goes to the smaller, to `a` on ties. */
export const Min = (a: Value, b: Value): Value => elementwise("Min", a, b);
/** Elementwise maximum; the gradient goes to the larger, to `a` on ties. */
export const Max = (a: Value, b: Value): Value => elementwise("Max", a, b);
export const Neg = (x: Value): Value => unary("Neg", x);
export const Exp = (x: Value): Value => unary("Exp", x);
export const Log = (x: Value): Value => unary("Log", x);
export const Sigmoid = (x: Value): Value => unary("Sigmoid", x);

/** 1 where a ≤ b, else 0, float32; carries no gradient. */
export function LessOrEqual(a: Value, b: Value): Value {
  const shape = broadcastShapes(a.shape, b.shape);
  return Cast(single("LessOrEqual", [a, b], {}, { type: "bool", shape }), "float32");
}

/** The same numbers as another type; carries no gradient. */
export function Cast(x: Value, type: ElementType): Value {
  return single("Cast", [x], { to: onnxElementTypes[type] }, { type, shape: x.shape });
}

/** x · sigmoid(x), also named swish (onnxruntime's QuickGelu with alpha 1). */
export function Silu(x: Value): Value {
  return single("QuickGelu", [x], { alpha: { float: 1 } }, { type: x.type, shape: x.shape }, microsoftDomain);
}

/** x · Φ(x), with Φ the normal distribution's, exact and not by tanh (Hendrycks and Gimpel 2016). */
export const Gelu = (x: Value): Value => single("Gelu", [x], {}, { type: x.type, shape: x.shape });
/** x · Φ(x) by tanh, which is x · σ(2u) with u = √(2/π)·(x + 0.044715·x³) (Hendrycks and Gimpel 2016). */
export function GeluTanh(x: Value): Value {
  const factor = 2 * Math.sqrt(2 / Math.PI);
  const { graph } = x;
  return Mul(x, Sigmoid(Mul(x, Add(Mul(Mul(x, x), graph.constant(0.044715 * factor)), graph.constant(factor)))));
}
/** Gauss's error function, elementwise. */
export const Erf = (x: Value): Value => unary("Erf", x);

/** a·b over the last two axes, the others broadcast. `[.., M, K] × [.., K, N] → [.., M, N]` */
export function MatMul(a: Value, b: Value): Value {
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const shape = [...batch, a.shape.at(-2) as Dimension, b.shape.at(-1) as Dimension];
  return single("MatMul", [a, b], {}, { type: a.type, shape });
}

export interface FusedMatMulOptions {
  transA?: boolean;
  transB?: boolean;
  alpha?: number;
}

/** alpha · a'·b' over the last two axes, each transposed first if asked. */
export function FusedMatMul(a: Value, b: Value, options: FusedMatMulOptions = {}): Value {
  const { transA = false, transB = false, alpha = 1 } = options;
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const rows = a.shape.at(transA ? -1 : -2) as Dimension;
  const columns = b.shape.at(transB ? -2 : -1) as Dimension;
  const attributes = { transA: Number(transA), transB: Number(transB), alpha: { float: alpha } };
  return single("FusedMatMul", [a, b], attributes, { type: a.type, shape: [...batch, rows, columns] }, microsoftDomain);
}

export interface GemmOptions {
  transA?: boolean;
  transB?: boolean;
  alpha?: number;
  beta?: number;
}

/** alpha · a'·b' + beta · c for matrices; c is broadcast or left out. */
export function Gemm(a: Value, b: Value, c?: Value, options: GemmOptions = {}): Value {
  const { transA = false, transB = false, alpha = 1, beta = 1 } = options;
  const shape = [a.shape[transA ? 1 : 0] as Dimension, b.shape[transB ? 0 : 1] as Dimension];
  const attributes = {
    transA: Number(transA),
    transB: Number(transB),
    alpha: { float: alpha },
    beta: { float: beta },
  };
  return single("Gemm", c ? [a, b, c] : [a, b], attributes, { type: a.type, shape });
}

/** Softmax over the last axis. */
export const Softmax = (x: Value): Value => single("Softmax", [x], { axis: -1 }, { type: x.type, shape: x.shape });

/** Logarithm of the softmax over the last axis. */
export const LogSoftmax = (x: Value): Value =>
  single("LogSoftmax", [x], { axis: -1 }, { type: x.type, shape: x.shape });

/** Sum over `axes`, kept as size 1. */
export function ReduceSum(x: Value, axes: readonly number[]): Value {
  return single("ReduceSum", [x, x.graph.constantInt64(axes)], { keepdims: 1 }, reducedSpec(x, x.type, axes));
}

/** Maximum over `axes`, kept as size 1; carries no gradient. */
export function ReduceMax(x: Value, axes: readonly number[]): Value {
  return single("ReduceMax", [x, x.graph.constantInt64(axes)], { keepdims: 1 }, reducedSpec(x, x.type, axes));
}

/** Where the maximum over the last axis is, `[.., 1]` int64, the first place on ties; carries no gradient. */
export function ArgMax(x: Value): Value {
  return single("ArgMax", [x], { axis: -1, keepdims: 1, select_last_index: 0 }, reducedSpec(x, "int64", [-1]));
}

/** Sums up to each place of the last axis, that place included unless `exclusive`; carries no gradient. */
export function CumSum(x: Value, { exclusive = false }: { exclusive?: boolean } = {}): Value {
  const attributes = { exclusive: Number(exclusive), reverse: 0 };
  return single("CumSum", [x, x.graph.constantInt64(-1)], attributes, { type: x.type, shape: x.shape });
}

/** Mean over `axes`, kept as size 1. */
export function ReduceMean(x: Value, axes: readonly number[]): Value {
  return single("ReduceMean", [x, x.graph.constantInt64(axes)], { keepdims: 1 }, reducedSpec(x, x.type, axes));
}

/** Shape of `x` with size 1 along `axes`. */
function reducedSpec(x: Value, type: ElementType, axes: readonly number[]): OutputSpec {
  const isReduced = (axis: number): boolean => axes.some((a) => a === axis || a + x.shape.length === axis);
  return { type, shape: x.shape.map((size, axis) => (isReduced(axis) ? 1 : size)) };
}

/**
 * The same numbers in another shape. In `sizes`, 0 keeps the size at that place and one −1 takes what is left;
 * `shape` names the result's dimensions.
 */
export function Reshape(x: Value, sizes: readonly number[], shape: readonly Dimension[]): Value {
  return single("Reshape", [x, x.graph.constantInt64(sizes)], {}, { type: x.type, shape });
}

/** The same numbers in the shape given by `sizes` `[rank]` int64 when the graph runs; carries a gradient like Reshape. */
export function ReshapeTo(x: Value, sizes: Value, shape: readonly Dimension[]): Value {
  return single("Reshape", [x, sizes], {}, { type: x.type, shape });
}

/** `x` in the shape that `like` has when the graph runs. */
export function ReshapeLike(x: Value, like: Value): Value {
  const sizes = single("Shape", [like], {}, { type: "int64", shape: [like.shape.length] });
  return single("Reshape", [x, sizes], {}, { type: x.type, shape: like.shape });
}

export function Transpose(x: Value, perm: readonly number[]): Value {
  return single("Transpose", [x], { perm }, { type: x.type, shape: perm.map((axis) => x.shape[axis] as Dimension) });
}

/** Concatenation along `axis`; `size` names the result's size there. */
export function Concat(xs: readonly [Value, ...Value[]], axis: number, size: Dimension): Value {
  const shape = xs[0].shape.slice();
  shape[axis < 0 ? axis + shape.length : axis] = size;
  return single("Concat", xs, { axis }, { type: xs[0].type, shape });
}

/** Cuts `x` along `axis`; `sizes` is a constant list or a graph input `[parts]` int64 with `dimensions` as names. */
export function Split(x: Value, axis: number, sizes: readonly number[] | Value, dimensions?: readonly Dimension[]) {
  const list = Array.isArray(sizes) ? (sizes as readonly number[]) : undefined;
  const lengths = list ? x.graph.constantInt64(list) : (sizes as Value);
  const names = dimensions ?? list ?? [];
  const at = axis < 0 ? axis + x.shape.length : axis;
  const outputs = names.map((size) => ({ type: x.type, shape: x.shape.map((d, i) => (i === at ? size : d)) }));
  return x.graph.node("Split", [x, lengths], { axis }, outputs);
}

/** Rows of `x` along axis 0 by `indices` of any shape, which may repeat. */
export function Gather(x: Value, indices: Value): Value {
  return single("Gather", [x, indices], { axis: 0 }, { type: x.type, shape: [...indices.shape, ...x.shape.slice(1)] });
}

/** For each row of `x` `[N, V]` the element at its index, `indices` `[N, 1]` int64 → `[N, 1]`. */
export function GatherElements(x: Value, indices: Value): Value {
  return single("GatherElements", [x, indices], { axis: 1 }, { type: x.type, shape: indices.shape });
}

/** For each row of `x` `[N, K, ..]` what is at its index along axis 1, `indices` `[N, 1]` int64 → `[N, ..]`. */
export function GatherND(x: Value, indices: Value): Value {
  const shape = [x.shape[0] as Dimension, ...x.shape.slice(2)];
  return single("GatherND", [x, indices], { batch_dims: 1 }, { type: x.type, shape });
}

/** Zeros in the shape that `like` has when the graph runs. */
export function ZerosLike(like: Value): Value {
  const sizes = single("Shape", [like], {}, { type: "int64", shape: [like.shape.length] });
  return single("ConstantOfShape", [sizes], {}, { type: "float32", shape: like.shape });
}

/**
 * `x` with rows `updates` `[M, ..]` added at `indices` `[M, 1]` int64 along axis 0; indices may repeat. By
 * ScatterElements, which adds one after the other: onnxruntime's ScatterND adds on all threads at once, and where indices
 * repeat some of it is lost.
 */
export function ScatterAdd(x: Value, indices: Value, updates: Value): Value {
  const rank = updates.shape.length;
  const sizes = single("Shape", [updates], {}, { type: "int64", shape: [rank] });
  const ones = Array<number>(rank - 1).fill(1);
  const column = rank === 2 ? indices : Reshape(indices, [-1, ...ones], [updates.shape[0] as Dimension, ...ones]);
  const places = single("Expand", [column, sizes], {}, { type: "int64", shape: updates.shape });
  return single(
    "ScatterElements",
    [x, places, updates],
    { axis: 0, reduction: "add" },
    { type: x.type, shape: x.shape },
  );
}

/**
 * Root-mean-square norm over the last axis times `weight` (Zhang and Sennrich 2019).
 * @returns the result and 1 / rms, `[.., 1]`.
 */
export function SimplifiedLayerNormalization(x: Value, weight: Value, epsilon: number): [Value, Value] {
  const inverse = { type: x.type, shape: [...x.shape.slice(0, -1), 1] };
  return x.graph.node(
    "SimplifiedLayerNormalization",
    [x, weight],
    { axis: -1, epsilon: { float: epsilon }, stash_type: 1 },
    [{ type: x.type, shape: x.shape }, inverse],
  ) as [Value, Value];
}

/**
 * Norm over the last axis to mean 0 and variance 1, times `weight` plus `bias` (Ba, Kiros and Hinton 2016).
 * @returns the result, and mean and 1 / deviation, `[.., 1]` each.
 */
export function LayerNormalization(x: Value, weight: Value, bias: Value, epsilon: number): [Value, Value, Value] {
  const statistic = { type: x.type, shape: [...x.shape.slice(0, -1), 1] };
  return x.graph.node("LayerNormalization", [x, weight, bias], { axis: -1, epsilon: { float: epsilon } }, [
    { type: x.type, shape: x.shape },
    statistic,
    statistic,
  ]) as [Value, Value, Value];
}

/**
 * Rotary position embedding (Su et al. 2021), halves rotated as in Llama.
 * `x [B, N, heads × headDim]`, `positions [B, N]` int64, `cos` and `sin` `[T, headDim / 2]` with T at least N.
 */
export function RotaryEmbedding(x: Value, positions: Value, cos: Value, sin: Value, heads: number): Value {
  return single(
    "RotaryEmbedding",
    [x, positions, cos, sin],
    { interleaved: 0, num_heads: heads },
    { type: x.type, shape: x.shape },
    microsoftDomain,
  );
}
