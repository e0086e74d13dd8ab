// How fast this machine multiplies float32 matrices in onnxruntime just now: the best of the shapes that a step uses and of
// larger ones, with the weights as inputs, as the engine has them. A process of its own, whose memory is not the engine's:
// one measurement for each line "go" on standard input.
//   node bench/parts/gemm-rate.mjs '{"hiddenSize":576,"intermediateSize":1536,"vocabSize":49152,"threads":2}'
import { createInterface } from "node:readline";
import { Graph } from "../../dist/graph/graph.js";
import { Gemm } from "../../dist/graph/operators.js";
import { Session } from "../../dist/graph/session.js";

/** Rows, inner size and columns, and whether the weight is stored transposed. */
function listShapes({ hiddenSize, intermediateSize, vocabSize }) {
  return [
    [64, hiddenSize, intermediateSize, true],
    [64, intermediateSize, hiddenSize, true],
    [96, hiddenSize, vocabSize, true],
    [512, hiddenSize, hiddenSize, true],
    [512, hiddenSize, intermediateSize, true],
    [512, intermediateSize, hiddenSize, true],
    [512, intermediateSize, hiddenSize, false],
    [1024, hiddenSize, intermediateSize, true],
    [1024, intermediateSize, hiddenSize, false],
    [1024, 1024, 1024, false],
  ];
}

const { threads, ...config } = JSON.parse(process.argv[2]);
const products = [];
for (const [rows, inner, columns, transB] of listShapes(config)) {
  const graph = new Graph();
  const weightShape = transB ? [columns, inner] : [inner, columns];
  const x = graph.input("x", "float32", [rows, inner]);
  const w = graph.input("w", "float32", weightShape);
  graph.output("y", Gemm(x, w, undefined, { transB }));
  const tensor = (shape) => ({ shape, data: new Float32Array(shape[0] * shape[1]).fill(0.01) });
  products.push({
    session: await Session.create("gemm", graph, { threads }),
    feeds: { x: tensor([rows, inner]), w: tensor(weightShape) },
    results: { y: tensor([rows, columns]) },
    flops: 2 * rows * inner * columns,
    shape: `${rows}x${inner}x${columns}${transB ? " transposed" : ""}`,
  });
}

/** GFLOP/s of the fastest product. */
async function measure(msEach = 300) {
  let best = { gflops: 0, shape: "" };
  for (const { session, feeds, results, flops, shape } of products) {
    await session.run(feeds, results);
    const start = performance.now();
    let runs = 0;
    do {
      await session.run(feeds, results);
      runs++;
    } while (performance.now() - start < msEach);
    const gflops = (runs * flops) / (performance.now() - start) / 1e6;
    if (gflops > best.gflops) best = { gflops, shape };
  }
  return best;
}

process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== "go") break;
  process.stdout.write(`${JSON.stringify(await measure())}\n`);
}
for (const { session } of products) await session.close();
