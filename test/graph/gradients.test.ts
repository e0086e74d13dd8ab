import { describe, expect, it } from "vitest";
import { addGradients, gradientRules } from "../../src/graph/gradients.ts";
import { Graph, type Value } from "../../src/graph/graph.ts";
import {
  Add,
  Exp,
  GatherElements,
  LessOrEqual,
  Mul,
  ReduceSum,
  Reshape,
  ScatterAdd,
  Silu,
  SimplifiedLayerNormalization,
} from "../../src/graph/operators.ts";
import { Session } from "../../src/graph/session.ts";
import { compareGradients, gaussians, tolerance } from "./finite-differences.ts";
import { operatorCases } from "./operator-cases.ts";
import { findRunOrder } from "./run-order.ts";

describe("gradient rules against finite differences", () => {
  it.each(operatorCases.map((given) => [given.name, given] as const))("%s", async (_name, given) => {
    const { kinds, gradients, error } = await compareGradients(given);
    expect(kinds).toContain(given.rule);
    expect(error).toBeLessThan(tolerance);
    for (const { expected } of Object.values(gradients)) {
      expect(
        expected.some((slope) => Math.abs(slope) > 10 * tolerance),
        "a case whose gradients are all near 0 shows nothing",
      ).toBe(true);
    }
  });

  it("covers every rule of the table", () => {
    const covered = new Set(operatorCases.map(({ rule }) => rule));
    expect(Object.keys(gradientRules).filter((rule) => !covered.has(rule))).toEqual([]);
  });
});

describe("rows that are added where indices repeat", () => {
  it("are all added, on several threads, too", async () => {
    const [rows, added, hidden] = [8, 4096, 576];
    const graph = new Graph();
    const x = graph.input("x", "float32", [rows, hidden]);
    const indices = graph.input("indices", "int64", [added, 1]);
    const updates = graph.input("updates", "float32", [added, hidden]);
    graph.output("sum", ScatterAdd(x, indices, updates));
    const session = await Session.create("rows", graph, { threads: 4 });
    const feeds = {
      x: { shape: [rows, hidden], data: new Float32Array(rows * hidden) },
      indices: { shape: [added, 1], data: BigInt64Array.from({ length: added }, (_, i) => BigInt((i * 7) % rows)) },
      updates: { shape: [added, hidden], data: new Float32Array(added * hidden).fill(1) },
    };
    try {
      for (let run = 0; run < 40; run++) {
        const { sum } = await session.run(feeds, {}, ["sum"]);
        expect(new Set((sum as { data: Float32Array }).data)).toEqual(new Set([added / rows]));
      }
    } finally {
      await session.close();
    }
  });
});

describe("addGradients", () => {
  it("adds up what reaches a value by several ways", async () => {
    const { error } = await compareGradients({
      inputs: { x: { shape: [2, 3] } },
      build: ({ x }) => Add(Mul(x!, x!), Mul(Exp(x!), x!)),
    });
    expect(error).toBeLessThan(tolerance);
  });

  it("gives gradients of intermediate values and inputs alike", async () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [2]);
    const squared = Mul(x, x);
    const gradients = addGradients(ReduceSum(Mul(squared, squared), [0]), [squared, x]);
    graph.output("dSquared", gradients[0]!);
    graph.output("dx", gradients[1]!);
    const session = await Session.create("intermediate", graph);
    const { dSquared, dx } = await session.run({ x: { shape: [2], data: Float32Array.of(2, -3) } }, {}, [
      "dSquared",
      "dx",
    ]);
    await session.close();
    expect([...dSquared!.data]).toEqual([8, 18]);
    expect([...dx!.data]).toEqual([32, -108]);
  });

  it("sends the gradient of a tie to the first input of Min and Max", async () => {
    const { Min, Max } = await import("../../src/graph/operators.ts");
    for (const operator of [Min, Max]) {
      const graph = new Graph();
      const a = graph.input("a", "float32", [2]);
      const b = graph.input("b", "float32", [2]);
      const [da, db] = addGradients(ReduceSum(operator(a, b), [0]), [a, b]);
      graph.output("da", da!);
      graph.output("db", db!);
      const session = await Session.create("tie", graph);
      const tensor = { shape: [2], data: Float32Array.of(1, 1) };
      const result = await session.run({ a: tensor, b: tensor }, {}, ["da", "db"]);
      await session.close();
      expect([...result["da"]!.data]).toEqual([1, 1]);
      expect([...result["db"]!.data]).toEqual([0, 0]);
    }
  });

  it("refuses an operator without a rule on the way", () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [2, 3]);
    const indices = graph.input("indices", "int64", [2, 1]);
    const loss = ReduceSum(GatherElements(x, indices), [0]);
    expect(() => addGradients(loss, [x])).toThrow(
      expect.objectContaining({ code: "GRAPH_NO_GRADIENT", message: expect.stringContaining("GatherElements") }),
    );
  });

  it("refuses an input that doesn't reach the loss, or only where no gradient passes", () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [2]);
    const unused = graph.input("unused", "float32", [2]);
    const loss = ReduceSum(Mul(x, x), [0]);
    expect(() => addGradients(loss, [x, unused])).toThrow(
      expect.objectContaining({ code: "GRAPH_NO_GRADIENT", message: expect.stringContaining("unused") }),
    );
    const compared = graph.input("compared", "float32", [2]);
    expect(() => addGradients(ReduceSum(LessOrEqual(compared, x), [0]), [compared])).toThrow(
      expect.objectContaining({ code: "GRAPH_NO_GRADIENT" }),
    );
  });

  describe("of what is computed again", () => {
    it("are those of what is kept", async () => {
      const shapes = { x: ["N", 2], y: ["N", 2], weight: [2] };
      const tensors = { x: gaussians(6, "x"), y: gaussians(6, "y"), weight: gaussians(2, "weight") };
      const found = [];
      for (const isRecomputed of [false, true]) {
        const graph = new Graph();
        const inputs = Object.entries(shapes).map(([name, shape]) => graph.input(name, "float32", shape));
        const [x, y, weight] = inputs as [Value, Value, Value];
        const build = (): Value => Mul(Silu(SimplifiedLayerNormalization(x, weight, 1e-5)[0]), y);
        const z = isRecomputed ? graph.recomputed(build) : build();
        addGradients(ReduceSum(Mul(z, Exp(z)), [0, 1]), inputs).forEach((gradient, i) =>
          graph.output(`gradient${i}`, gradient),
        );
        const feeds = Object.entries(tensors).map(([name, data]) => [
          name,
          { shape: name === "weight" ? [2] : [3, 2], data: Float32Array.from(data) },
        ]);
        const { kinds, outputs } = await findRunOrder(graph, Object.fromEntries(feeds));
        expect(kinds.filter((kind) => kind === "QuickGelu")).toHaveLength(isRecomputed ? 2 : 1);
        found.push(outputs);
      }
      expect(found[1]).toEqual(found[0]);
    });

    it("wait for the gradient that needs it, and the forward pass keeps nothing", async () => {
      const graph = new Graph();
      const x = graph.input("x", "float32", ["N", 2]);
      const y = graph.recomputed(() => Silu(x));
      const loss = ReduceSum(Mul(y, Exp(y)), [0, 1]);
      const [dx] = addGradients(loss, [x]);
      graph.output("loss", loss);
      graph.output("dx", dx!);
      const { kinds } = await findRunOrder(graph, { x: { shape: [3, 2], data: new Float32Array(6).fill(0.5) } });
      const activations = kinds.flatMap((kind, i) => (kind === "QuickGelu" ? [i] : []));
      expect(activations).toHaveLength(2);
      expect(activations[0]).toBeLessThan(kinds.indexOf("ReduceSum"));
      expect(activations[1]).toBeGreaterThan(kinds.indexOf("ReduceSum"));
      // The activation's own derivative belongs to the backward pass, too.
      expect(kinds.indexOf("Sigmoid")).toBeGreaterThan(kinds.indexOf("ReduceSum"));
    });
  });

  it("gives gradients through reshapes of several sizes that are known when the graph runs", async () => {
    const { error } = await compareGradients({
      inputs: {
        x: { shape: [2, 3, 4], dimensions: ["A", "B", 4] },
        y: { shape: [2, 3, 4], dimensions: ["A", "B", 4] },
      },
      build: ({ x, y }) => {
        const merged = Reshape(Mul(x!, y!), [-1, 2], ["rest", 2]);
        return Mul(merged, merged);
      },
    });
    expect(error).toBeLessThan(tolerance);
  });
});
