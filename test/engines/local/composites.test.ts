/** The engine's own operations, which bring their gradients along, against finite differences. */
import { describe, expect, it } from "vitest";
import { packedAttention, type PackedIndices } from "../../../src/engines/local/attention.ts";
import { linear, type LinearLayer } from "../../../src/engines/local/linear.ts";
import { packGroups } from "../../../src/engines/local/packing.ts";
import { scoreTokens } from "../../../src/engines/local/scoring.ts";
import { gatherRows } from "../../../src/engines/local/transformer.ts";
import type { Value } from "../../../src/graph/graph.ts";
import { Add, Gemm } from "../../../src/graph/operators.ts";
import type { AnyTensor } from "../../../src/graph/session.ts";
import {
  compareGradients,
  type Differentiable,
  type GradientCase,
  gaussians,
  tolerance,
} from "../../graph/finite-differences.ts";
import { tinyConfig } from "./tiny-models.ts";

const int64 = (shape: readonly number[], ...data: number[]): { tensor: AnyTensor } => ({
  tensor: { shape, data: BigInt64Array.from(data, BigInt) },
});

async function expectRightGradients(given: GradientCase): Promise<void> {
  const { error, gradients } = await compareGradients(given);
  expect(error).toBeLessThan(tolerance);
  for (const { expected } of Object.values(gradients)) {
    expect(expected.some((slope) => Math.abs(slope) > 10 * tolerance)).toBe(true);
  }
}

describe("linear", () => {
  const x: Differentiable = { shape: [3, 4], dimensions: ["N", 4] };

  it("gives gradients of input, weights and biases of layers that share the input", async () => {
    await expectRightGradients({
      inputs: { x, w0: { shape: [2, 4] }, b0: { shape: [2] }, w1: { shape: [3, 4] } },
      build: (v) => linear(v.x!, [{ weight: v.w0!, bias: v.b0! }, { weight: v.w1! }]),
    });
  });

  it("gives gradients where only one of the layers is used", async () => {
    await expectRightGradients({
      inputs: { x, w0: { shape: [2, 4] }, w1: { shape: [3, 4] } },
      by: ["x", "w1"],
      build: (v) => linear(v.x!, [{ weight: v.w0! }, { weight: v.w1! }])[1]!,
    });
  });

  /**
   * The layer itself takes merged weights; here they are merged inside the graph, from a copy of the adapter that is
   * moved along with it, so that finite differences see what changing the adapter does.
   */
  function withAdapters(ranks: readonly number[], outs: readonly number[], bias: boolean): GradientCase {
    const scale = 0.7;
    const inputs: Record<string, Differentiable> = { x };
    outs.forEach((out, i) => {
      inputs[`w${i}`] = { shape: [out, 4] };
      if (bias) inputs[`bias${i}`] = { shape: [out] };
      const rank = ranks[i];
      if (rank === undefined) return;
      inputs[`a${i}`] = { shape: [rank, 4] };
      inputs[`b${i}`] = { shape: [out, rank] };
    });
    return {
      inputs,
      by: Object.keys(inputs).filter((name) => /^[xab]\d*$/.test(name)),
      build: (v) => {
        const layers = outs.map((_, i): LinearLayer => {
          const rank = ranks[i];
          const own = bias ? { bias: v[`bias${i}`]! } : {};
          if (rank === undefined) return { weight: v[`w${i}`]!, ...own };
          const [a, b] = [v[`a${i}`]!, v[`b${i}`]!];
          const merged = v.x!.graph.composite(
            "merge",
            [],
            () => [Gemm(b, a, v[`w${i}`]!, { alpha: scale })],
            () => [],
          )[0]!;
          return { weight: merged, ...own, lora: { a, b, rank, scale } };
        });
        return linear(v.x!, layers);
      },
    };
  }

  it("gives gradients of one adapter", () => expectRightGradients(withAdapters([2], [3], false)));
  it("gives gradients of adapters that share the input, with biases", () =>
    expectRightGradients(withAdapters([2, 2, 2], [3, 2, 4], true)));
  it("gives gradients of adapters of different ranks", () => expectRightGradients(withAdapters([1, 3], [3, 2], false)));
  it("leaves out the layers that have no adapter", () => expectRightGradients(withAdapters([2], [3, 2], false)));
});

describe("gatherRows", () => {
  it("adds up the gradients of rows that are read more than once", async () => {
    const { gradients, error } = await compareGradients({
      inputs: { x: { shape: [4, 3], dimensions: ["N", 3] } },
      fixed: { indices: { ...int64([5], 2, 0, 2, 2, 3), dimensions: ["M"] } },
      build: (v) => gatherRows(v.x!, v.indices!),
    });
    expect(error).toBeLessThan(tolerance);
    expect([...gradients["x"]!.found.subarray(3, 6)]).toEqual([0, 0, 0]);
  });
});

describe("scoreTokens", () => {
  const inputs = { hidden: { shape: [5, 3], dimensions: ["M", 3] }, head: { shape: [6, 3] } };
  const score = (v: Record<string, Value>, chunks: number) =>
    scoreTokens({
      hidden: v.hidden!,
      head: v.head!,
      targets: v.targets!,
      inverseTemperature: v.inverseTemperature!,
      chunkSizes: v.chunkSizes!,
      chunks,
    });
  const fixed = (...chunkSizes: number[]) => ({
    targets: { ...int64([5, 1], 4, 0, 4, 5, 1), dimensions: ["M", 1] },
    inverseTemperature: { tensor: { shape: [], data: Float32Array.of(0.8) } },
    chunkSizes: int64([chunkSizes.length], ...chunkSizes),
  });

  it.each([[[5]], [[1, 4]], [[2, 1, 2]]])(
    "gives gradients of hidden states and head in chunks of %j",
    async (sizes) => {
      await expectRightGradients({
        inputs,
        fixed: fixed(...sizes),
        build: (v) => score(v, sizes.length).logprobs,
      });
    },
  );

  it("gives log-probs and entropies of the softmax", async () => {
    const { Graph } = await import("../../../src/graph/graph.ts");
    const { Session } = await import("../../../src/graph/session.ts");
    const graph = new Graph();
    const v: Record<string, Value> = {
      hidden: graph.input("hidden", "float32", ["M", 2]),
      head: graph.input("head", "float32", [3, 2]),
      targets: graph.input("targets", "int64", ["M", 1]),
      inverseTemperature: graph.input("inverseTemperature", "float32", []),
      chunkSizes: graph.input("chunkSizes", "int64", [2]),
    };
    const { logprobs, entropy } = score(v, 2);
    graph.output("logprobs", logprobs);
    graph.output("entropy", entropy);
    const hidden = gaussians(6, "hidden");
    const head = gaussians(6, "head");
    const targets = [2, 0, 1];
    const session = await Session.create("score", graph);
    const found = await session.run(
      {
        hidden: { shape: [3, 2], data: Float32Array.from(hidden) },
        head: { shape: [3, 2], data: Float32Array.from(head) },
        targets: int64([3, 1], ...targets).tensor,
        inverseTemperature: { shape: [], data: Float32Array.of(0.5) },
        chunkSizes: int64([2], 1, 2).tensor,
      },
      {},
      ["logprobs", "entropy"],
    );
    await session.close();
    targets.forEach((target, m) => {
      const logits = [0, 1, 2].map(
        (id) => 0.5 * (hidden[2 * m]! * head[2 * id]! + hidden[2 * m + 1]! * head[2 * id + 1]!),
      );
      const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0));
      expect(found["logprobs"]!.data[m]).toBeCloseTo(logits[target]! - total, 5);
      const expected = -logits.reduce((sum, x) => sum + Math.exp(x - total) * (x - total), 0);
      expect(found["entropy"]!.data[m]).toBeCloseTo(expected, 5);
    });
  });
});

describe("packedAttention", () => {
  const apart = [
    { prompt: [5, 6, 7], completions: [[1, 2, 3], [4]] },
    { prompt: [8], completions: [[1, 2]] },
  ];
  const sharing = [
    { prompt: [5, 6, 7, 9], completions: [[1, 2, 3], [4]] },
    { prompt: [5, 6, 8], completions: [[1, 2]] },
  ];

  it.each([
    ["as many key heads as query heads", 2, 2, apart],
    ["query heads that share keys", 4, 2, apart],
    ["prompts that begin alike", 4, 2, sharing],
  ])(
    "gives gradients of queries, keys and values through slots and back, %s",
    async (_name, heads, kvHeads, groups) => {
      const headDim = 2;
      const config = tinyConfig({ heads, kvHeads, headDim });
      const { feeds } = packGroups(groups, { heads, kvHeads }, 1);
      const rows = feeds["ids"]!.shape[0] as number;
      const dimensions: Record<keyof PackedIndices, (string | number)[]> = {
        prefixQueryRows: [1, kvHeads, "GF"],
        prefixKeyRows: [1, kvHeads, "F"],
        promptQueryRows: ["P", kvHeads, "GT"],
        promptKeyRows: ["P", kvHeads, "T"],
        completionQueryRows: ["P", kvHeads, "n", "GC"],
        completionKeyRows: ["P", kvHeads, "n", "C"],
        rowQuerySlots: ["N", heads],
        rowKeySlots: ["N", kvHeads],
        prefixMask: [1, 1, "GF", "F"],
        prefixKeyMask: [1, 1, 1, "F"],
        promptMask: ["P", 1, "GT", "T"],
        promptKeyMask: ["P", 1, 1, "T"],
        completionMask: [1, 1, 1, "GC", "C"],
        promptKeySizes: [2],
        completionKeySizes: [3],
        ownScoreSizes: [4],
      };
      const names = Object.keys(dimensions) as (keyof PackedIndices)[];
      const input = (features: number): Differentiable => ({ shape: [rows, features], dimensions: ["N", features] });
      const real = rows - 1;
      await expectRightGradients({
        inputs: { q: input(heads * headDim), k: input(kvHeads * headDim), v: input(kvHeads * headDim) },
        fixed: {
          ...Object.fromEntries(
            names.map((name) => [name, { tensor: feeds[name] as AnyTensor, dimensions: dimensions[name] }]),
          ),
          realRows: int64([real], ...Array.from({ length: real }, (_, row) => row)),
        },
        build: (v) => {
          const out = packedAttention({ q: v.q!, k: v.k!, v: v.v! }, v as unknown as PackedIndices, config);
          // The last row is a dummy: what attention gives there is never read.
          return gatherRows(Add(out, v.q!), v.realRows!);
        },
      });
    },
  );
});
