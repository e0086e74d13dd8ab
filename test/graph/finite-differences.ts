/**
 * Compares the gradients that a graph computes with central finite differences of the forward graph run by onnxruntime.
 *
 * Step and tolerance: with h = 1e-2 a central difference is off by h²/6·f‴, about 2e-5 for well-scaled functions, and
 * float32 results add some 6e-8·|y|/h = 6e-6 an output. 1e-3, absolute below 1 and relative above, leaves room for
 * sums of a few dozen outputs, while a wrong rule is off by the size of the gradient itself.
 */
import { nextGaussian, randomStream } from "../../src/core/random.ts";
import { addGradients } from "../../src/graph/gradients.ts";
import { type Dimension, Graph, type Value } from "../../src/graph/graph.ts";
import { Add, Mul, ReduceSum, Reshape } from "../../src/graph/operators.ts";
import { type AnyTensor, Session, type TensorData } from "../../src/graph/session.ts";

const step = 1e-2;
export const tolerance = 1e-3;

/** A float input whose gradient is checked. */
export interface Differentiable {
  shape: readonly number[];
  /** The shape as the graph declares it; default the sizes themselves. */
  dimensions?: readonly Dimension[];
  /** Row-major; default standard normal numbers. */
  data?: readonly number[];
}

export interface GradientCase {
  inputs: Record<string, Differentiable>;
  /** Inputs without gradient: indices, masks, sizes. */
  fixed?: Record<string, { tensor: AnyTensor; dimensions?: readonly Dimension[] }>;
  /** Which of `inputs` to differentiate by. Default all. */
  by?: readonly string[];
  build: (values: Record<string, Value>) => Value | Value[];
}

export interface GradientComparison {
  /** Kinds of the operations on the forward graph's tape. */
  kinds: string[];
  /** For each input the gradient by the rules and by finite differences. */
  gradients: Record<string, { found: Float32Array; expected: Float64Array }>;
  /** Largest |found − expected| / max(1, |expected|). */
  error: number;
}

/** Normal numbers that depend on `seed` alone. */
export function gaussians(count: number, seed: string, deviation = 1): number[] {
  const random = randomStream(1, seed);
  return Array.from({ length: count }, () => deviation * nextGaussian(random));
}

/** Numbers of either sign, at least 0.5 from 0: for divisors, logarithms and weights that must not vanish. */
export const awayFromZero = (count: number, seed: string): number[] =>
  gaussians(count, seed).map((x) => Math.sign(x) * (0.5 + Math.abs(x)));

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

function typeOf({ data }: AnyTensor): "float32" | "int64" | "int32" {
  if (data instanceof Float32Array) return "float32";
  return data instanceof Int32Array ? "int32" : "int64";
}

function declare({ inputs, fixed = {}, build }: GradientCase): {
  graph: Graph;
  values: Record<string, Value>;
  outputs: Value[];
} {
  const graph = new Graph();
  const values: Record<string, Value> = {};
  for (const [name, { shape, dimensions = shape }] of Object.entries(inputs)) {
    values[name] = graph.input(name, "float32", dimensions);
  }
  for (const [name, { tensor, dimensions = tensor.shape }] of Object.entries(fixed)) {
    values[name] = graph.input(name, typeOf(tensor), dimensions);
  }
  const built = build(values);
  return { graph, values, outputs: Array.isArray(built) ? built : [built] };
}

/** Σ outputs · cotangents, `[1]`. */
function weightedSum(outputs: readonly Value[], cotangents: readonly Value[]): Value {
  return outputs
    .map((output, i) => {
      const flat = Reshape(Mul(output, cotangents[i] as Value), [-1], [`elements${i}`]);
      return ReduceSum(flat, [0]);
    })
    .reduce((a, b) => Add(a, b));
}

/** Runs the case; the loss is the sum of all outputs' elements, each weighted at random. */
export async function compareGradients(given: GradientCase): Promise<GradientComparison> {
  const names = given.by ?? Object.keys(given.inputs);
  const feeds: Record<string, AnyTensor> = {};
  for (const [name, { shape, data = gaussians(sizeOf(shape), name) }] of Object.entries(given.inputs)) {
    feeds[name] = { shape, data: Float32Array.from(data) };
  }
  for (const [name, { tensor }] of Object.entries(given.fixed ?? {})) feeds[name] = tensor;

  const forward = declare(given);
  const kinds = forward.graph.tape.map(({ kind }) => kind);
  const outputNames = forward.outputs.map((output, i) => {
    forward.graph.output(`y${i}`, output);
    return `y${i}`;
  });
  const session = await Session.create("forward", forward.graph, { threads: 1 });
  const first = await session.run(feeds, {}, outputNames);
  const weights = outputNames.map((name) => {
    const { shape } = first[name] as TensorData;
    return { shape, data: Float32Array.from(awayFromZero(sizeOf(shape), name)) };
  });
  const evaluate = async (): Promise<number> => {
    const results = await session.run(feeds, {}, outputNames);
    return outputNames.reduce((total, name, i) => {
      const { data } = results[name] as TensorData;
      return (weights[i] as TensorData).data.reduce((sum, w, j) => sum + w * (data[j] as number), total);
    }, 0);
  };

  const found = await runGradients(given, names, feeds, weights);
  const comparison: GradientComparison = { kinds, gradients: {}, error: 0 };
  for (const name of names) {
    const { data, shape } = feeds[name] as TensorData;
    const gradient = found[name] as TensorData;
    if (gradient.shape.join() !== shape.join()) {
      throw new Error(`The gradient of ${name} has shape [${gradient.shape.join()}], not [${shape.join()}].`);
    }
    const expected = new Float64Array(data.length);
    for (let i = 0; i < data.length; i++) {
      const original = data[i] as number;
      const at = async (x: number): Promise<{ x: number; loss: number }> => {
        data[i] = x;
        return { x: data[i] as number, loss: await evaluate() };
      };
      const high = await at(original + step);
      const low = await at(original - step);
      data[i] = original;
      const slope = (high.loss - low.loss) / (high.x - low.x);
      expected[i] = slope;
      const error = Math.abs((gradient.data[i] as number) - slope) / Math.max(1, Math.abs(slope));
      if (!(error <= comparison.error)) comparison.error = error;
    }
    comparison.gradients[name] = { found: gradient.data, expected };
  }
  await session.close();
  return comparison;
}

async function runGradients(
  given: GradientCase,
  names: readonly string[],
  feeds: Readonly<Record<string, AnyTensor>>,
  weights: readonly TensorData[],
): Promise<Record<string, TensorData>> {
  const { graph, values, outputs } = declare(given);
  const cotangents = outputs.map((output, i) => graph.input(`cotangent${i}`, "float32", output.shape));
  const gradients = addGradients(
    weightedSum(outputs, cotangents),
    names.map((name) => values[name] as Value),
  );
  // Two inputs may have one and the same gradient, and a value can be only one output.
  const copy = (value: Value): Value => Add(value, graph.constant(0));
  names.forEach((name, i) => graph.output(`gradient.${name}`, copy(gradients[i] as Value)));
  const session = await Session.create("gradients", graph, { threads: 1 });
  const all = { ...feeds, ...Object.fromEntries(weights.map((tensor, i) => [`cotangent${i}`, tensor] as const)) };
  const results = await session.run(
    all,
    {},
    names.map((name) => `gradient.${name}`),
  );
  await session.close();
  return Object.fromEntries(names.map((name) => [name, results[`gradient.${name}`] as TensorData]));
}
