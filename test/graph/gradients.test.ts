import { describe, expect, it } from "vitest";
import { addGradients, gradientRules } from "../../src/graph/gradients.ts";
import { Graph } from "../../src/graph/graph.ts";
import { Add, Exp, GatherElements, LessOrEqual, Mul, ReduceSum } from "../../src/graph/operators.ts";
import { Session } from "../../src/graph/session.ts";
import { compareGradients, tolerance } from "./finite-differences.ts";
import { operatorCases } from "./operator-cases.ts";

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
});
