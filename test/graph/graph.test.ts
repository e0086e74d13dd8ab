import { describe, expect, it } from "vitest";
import { Graph } from "../../src/graph/graph.ts";
import {
  Add,
  broadcastShapes,
  Exp,
  FusedMatMul,
  Gemm,
  Log,
  Mul,
  Neg,
  Reshape,
  Sigmoid,
  Split,
} from "../../src/graph/operators.ts";
import { Session } from "../../src/graph/session.ts";
import { findRunOrder } from "./run-order.ts";

const float32 = (...data: number[]) => ({ shape: [data.length], data: Float32Array.from(data) });

describe("Graph", () => {
  it("refuses a name that is taken or reserved for its own values", () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [2]);
    expect(() => graph.input("x", "float32", [3])).toThrow(expect.objectContaining({ code: "GRAPH_NAME_TAKEN" }));
    expect(() => graph.output("x", Exp(x))).toThrow(expect.objectContaining({ code: "GRAPH_NAME_TAKEN" }));
    for (const reserved of ["v0", "c12"]) {
      expect(() => graph.input(reserved, "float32", [])).toThrow(expect.objectContaining({ code: "GRAPH_NAME_TAKEN" }));
    }
  });

  it("refuses an output that is an input, a constant, or an output already", () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [2]);
    const y = Exp(x);
    expect(() => graph.output("copy", x)).toThrow(expect.objectContaining({ code: "GRAPH_OUTPUT" }));
    expect(() => graph.output("one", graph.constant(1))).toThrow(expect.objectContaining({ code: "GRAPH_OUTPUT" }));
    graph.output("y", y);
    expect(() => graph.output("again", y)).toThrow(expect.objectContaining({ code: "GRAPH_OUTPUT" }));
  });

  it("tells apart an input whose name begins like its own values'", () => {
    const graph = new Graph();
    const value = graph.input("value", "float32", [2]);
    expect(() => graph.output("copy", value)).toThrow(expect.objectContaining({ code: "GRAPH_OUTPUT" }));
  });

  it("stores equal constants once", () => {
    const graph = new Graph();
    expect(graph.constant([1, 2])).toBe(graph.constant([1, 2]));
    expect(graph.constant([1, 2])).not.toBe(graph.constant([1, 2], [2, 1]));
    expect(graph.constant(1)).not.toBe(graph.constant([1]));
  });

  it("keeps the operations inside a composite off the tape", () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [2]);
    graph.composite(
      "outer",
      [x],
      () =>
        graph.composite(
          "inner",
          [x],
          () => [Exp(x)],
          () => [],
        ),
      () => [],
    );
    Exp(x);
    expect(graph.tape.map(({ kind }) => kind)).toEqual(["outer", "Exp"]);
    expect(graph.size).toBe(2);
  });
});

describe("shapes", () => {
  it.each([
    [[2, 3], [3], [2, 3]],
    [[], [2], [2]],
    [
      ["N", 1],
      [1, 4],
      ["N", 4],
    ],
    [
      ["N", 3],
      ["N", 1],
      ["N", 3],
    ],
    [[1], ["N"], ["N"]],
  ])("broadcasts %j and %j to %j", (a, b, expected) => {
    expect(broadcastShapes(a, b)).toEqual(expected);
  });

  it.each([
    [[2, 3], [2]],
    [["N"], ["M"]],
    [["N"], [3]],
  ])("refuses to broadcast %j and %j", (a, b) => {
    expect(() => broadcastShapes(a, b)).toThrow(expect.objectContaining({ code: "GRAPH_SHAPE" }));
  });

  it("follow transposes in matrix products", () => {
    const graph = new Graph();
    const a = graph.input("a", "float32", ["P", 3, "N"]);
    const b = graph.input("b", "float32", ["P", 5, 3]);
    expect(FusedMatMul(a, b, { transA: true, transB: true }).shape).toEqual(["P", "N", 5]);
    const left = graph.input("left", "float32", [3, "N"]);
    const right = graph.input("right", "float32", [3, 4]);
    expect(Gemm(left, right, undefined, { transA: true }).shape).toEqual(["N", 4]);
  });
});

describe("Session", () => {
  it("computes Gemm with alpha, beta and a broadcast bias", async () => {
    const graph = new Graph();
    const a = graph.input("a", "float32", [1, 2]);
    const b = graph.input("b", "float32", [2, 2]);
    const c = graph.input("c", "float32", [2]);
    graph.output("y", Gemm(a, b, c, { alpha: 2, beta: 0.5, transB: true }));
    const session = await Session.create("gemm", graph);
    const feeds = {
      a: { shape: [1, 2], data: Float32Array.of(1, 2) },
      b: { shape: [2, 2], data: Float32Array.of(3, 4, 5, 6) },
      c: float32(10, 20),
    };
    const { y } = await session.run(feeds, {}, ["y"]);
    await session.close();
    expect([...y!.data]).toEqual([2 * 11 + 5, 2 * 17 + 10]);
  });

  it("writes results into the arrays given and reads inputs as they are at the time of the run", async () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", ["N"]);
    graph.output("y", Mul(x, graph.constant(3)));
    const session = await Session.create("in place", graph);
    const feed = float32(1, 2);
    const result = { shape: [2], data: new Float32Array(2) };
    await session.run({ x: feed }, { y: result });
    expect([...result.data]).toEqual([3, 6]);
    feed.data[1] = -1;
    await session.run({ x: feed }, { y: result });
    expect([...result.data]).toEqual([3, -3]);
    await session.close();
  });

  it("names the graph and the input that is missing", async () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [1]);
    const y = graph.input("y", "float32", [1]);
    graph.output("sum", Add(x, y));
    const session = await Session.create("adder", graph);
    await expect(session.run({ x: float32(1) }, {}, ["sum"])).rejects.toMatchObject({
      code: "ENGINE_FEED",
      message: expect.stringMatching(/adder.*"y"/),
    });
    await session.close();
  });

  it("reports what onnxruntime refuses, when compiling and when running", async () => {
    const wrong = new Graph();
    const x = wrong.input("x", "float32", [2]);
    wrong.output("y", wrong.node("NoSuchOperator", [x], {}, [{ type: "float32", shape: [2] }])[0]!);
    await expect(Session.create("wrong", wrong)).rejects.toMatchObject({
      code: "ENGINE_GRAPH",
      message: expect.stringContaining('"wrong"'),
    });

    const graph = new Graph();
    const rows = graph.input("rows", "float32", ["N", 4]);
    const [first] = Split(Reshape(rows, [-1, 3], ["M", 3]), 1, [1, 2]);
    graph.output("y", first!);
    const session = await Session.create("thirds", graph);
    await expect(session.run({ rows: { shape: [1, 4], data: new Float32Array(4) } }, {}, ["y"])).rejects.toMatchObject({
      code: "ENGINE_RUN",
      message: expect.stringContaining('"thirds"'),
    });
    await session.close();
  });

  it("leaves out what no output depends on", async () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [2]);
    graph.output("y", Exp(x));
    // Two numbers can't be three: it would fail if it ran.
    Mul(Reshape(x, [3], [3]), graph.constant([1, 2, 3]));
    const session = await Session.create("pruned", graph, { threads: 1 });
    const results = { y: float32(0, 0) };
    await session.run({ x: float32(0, 1) }, results);
    expect([...results.y.data]).toEqual([1, Math.fround(Math.E)]);
    await session.close();
  });

  it("runs a graph in the order in which its outputs were built, each with what it needs", async () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [2]);
    const exponential = Exp(x);
    graph.output("sum", Add(exponential, x));
    graph.output("negative", Neg(Mul(exponential, exponential)));
    graph.output("sigmoid", Sigmoid(Log(exponential)));
    const { kinds, outputs } = await findRunOrder(graph, { x: float32(0, 1) });
    expect(kinds).toEqual(["Exp", "Add", "Mul", "Neg", "Log", "Sigmoid"]);
    expect(outputs["negative"]!.data[1]).toBeCloseTo(-Math.exp(2), 5);
  });

  it("says that memory is short when it is", async () => {
    const graph = new Graph();
    const sizes = graph.input("sizes", "int64", [1]);
    const spec = { type: "float32", shape: ["n"] } as const;
    graph.output("y", Exp(graph.node("ConstantOfShape", [sizes], {}, [spec])[0]!));
    const session = await Session.create("huge", graph, { threads: 1 });
    const feeds = { sizes: { shape: [1], data: BigInt64Array.of(2n ** 46n) } };
    await expect(session.run(feeds, {}, ["y"])).rejects.toMatchObject({ code: "ENGINE_MEMORY" });
    await session.close();
  });

  it("waits for a run in progress when it is closed, and refuses another", async () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [256, 256]);
    graph.output("y", Gemm(Gemm(x, x), Gemm(x, x)));
    const session = await Session.create("closing", graph);
    const feeds = { x: { shape: [256, 256], data: new Float32Array(256 * 256).fill(0.01) } };
    const running = session.run(feeds, {}, ["y"]);
    await Promise.all([session.close(), session.close()]);
    expect((await running)["y"]!.data.every(Number.isFinite)).toBe(true);
    await expect(session.run(feeds, {}, ["y"])).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  });
});
