// One GRPO step of the local engine, and how much of the processor it uses: 8 prompts of 96 tokens, 8 completions of
// exactly 48 tokens each, LoRA rank 16 on all linear layers, one optimizer step, two threads. The rate of large matrix
// products is measured between the steps, in the same run, because these machines' speed drifts.
import { LocalEngine } from "../dist/engines/local/index.js";
import { Gemm } from "../dist/graph/operators.js";
import { Graph } from "../dist/graph/graph.js";
import { Session } from "../dist/graph/session.js";
import { loadModel } from "../dist/models/load.js";
import { randomStream } from "../dist/core/random.js";

const promptTokens = 96;
const completionTokens = 48;
const prompts = 8;
const groupSize = 8;
const threads = 2;

const median = (values) => values.slice().sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** GFLOP/s of float32 products of 480 rows with the model's largest projection, the weight as a graph input. */
async function gemmRate(session, feeds, flops) {
  const start = performance.now();
  let runs = 0;
  while (performance.now() - start < 2000) {
    await session.run(feeds, feeds.results);
    runs++;
  }
  return (runs * flops) / (performance.now() - start) / 1e6;
}

async function gemmSession({ hiddenSize, intermediateSize }) {
  const rows = 480;
  const graph = new Graph();
  const x = graph.input("x", "float32", [rows, hiddenSize]);
  const w = graph.input("w", "float32", [intermediateSize, hiddenSize]);
  graph.output("y", Gemm(x, w, undefined, { transB: true }));
  const session = await Session.create("gemm", graph, { threads });
  const tensor = (shape) => ({ shape, data: new Float32Array(shape[0] * shape[1]).fill(0.01) });
  const feeds = { x: tensor([rows, hiddenSize]), w: tensor([intermediateSize, hiddenSize]) };
  feeds.results = { y: tensor([rows, intermediateSize]) };
  return { session, feeds, flops: 2 * rows * hiddenSize * intermediateSize };
}

/** Floating-point operations that the step needs: matrix products alone, nothing recomputed, prompts once a group. */
function neededFlops(config) {
  const { layers, hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize } = config;
  const linear =
    layers *
    (2 * hiddenSize * heads * headDim + 2 * hiddenSize * kvHeads * headDim + 3 * hiddenSize * intermediateSize);
  const head = hiddenSize * vocabSize;
  const promptRows = prompts * promptTokens;
  const scored = prompts * groupSize * completionTokens;
  const completionRows = scored - prompts * groupSize;
  const rows = promptRows + completionRows;
  // Causal attention: scores and mix, half of the square among own tokens, the whole prompt for completions.
  const perPair = 4 * heads * headDim * layers;
  const pairs =
    prompts * (promptTokens ** 2 / 2) +
    prompts * groupSize * (completionTokens * promptTokens + completionTokens ** 2 / 2);
  const forward = 2 * linear * rows + perPair * pairs;
  const scoring = 2 * head * scored;
  // Backward through frozen weights costs one more pass, through attention two; the adapter's share is left out.
  const backward = 2 * linear * rows + 2 * perPair * pairs + scoring;
  return { sampling: forward + scoring, training: forward + scoring + backward };
}

export async function run(args, log) {
  const steps = Number(args[args.indexOf("--steps") + 1] ?? 3) || 3;
  const loadStart = performance.now();
  const model = await loadModel("smollm2-135m-instruct");
  const engine = new LocalEngine(model, { loraRank: 16, threads });
  const loadSeconds = (performance.now() - loadStart) / 1000;
  const gemm = await gemmSession(model.config);
  const random = randomStream(1, "bench");
  const promptIds = Array.from({ length: prompts }, () =>
    Array.from({ length: promptTokens }, () => 100 + random.nextInt(model.config.vocabSize - 100)),
  );
  const flops = neededFlops(model.config);
  const rows = [];
  for (let step = 0; step <= steps; step++) {
    const rate = await gemmRate(gemm.session, gemm.feeds, gemm.flops);
    const start = performance.now();
    const samples = await engine.sample(promptIds, {
      n: groupSize,
      maxTokens: completionTokens,
      temperature: 1,
      seed: step,
      ignoreEnd: true,
    });
    const sampled = performance.now();
    const data = samples.flatMap((group, p) =>
      group.map(({ ids, logprobs }, i) => ({
        prompt: promptIds[p],
        completion: ids,
        oldLogprobs: logprobs,
        advantage: i % 2 === 0 ? 1 : -1,
      })),
    );
    const { metrics } = await engine.forwardBackward(data, { name: "grpo" });
    const trained = performance.now();
    await engine.optimStep({ learningRate: 1e-5 });
    const end = performance.now();
    const row = {
      sample: (sampled - start) / 1000,
      train: (trained - sampled) / 1000,
      optimizer: (end - trained) / 1000,
      total: (end - start) / 1000,
      rate,
      difference: metrics.logprobDifference,
    };
    log(
      `step ${step}: sample ${row.sample.toFixed(1)} s, forward and backward ${row.train.toFixed(1)} s, optimizer ` +
        `${row.optimizer.toFixed(2)} s; matrix products at ${rate.toFixed(0)} GFLOP/s${step === 0 ? " (not counted)" : ""}`,
    );
    // The first step also compiles the graphs.
    if (step > 0) rows.push(row);
  }
  await gemm.session.close();
  await engine.close();
  const ideal = rows.map((row) => (flops.sampling + flops.training) / (row.rate * 1e9) / row.total);
  return {
    load_seconds: loadSeconds,
    step_seconds: median(rows.map((row) => row.total)),
    sample_seconds: median(rows.map((row) => row.sample)),
    train_seconds: median(rows.map((row) => row.train)),
    optimizer_seconds: median(rows.map((row) => row.optimizer)),
    gemm_gflops: median(rows.map((row) => row.rate)),
    needed_tflop: (flops.sampling + flops.training) / 1e12,
    share_of_processor: median(ideal),
    share_of_processor_min: Math.min(...ideal),
    share_of_processor_max: Math.max(...ideal),
    logprob_difference: Math.max(...rows.map((row) => row.difference)),
    peak_memory_gb: process.resourceUsage().maxRSS / 1e6,
  };
}
