/** Cases for the gradient rules of single operators: each says which rule of the table it is for. */
import {
  Add,
  Concat,
  Div,
  Erf,
  Exp,
  FusedMatMul,
  Gather,
  Gelu,
  Gemm,
  LayerNormalization,
  Log,
  LogSoftmax,
  MatMul,
  Max,
  Min,
  Mul,
  Neg,
  ReduceMean,
  ReduceSum,
  Reshape,
  ReshapeLike,
  ReshapeTo,
  RotaryEmbedding,
  Sigmoid,
  Silu,
  SimplifiedLayerNormalization,
  Softmax,
  Split,
  Sub,
  Transpose,
} from "../../src/graph/operators.ts";
import type { Value } from "../../src/graph/graph.ts";
import { awayFromZero, gaussians, type Differentiable, type GradientCase } from "./finite-differences.ts";

export interface RuleCase extends GradientCase {
  /** Key in `gradientRules`. */
  rule: string;
  name: string;
}

const int64 = (...data: number[]) => ({ tensor: { shape: [data.length], data: BigInt64Array.from(data, BigInt) } });

type Shapes = readonly [string, Differentiable, Differentiable];

const pairs: readonly Shapes[] = [
  ["equal shapes", { shape: [2, 3] }, { shape: [2, 3] }],
  ["a row", { shape: [2, 3] }, { shape: [3] }],
  ["a column", { shape: [2, 3] }, { shape: [2, 1] }],
  ["a single number", { shape: [2, 3] }, { shape: [] }],
  ["a larger second input", { shape: [1, 3] }, { shape: [2, 2, 3] }],
  ["both broadcast", { shape: [2, 1, 3] }, { shape: [4, 1] }],
  [
    "sizes known only when it runs",
    { shape: [4, 3], dimensions: ["N", 3] },
    { shape: [2, 1, 3], dimensions: ["P", 1, 3] },
  ],
];

const count = ({ shape }: Differentiable): number => shape.reduce((a, b) => a * b, 1);

function binaryCases(
  rule: string,
  operator: (a: Value, b: Value) => Value,
  dataOf: (input: Differentiable, seed: string) => number[] = (input, seed) => gaussians(count(input), seed),
): RuleCase[] {
  return pairs.map(([name, a, b]) => ({
    rule,
    name: `${rule}, ${name}`,
    inputs: { a: { ...a, data: dataOf(a, `${rule} a`) }, b: { ...b, data: dataOf(b, `${rule} b`) } },
    build: (v) => operator(v.a!, v.b!),
  }));
}

/** Numbers 0.25 apart, those of `a` and `b` never within 0.1: no step of the finite differences crosses a tie. */
const apart = (input: Differentiable, seed: string): number[] =>
  gaussians(count(input), seed).map((x) => Math.round(x * 4) / 4 + (seed.endsWith("a") ? 0 : 0.125));

function unaryCase(rule: string, operator: (x: Value) => Value, data?: number[]): RuleCase {
  const inputs = { x: { shape: [3, 4], dimensions: ["N", 4], ...(data ? { data } : {}) } };
  return { rule, name: rule, inputs, build: (v) => operator(v.x!) };
}

const flags = [false, true];

const productCases: RuleCase[] = flags.flatMap((transA) =>
  flags.flatMap((transB): RuleCase[] => {
    const matrix = (transposed: boolean, rows: number, columns: number): number[] =>
      transposed ? [columns, rows] : [rows, columns];
    const which = `${transA ? "a'" : "a"}·${transB ? "b'" : "b"}`;
    const a = matrix(transA, 2, 3);
    const b = matrix(transB, 3, 4);
    const batched = (shape: number[]): Differentiable => ({ shape: [2, ...shape], dimensions: ["P", ...shape] });
    return [
      {
        rule: "FusedMatMul",
        name: `FusedMatMul, ${which}, alpha`,
        inputs: { a: batched(a), b: batched(b) },
        build: (v) => FusedMatMul(v.a!, v.b!, { transA, transB, alpha: 0.7 }),
      },
      {
        rule: "FusedMatMul",
        name: `FusedMatMul, ${which}, b broadcast over a batch axis of size 1`,
        inputs: { a: { shape: [2, 3, ...a] }, b: { shape: [2, 1, ...b] } },
        build: (v) => FusedMatMul(v.a!, v.b!, { transA, transB }),
      },
      {
        rule: "FusedMatMul",
        name: `FusedMatMul, ${which}, a without the batch axis`,
        inputs: { a: { shape: a }, b: batched(b) },
        build: (v) => FusedMatMul(v.a!, v.b!, { transA, transB }),
      },
      {
        rule: "Gemm",
        name: `Gemm, ${which}, alpha, no bias`,
        inputs: { a: { shape: a }, b: { shape: b } },
        build: (v) => Gemm(v.a!, v.b!, undefined, { transA, transB, alpha: -1.3 }),
      },
      ...(
        [
          ["a row", [4]],
          ["a matrix", [2, 4]],
          ["a column", [2, 1]],
          ["a single number", []],
        ] as const
      ).map(([bias, shape]): RuleCase => ({
        rule: "Gemm",
        name: `Gemm, ${which}, alpha, bias ${bias}, beta`,
        inputs: { a: { shape: a }, b: { shape: b }, bias: { shape } },
        build: (v) => Gemm(v.a!, v.b!, v.bias!, { transA, transB, alpha: 0.6, beta: 0.5 }),
      })),
    ];
  }),
);

const matMulCases: RuleCase[] = (
  [
    ["matrices", [2, 3], [3, 4]],
    ["a batch of both", [2, 2, 3], [2, 3, 4]],
    ["a batch by one matrix", [2, 2, 3], [3, 4]],
    ["one matrix by a batch", [2, 3], [2, 3, 4]],
    ["batch axes that broadcast", [2, 1, 2, 3], [3, 3, 2]],
  ] as const
).map(([name, a, b]) => ({
  rule: "MatMul",
  name: `MatMul, ${name}`,
  inputs: { a: { shape: a }, b: { shape: b } },
  build: (v) => MatMul(v.a!, v.b!),
}));

const reductionCases: RuleCase[] = (
  [
    ["ReduceSum", ReduceSum],
    ["ReduceMean", ReduceMean],
  ] as const
).flatMap(([rule, operator]) =>
  [[0], [1], [-1], [0, 2], [0, 1, 2]].map((axes): RuleCase => ({
    rule,
    name: `${rule}, axes ${axes.join()} of sizes known only when it runs`,
    inputs: { x: { shape: [2, 3, 4], dimensions: ["N", 3, "C"] } },
    build: (v) => operator(v.x!, axes),
  })),
);

const layoutCases: RuleCase[] = [
  {
    rule: "Reshape",
    name: "Reshape, a kept size and one that follows",
    inputs: { x: { shape: [2, 6], dimensions: ["N", 6] } },
    build: (v) => Reshape(v.x!, [0, -1, 2], ["N", 3, 2]),
  },
  {
    rule: "Reshape",
    name: "ReshapeTo, sizes given when it runs",
    inputs: { x: { shape: [4, 3], dimensions: ["N", 3] } },
    fixed: { sizes: int64(2, 6) },
    build: (v) => ReshapeTo(v.x!, v.sizes!, ["P", "Q"]),
  },
  {
    rule: "Reshape",
    name: "ReshapeLike",
    inputs: { x: { shape: [4, 3], dimensions: ["N", 3] } },
    fixed: { like: { tensor: { shape: [2, 3, 2], data: new Float32Array(12) }, dimensions: ["P", 3, 2] } },
    build: (v) => ReshapeLike(v.x!, v.like!),
  },
  {
    rule: "Transpose",
    name: "Transpose, a cycle of three axes (not its own inverse)",
    inputs: { x: { shape: [2, 3, 4], dimensions: ["N", 3, "C"] } },
    build: (v) => Transpose(v.x!, [1, 2, 0]),
  },
  {
    rule: "Concat",
    name: "Concat, first axis, one size known and one not",
    inputs: { a: { shape: [2, 3] }, b: { shape: [4, 3], dimensions: ["N", 3] } },
    build: (v) => Concat([v.a!, v.b!], 0, "2+N"),
  },
  {
    rule: "Concat",
    name: "Concat, last axis by −1, the same input twice",
    inputs: { a: { shape: [2, 3], dimensions: [2, "A"] }, b: { shape: [2, 2], dimensions: [2, "B"] } },
    build: (v) => Concat([v.a!, v.b!, v.a!], -1, "2A+B"),
  },
  {
    rule: "Split",
    name: "Split, sizes given when it runs",
    inputs: { x: { shape: [2, 5], dimensions: [2, "T+C"] } },
    fixed: { sizes: int64(2, 3) },
    build: (v) => Split(v.x!, -1, v.sizes!, ["T", "C"]),
  },
  {
    rule: "Split",
    name: "Split, constant sizes, one part unused",
    inputs: { x: { shape: [6, 2] } },
    build: (v) => {
      const [first, , last] = Split(v.x!, 0, [1, 3, 2]) as [Value, Value, Value];
      return [Exp(first), last];
    },
  },
];

function rotaryCase(positions: readonly number[]): RuleCase {
  const angle = (i: number): number => Math.floor(i / 2) / 10 ** (i % 2);
  const table = (f: (x: number) => number) => ({
    tensor: { shape: [8, 2], data: Float32Array.from({ length: 16 }, (_, i) => f(angle(i))) },
  });
  return {
    rule: "RotaryEmbedding",
    name: `RotaryEmbedding, two heads, positions ${positions.join()}`,
    inputs: { x: { shape: [1, 3, 8], dimensions: [1, "N", 8] } },
    fixed: {
      positions: { tensor: { shape: [1, 3], data: BigInt64Array.from(positions, BigInt) }, dimensions: [1, "N"] },
      cos: table(Math.cos),
      sin: table(Math.sin),
    },
    build: (v) => RotaryEmbedding(v.x!, v.positions!, v.cos!, v.sin!, 2),
  };
}

export const operatorCases: readonly RuleCase[] = [
  ...binaryCases("Add", Add),
  ...binaryCases("Sub", Sub),
  ...binaryCases("Mul", Mul),
  ...binaryCases("Div", Div, (input, seed) => awayFromZero(count(input), seed)),
  ...binaryCases("Min", Min, apart),
  ...binaryCases("Max", Max, apart),
  unaryCase("Neg", Neg),
  unaryCase("Exp", Exp),
  unaryCase(
    "Log",
    Log,
    awayFromZero(12, "log").map((x) => Math.abs(x)),
  ),
  unaryCase("Sigmoid", Sigmoid),
  unaryCase("QuickGelu", Silu),
  unaryCase("Gelu", Gelu),
  unaryCase("Erf", Erf),
  unaryCase("Softmax", Softmax),
  unaryCase("LogSoftmax", LogSoftmax),
  {
    rule: "LogSoftmax",
    name: "LogSoftmax of a large range",
    inputs: { x: { shape: [2, 4], data: gaussians(8, "range", 5) } },
    build: (v) => LogSoftmax(v.x!),
  },
  ...productCases,
  ...matMulCases,
  ...reductionCases,
  ...layoutCases,
  {
    rule: "SimplifiedLayerNormalization",
    name: "SimplifiedLayerNormalization, x and weight",
    inputs: { x: { shape: [3, 4], dimensions: ["N", 4] }, weight: { shape: [4] } },
    build: (v) => SimplifiedLayerNormalization(v.x!, v.weight!, 1e-5)[0],
  },
  {
    rule: "SimplifiedLayerNormalization",
    name: "SimplifiedLayerNormalization, heads, an epsilon that matters",
    inputs: { x: { shape: [2, 2, 4], dimensions: ["N", 2, 4] }, weight: { shape: [4] } },
    build: (v) => SimplifiedLayerNormalization(v.x!, v.weight!, 0.5)[0],
  },
  {
    rule: "Gather",
    name: "Gather, rows that repeat",
    inputs: { x: { shape: [4, 3], dimensions: ["V", 3] } },
    fixed: { indices: { tensor: { shape: [2, 3], data: BigInt64Array.from([2n, 0n, 2n, 3n, 3n, 2n]) } } },
    build: (v) => Gather(v.x!, v.indices!),
  },
  {
    rule: "LayerNormalization",
    name: "LayerNormalization, x, weight and bias",
    inputs: { x: { shape: [3, 5], dimensions: ["N", 5] }, weight: { shape: [5] }, bias: { shape: [5] } },
    build: (v) => LayerNormalization(v.x!, v.weight!, v.bias!, 1e-5)[0],
  },
  {
    rule: "LayerNormalization",
    name: "LayerNormalization, a batch, an epsilon that matters",
    inputs: { x: { shape: [2, 2, 4], dimensions: ["B", 2, 4] }, weight: { shape: [4] }, bias: { shape: [4] } },
    build: (v) => LayerNormalization(v.x!, v.weight!, v.bias!, 0.5)[0],
  },
  rotaryCase([0, 1, 2]),
  rotaryCase([7, 0, 7]),
];
