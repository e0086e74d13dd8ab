/**
 * Reverse-mode differentiation: one table of rules, one walk over the tape. Rules add nodes to the same graph.
 */
import { EngineError } from "../core/errors.ts";
import type { Dimension, GradientRule, Operation, Value } from "./graph.ts";
import {
  Add,
  Concat,
  Div,
  Erf,
  FusedMatMul,
  type FusedMatMulOptions,
  Gemm,
  LessOrEqual,
  Mul,
  Neg,
  ReduceMean,
  ReduceSum,
  Reshape,
  ReshapeLike,
  ReshapeTo,
  RotaryEmbedding,
  ScatterAdd,
  Sigmoid,
  Sub,
  Transpose,
  Exp,
  ZerosLike,
} from "./operators.ts";

/** Sums `gradient` over the axes along which an input of `shape` was broadcast. */
function reduceTo(gradient: Value, like: Value): Value {
  const extra = gradient.shape.length - like.shape.length;
  const axes: number[] = [];
  gradient.shape.forEach((size, axis) => {
    if (axis < extra || (like.shape[axis - extra] === 1 && size !== 1)) axes.push(axis);
  });
  if (axes.length === 0) return gradient;
  const reduced = ReduceSum(gradient, axes);
  return extra > 0 ? reshapeAs(reduced, like) : reduced;
}

function isTrue(operation: Operation, attribute: string): boolean {
  return operation.attributes[attribute] === 1;
}

/** A float attribute, 1 where it is left out (as of alpha and beta). */
function factorOf(operation: Operation, attribute: string): number {
  const factor = operation.attributes[attribute];
  return typeof factor === "object" && "float" in factor ? factor.float : 1;
}

/** Gradients of alpha·a'·b' for the four combinations of transposes, by `multiply`. */
function matMulGradients(
  operation: Operation,
  dy: Value,
  needed: readonly boolean[],
  multiply: (a: Value, b: Value, options: FusedMatMulOptions) => Value,
): (Value | undefined)[] {
  const [a, b] = operation.inputs as [Value, Value];
  const transA = isTrue(operation, "transA");
  const transB = isTrue(operation, "transB");
  const alpha = factorOf(operation, "alpha");
  const da = (): Value =>
    transA ? multiply(b, dy, { transA: transB, transB: true, alpha }) : multiply(dy, b, { transB: !transB, alpha });
  const db = (): Value =>
    transB ? multiply(dy, a, { transA: true, transB: transA, alpha }) : multiply(a, dy, { transA: !transA, alpha });
  return [needed[0] ? reduceTo(da(), a) : undefined, needed[1] ? reduceTo(db(), b) : undefined];
}

/** Rule for an elementwise operator of two inputs, given the gradient of each before broadcasting is undone. */
function binaryRule(partials: (a: Value, b: Value, dy: Value, y: Value) => [() => Value, () => Value]): GradientRule {
  return (operation, [dy], needed) => {
    if (!dy) return [];
    const [a, b] = operation.inputs as [Value, Value];
    const [da, db] = partials(a, b, dy, operation.outputs[0] as Value);
    return [needed[0] ? reduceTo(da(), a) : undefined, needed[1] ? reduceTo(db(), b) : undefined];
  };
}

function unaryRule(partial: (x: Value, dy: Value, y: Value) => Value): GradientRule {
  return (operation, [dy]) => [dy && partial(operation.inputs[0] as Value, dy, operation.outputs[0] as Value)];
}

/** One rule for each differentiable operator of operators.ts. */
export const gradientRules: Readonly<Record<string, GradientRule>> = {
  Add: binaryRule((_a, _b, dy) => [() => dy, () => dy]),
  Sub: binaryRule((_a, _b, dy) => [() => dy, () => Neg(dy)]),
  Mul: binaryRule((a, b, dy) => [() => Mul(dy, b), () => Mul(dy, a)]),
  Div: binaryRule((_a, b, dy, y) => [() => Div(dy, b), () => Neg(Div(Mul(dy, y), b))]),
  Min: binaryRule((a, b, dy) => [() => Mul(dy, LessOrEqual(a, b)), () => Sub(dy, Mul(dy, LessOrEqual(a, b)))]),
  Max: binaryRule((a, b, dy) => [() => Mul(dy, LessOrEqual(b, a)), () => Sub(dy, Mul(dy, LessOrEqual(b, a)))]),
  Neg: unaryRule((_x, dy) => Neg(dy)),
  Exp: unaryRule((_x, dy, y) => Mul(dy, y)),
  Log: unaryRule((x, dy) => Div(dy, x)),
  Sigmoid: unaryRule((_x, dy, y) => Mul(dy, Sub(y, Mul(y, y)))),
  // d(x·σ(x)) = σ + y·(1 − σ), with y = x·σ(x)
  QuickGelu: unaryRule((x, dy, y) => {
    const sigmoid = Sigmoid(delay(x, dy));
    return Mul(dy, Add(sigmoid, Sub(y, Mul(y, sigmoid))));
  }),
  // d(x·Φ(x)) = Φ(x) + x·φ(x)
  Gelu: unaryRule((forward, dy) => {
    const { graph } = forward;
    const x = delay(forward, dy);
    const distribution = Mul(Add(Erf(Mul(x, graph.constant(Math.SQRT1_2))), graph.constant(1)), graph.constant(0.5));
    const density = Mul(Exp(Mul(Mul(x, x), graph.constant(-0.5))), graph.constant(1 / Math.sqrt(2 * Math.PI)));
    return Mul(dy, Add(distribution, Mul(x, density)));
  }),
  // d erf(x) = 2/√π · exp(−x²)
  Erf: unaryRule((x, dy) => Mul(dy, Mul(Exp(Neg(Mul(x, x))), x.graph.constant(2 / Math.sqrt(Math.PI))))),
  MatMul: (operation, [dy], needed) => (dy ? matMulGradients(operation, dy, needed, FusedMatMul) : []),
  FusedMatMul: (operation, [dy], needed) => (dy ? matMulGradients(operation, dy, needed, FusedMatMul) : []),
  Gemm: (operation, [dy], needed) => {
    if (!dy) return [];
    const [da, db] = matMulGradients(operation, dy, needed, (a, b, options) => Gemm(a, b, undefined, options));
    const bias = operation.inputs[2];
    if (!needed[2] || !bias) return [da, db];
    const beta = factorOf(operation, "beta");
    return [da, db, reduceTo(beta === 1 ? dy : Mul(dy, dy.graph.constant(beta)), bias)];
  },
  Softmax: unaryRule((_x, dy, y) => Mul(y, Sub(dy, ReduceSum(Mul(dy, y), [-1])))),
  LogSoftmax: unaryRule((_x, dy, y) => Sub(dy, Mul(Exp(y), ReduceSum(dy, [-1])))),
  ReduceSum: (operation, [dy]) => {
    const x = operation.inputs[0] as Value;
    return [dy && Add(Mul(x, x.graph.constant(0)), dy)];
  },
  ReduceMean: (operation, [dy]) => {
    const x = operation.inputs[0] as Value;
    const y = operation.outputs[0] as Value;
    if (!dy) return [];
    const ones = Add(Mul(x, x.graph.constant(0)), x.graph.constant(1));
    const axes = x.shape.flatMap((_size, axis) => (y.shape[axis] === 1 ? [axis] : []));
    return [Mul(ones, Div(dy, ReduceSum(ones, axes)))];
  },
  // Rows may be taken more than once; their gradients add up.
  Gather: (operation, [dy]) => {
    const [x, indices] = operation.inputs as [Value, Value];
    if (!dy) return [];
    const rest = x.shape.slice(1);
    const flat = Reshape(indices, [-1, 1], ["M", 1]);
    const updates = ReshapeTo(dy, rowSizes(x), ["M", ...rest]);
    return [ScatterAdd(ZerosLike(x), flat, updates)];
  },
  Reshape: (operation, [dy]) => [dy && reshapeAs(dy, operation.inputs[0] as Value)],
  Transpose: (operation, [dy]) => {
    const perm = operation.attributes["perm"] as readonly number[];
    return [
      dy &&
        Transpose(
          dy,
          perm.map((_, axis) => perm.indexOf(axis)),
        ),
    ];
  },
  Concat: (operation, [dy]) => {
    if (!dy) return [];
    const axis = operation.attributes["axis"] as number;
    return splitLike(dy, operation.inputs, axis);
  },
  Split: (operation, gradients) => {
    const x = operation.inputs[0] as Value;
    const axis = operation.attributes["axis"] as number;
    const at = axis < 0 ? axis + x.shape.length : axis;
    const parts = operation.outputs.map((output, i) => gradients[i] ?? Mul(output, output.graph.constant(0)));
    return [Concat(parts as [Value, ...Value[]], axis, x.shape[at] as Dimension)];
  },
  // y = x·r·w with r = 1/rms(x): dx = r·(g − x·r²·mean(g·x)), g = dy·w; dw = Σ dy·x·r
  SimplifiedLayerNormalization: (operation, [dy], needed) => {
    if (!dy) return [];
    const [x, weight] = operation.inputs as [Value, Value];
    const inverse = operation.outputs[1] as Value;
    const g = Mul(dy, weight);
    const mean = ReduceMean(Mul(g, x), [-1]);
    const dx = (): Value => Mul(inverse, Sub(g, Mul(x, Mul(mean, Mul(inverse, inverse)))));
    return [needed[0] ? dx() : undefined, needed[1] ? reduceTo(Mul(dy, Mul(x, inverse)), weight) : undefined];
  },
  // y = n·w + b with n = (x − mean)·r: dx = r·(g − mean(g) − n·mean(g·n)), g = dy·w; dw = Σ dy·n; db = Σ dy
  LayerNormalization: (operation, [dy], needed) => {
    if (!dy) return [];
    const [x, weight, bias] = operation.inputs as [Value, Value, Value];
    const [, mean, inverse] = operation.outputs as [Value, Value, Value];
    const n = Mul(Sub(x, mean), inverse);
    const dx = (): Value => {
      const g = Mul(dy, weight);
      return Mul(inverse, Sub(Sub(g, ReduceMean(g, [-1])), Mul(n, ReduceMean(Mul(g, n), [-1]))));
    };
    return [
      needed[0] ? dx() : undefined,
      needed[1] ? reduceTo(Mul(dy, n), weight) : undefined,
      needed[2] ? reduceTo(dy, bias) : undefined,
    ];
  },
  // The rotation's transpose is the rotation by the opposite angle.
  RotaryEmbedding: (operation, [dy]) => {
    const [, positions, cos, sin] = operation.inputs as [Value, Value, Value, Value];
    return [dy && RotaryEmbedding(dy, positions, cos, Neg(sin), operation.attributes["num_heads"] as number)];
  },
};

/**
 * `x`, but not before `after` has been computed: onnxruntime runs a node as early as it can, and what the backward pass
 * makes of forward values alone would be made in the forward pass and kept. Costs nothing: a Reshape copies no numbers.
 */
function delay(x: Value, after: Value): Value {
  const { graph } = x;
  const shapeOf = (value: Value, size: number, attributes: Record<string, number> = {}): Value =>
    graph.node("Shape", [value], attributes, [{ type: "int64", shape: [size] }])[0] as Value;
  const zero = Mul(shapeOf(after, 1, { start: 0, end: 1 }), graph.constantInt64([0]));
  return ReshapeTo(x, Add(shapeOf(x, x.shape.length), zero), x.shape);
}

/**
 * Finds the values that stand in for recomputed ones in the backward pass, made where they are first asked for.
 */
class Recomputation {
  private readonly producers = new Map<string, Operation>();
  private readonly again = new Map<string, Value>();

  constructor(tape: readonly Operation[]) {
    for (const operation of tape) {
      if (operation.isRecomputed) for (const output of operation.outputs) this.producers.set(output.name, operation);
    }
  }

  /** `value` as the backward pass may read it, once `after` has been computed. */
  find(value: Value, after: Value): Value {
    const known = this.again.get(value.name);
    if (known) return known;
    const operation = this.producers.get(value.name);
    if (!operation) return value;
    const { kind, attributes, domain } = operation;
    const inputs = operation.inputs.map((input) => this.find(input, after));
    const isKept = operation.inputs.every((input, i) => input === inputs[i]);
    const [first, ...rest] = inputs as [Value, ...Value[]];
    const outputs = value.graph.node(
      kind,
      isKept ? [delay(first, after), ...rest] : inputs,
      attributes,
      operation.outputs.map(({ type, shape }) => ({ type, shape })),
      domain,
    );
    operation.outputs.forEach((output, i) => this.again.set(output.name, outputs[i] as Value));
    return this.again.get(value.name) as Value;
  }
}

/**
 * `x` in the shape of `like`. Sizes come from the graph's inputs where their names are known: asking `like` itself would keep
 * it until the backward pass.
 */
function reshapeAs(x: Value, like: Value): Value {
  const { graph, shape } = like;
  const named = shape.filter((size) => typeof size === "string");
  const inferred = named.length === 1 ? named[0] : named.find((name) => graph.dimension(name) === undefined);
  const parts = shape.map((size) => {
    if (typeof size === "number") return graph.constantInt64([size]);
    return size === inferred ? graph.constantInt64([-1]) : graph.dimension(size);
  });
  const isInferredOnce = shape.filter((size) => size === inferred).length <= 1;
  if (!isInferredOnce || parts.some((part) => part === undefined)) return ReshapeLike(x, like);
  if (named.length <= 1) {
    const sizes = shape.map((size) => (typeof size === "number" ? size : -1));
    return ReshapeTo(x, graph.constantInt64(sizes), shape);
  }
  const spec = { type: "int64", shape: [shape.length] } as const;
  return ReshapeTo(x, graph.node("Concat", parts as Value[], { axis: 0 }, [spec])[0] as Value, shape);
}

/** Sizes `[rank]` int64 of any number of rows like those of `x`: −1, then the sizes of its other axes. */
function rowSizes(x: Value): Value {
  const { graph } = x;
  const rank = x.shape.length;
  const spec = (size: number) => [{ type: "int64", shape: [size] }] as const;
  const rest = graph.node("Shape", [x], { start: 1 }, spec(rank - 1))[0] as Value;
  return graph.node("Concat", [graph.constantInt64([-1]), rest], { axis: 0 }, spec(rank))[0] as Value;
}

/** Cuts `x` along `axis` into the sizes that `parts` have there when the graph runs. */
function splitLike(x: Value, parts: readonly Value[], axis: number): Value[] {
  const at = axis < 0 ? axis + x.shape.length : axis;
  const graph = x.graph;
  const sizes = parts.map((part) => {
    const size = part.shape[at] as Dimension;
    if (typeof size === "number") return graph.constantInt64([size]);
    const known = graph.dimension(size);
    if (known) return known;
    const spec = { type: "int64", shape: [1] } as const;
    return graph.node("Shape", [part], { start: at, end: at + 1 }, [spec])[0] as Value;
  });
  const spec = { type: "int64", shape: [parts.length] } as const;
  const lengths = graph.node("Concat", sizes, { axis: 0 }, [spec])[0] as Value;
  const outputs = parts.map((part) => ({ type: x.type, shape: part.shape }));
  return graph.node("Split", [x, lengths], { axis }, outputs);
}

/**
 * Adds to `loss`'s graph the gradients of `loss` (one number, any rank) with respect to each of `wrt`.
 * @throws EngineError GRAPH_NO_GRADIENT where one of `wrt` doesn't reach the loss, or an operator on the way has no rule.
 */
export function addGradients(loss: Value, wrt: readonly Value[]): Value[] {
  const { graph } = loss;
  const needs = new Set(wrt.map((value) => value.name));
  const path: Operation[] = [];
  for (const operation of graph.tape) {
    if (!operation.inputs.some((input) => needs.has(input.name))) continue;
    path.push(operation);
    for (const output of operation.outputs) needs.add(output.name);
  }
  const gradients = new Map<string, Value[]>();
  gradients.set(loss.name, [Add(Mul(loss, graph.constant(0)), graph.constant(1))]);
  const sumOf = (value: Value): Value | undefined => {
    const parts = gradients.get(value.name);
    if (!parts || parts.length === 0) return undefined;
    const sum = parts.reduce((a, b) => Add(a, b));
    gradients.set(value.name, [sum]);
    return sum;
  };
  const recomputation = new Recomputation(graph.tape);
  for (const operation of path.reverse()) {
    const outputGradients = operation.outputs.map(sumOf);
    const after = outputGradients.find((gradient) => gradient !== undefined);
    if (!after) continue;
    const rule = operation.rule ?? gradientRules[operation.kind];
    if (!rule) throw new EngineError("GRAPH_NO_GRADIENT", `The operator ${operation.kind} has no gradient rule.`);
    const needed = operation.inputs.map((input) => needs.has(input.name));
    const kept: Operation = {
      ...operation,
      inputs: operation.inputs.map((input) => recomputation.find(input, after)),
      outputs: operation.outputs.map((output) => recomputation.find(output, after)),
    };
    rule(kept, outputGradients, needed).forEach((gradient, i) => {
      const input = operation.inputs[i];
      if (!gradient || !input || !needed[i]) return;
      gradients.set(input.name, [...(gradients.get(input.name) ?? []), gradient]);
    });
  }
  return wrt.map((value) => {
    const gradient = sumOf(value);
    if (!gradient) throw new EngineError("GRAPH_NO_GRADIENT", `The loss does not depend on ${value.name}.`);
    return gradient;
  });
}
