/**
 * Linear layers that share an input, as one operation whose gradient knows of LoRA. The weights come in already merged
 * with the adapter (W + s·B·A), so the forward pass costs no more than the base model; the gradients of A and B follow
 * from the low-rank product without ever forming the gradient of W (Hu et al. 2022).
 */
import type { GradientRule, Value } from "../../graph/graph.ts";
import { Add, Concat, FusedMatMul, Gemm, ReduceSum, Reshape, Split, Transpose } from "../../graph/operators.ts";

export interface LinearLayer {
  /** `[out, in]`, merged with the adapter. */
  weight: Value;
  /** `[out]` */
  bias?: Value;
  /** The adapter that is trained: a `[rank, in]`, b `[out, rank]`. */
  lora?: { a: Value; b: Value; rank: number; scale: number };
}

/** x·Wᵀ + bias for each layer: `x [N, in]` → `[N, out]` each. */
export function linear(x: Value, layers: readonly LinearLayer[]): Value[] {
  const inputs = layers.flatMap(({ weight, bias, lora }) => [
    weight,
    ...(bias ? [bias] : []),
    ...(lora ? [lora.a, lora.b] : []),
  ]);
  const forward = (): Value[] => layers.map(({ weight, bias }) => Gemm(x, weight, bias, { transB: true }));
  return x.graph.composite("linear", [x, ...inputs], forward, gradientOf(layers));
}

/** How a layer's products with weights are computed; each takes and gives rows unless it says otherwise. */
export interface Products {
  project(x: Value, layers: readonly LinearLayer[]): Value[];
  /** Gives what may be computed with element by element and then taken to {@link Products.leave}. */
  enter(x: Value, layers: readonly LinearLayer[]): Value[];
  leave(x: Value, layers: readonly LinearLayer[]): Value[];
}

/** Products with gradients. */
export const rowProducts: Products = { project: linear, enter: linear, leave: linear };

/**
 * Products without gradients: W·xᵀ. onnxruntime copies the right operand into another order at each product, and with few rows
 * that is the smaller one. Between `enter` and `leave` activations are columns `[features, N]`.
 */
export const columnProducts: Products = {
  project: (x, layers) => toColumns(x, layers, true).map(toRows),
  enter: (x, layers) => toColumns(x, layers, true),
  leave: (x, layers) => toColumns(x, layers, false).map(toRows),
};

/** W·x + bias for each layer, `[out, N]` each, of `x` `[N, in]` where `areRows`, else `[in, N]`. */
function toColumns(x: Value, layers: readonly LinearLayer[], areRows: boolean): Value[] {
  return layers.map(({ weight, bias }) => {
    // Not Gemm: onnxruntime puts a transpose that follows it into it by swapping its operands.
    const columns = FusedMatMul(weight, x, { transB: areRows });
    return bias ? Add(columns, Reshape(bias, [-1, 1], [...bias.shape, 1])) : columns;
  });
}

function toRows(columns: Value): Value {
  return Transpose(columns, [1, 0]);
}

function gradientOf(layers: readonly LinearLayer[]): GradientRule {
  return (operation, outputGradients, needed) => {
    const x = operation.inputs[0] as Value;
    const isNeeded = (value: Value): boolean => needed[operation.inputs.indexOf(value)] === true;
    const found = new Map<Value, Value>();
    const active = layers.flatMap((layer, i) => (outputGradients[i] ? [{ ...layer, dy: outputGradients[i] }] : []));
    for (const { weight, bias, dy } of active) {
      if (isNeeded(weight)) found.set(weight, Gemm(dy, x, undefined, { transA: true }));
      if (bias && isNeeded(bias)) found.set(bias, Reshape(ReduceSum(dy, [0]), [-1], bias.shape));
    }
    addLoraGradients(x, active, found, isNeeded);
    if (needed[0]) {
      const parts = active.map(({ dy, weight }) => ({ dy, weight }));
      const dx = parts.reduce<Value | undefined>((sum, { dy, weight }) => Gemm(dy, weight, sum), undefined);
      if (dx) found.set(x, dx);
    }
    return operation.inputs.map((input) => found.get(input));
  };
}

/** dA = s·(dy·B)ᵀ·x and dB = s·dyᵀ·(x·Aᵀ); the products with x are done once for all layers that share it. */
function addLoraGradients(
  x: Value,
  layers: readonly (LinearLayer & { dy: Value })[],
  found: Map<Value, Value>,
  isNeeded: (value: Value) => boolean,
): void {
  const adapted = layers.flatMap(({ lora, dy }) => (lora && isNeeded(lora.a) ? [{ ...lora, dy }] : []));
  const [first] = adapted;
  if (!first) return;
  const ranks = adapted.map(({ rank }) => rank);
  const total = ranks.reduce((a, b) => a + b, 0);
  const stack = (values: Value[], axis: number): Value =>
    values.length === 1 ? (values[0] as Value) : Concat(values as [Value, ...Value[]], axis, total);
  const cut = (value: Value, axis: number): Value[] => (ranks.length === 1 ? [value] : Split(value, axis, ranks));
  const xA = cut(
    Gemm(
      x,
      stack(
        adapted.map(({ a }) => a),
        0,
      ),
      undefined,
      { transB: true },
    ),
    1,
  ); // [N, rank] each
  const dyB = stack(
    adapted.map(({ dy, b, scale }) => Gemm(dy, b, undefined, { alpha: scale })),
    1,
  ); // [N, total]
  const dA = cut(Gemm(dyB, x, undefined, { transA: true }), 0);
  adapted.forEach(({ a, b, dy, scale }, i) => {
    found.set(a, dA[i] as Value);
    found.set(b, Gemm(dy, xA[i] as Value, undefined, { transA: true, alpha: scale }));
  });
}
