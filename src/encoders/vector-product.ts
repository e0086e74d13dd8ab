/** Dot products of many vectors with many others, by onnxruntime. */
import { Graph } from "../graph/graph.ts";
import { Gemm } from "../graph/operators.ts";
import { Session } from "../graph/session.ts";

export interface VectorProduct {
  /** Writes to `out [rows, columns]` the dot products of `a [rows, size]` with `b [columns, size]`. */
  multiply(
    a: Float32Array,
    b: Float32Array,
    sizes: { rows: number; columns: number; size: number },
    out: Float32Array,
  ): Promise<void>;
  close(): Promise<void>;
}

export async function createVectorProduct(): Promise<VectorProduct> {
  const graph = new Graph();
  const a = graph.input("a", "float32", ["rows", "size"]);
  const b = graph.input("b", "float32", ["columns", "size"]);
  graph.output("products", Gemm(a, b, undefined, { transB: true }));
  const session = await Session.create("products", graph);
  return {
    multiply: async (a, b, { rows, columns, size }, out) => {
      const feeds = { a: { shape: [rows, size], data: a }, b: { shape: [columns, size], data: b } };
      await session.run(feeds, { products: { shape: [rows, columns], data: out } });
    },
    close: () => session.close(),
  };
}
