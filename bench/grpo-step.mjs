// One GRPO step of the local engine and of TRL, alternating in the same run on the same work and threads: 8 prompts of 96
// tokens, 8 completions of exactly 48 tokens each, LoRA rank 16 on all linear layers, one optimizer step. Also how much of
// the processor our step uses, and where its time goes. Options: --steps N (3), --threads N (2), --peer-dtype float32 |
// bfloat16 | both (both), --peer-micro-batch N (8), --no-peer, --prompts N, --group-size N, --completion-tokens N.
import { fileURLToPath } from "node:url";
import { LocalEngine } from "../dist/engines/local/index.js";
import { loadModel } from "../dist/models/load.js";
import { pullModel } from "../dist/models/pull.js";
import { randomStream } from "../dist/core/random.js";
import { startPeer } from "./parts/line-peer.mjs";
import { neededFlops } from "./parts/needed-flops.mjs";
import { median, numberOption, spread, textOption } from "./parts/statistics.mjs";
import { timeGraphs } from "./parts/time-graphs.mjs";
import { hasTrl, startTrl } from "./parts/trl-peer.mjs";

const modelName = "smollm2-135m-instruct";

/** Our engine as something that does one step when asked. */
async function startOurs(work, threads) {
  const loadStart = performance.now();
  const model = await loadModel(modelName);
  const engine = new LocalEngine(model, { loraRank: work.loraRank, threads });
  // A tiny step and a tiny scoring compile all graphs.
  await engine.tryStep({
    prompts: 1,
    promptTokens: 4,
    sampling: { n: 2, maxTokens: 2, temperature: 1, seed: 0 },
    loss: { name: "grpo" },
  });
  await engine.logprobs([{ prompt: [1, 2], completion: [3] }]);
  const startSeconds = (performance.now() - loadStart) / 1000;
  const random = randomStream(1, "bench");
  const prompts = Array.from({ length: work.prompts }, () =>
    Array.from({ length: work.promptTokens }, () => 100 + random.nextInt(model.config.vocabSize - 100)),
  );
  const timer = timeGraphs();
  let seed = 0;
  const seconds = (from, to) => (to - from) / 1000;
  return {
    config: model.config,
    startSeconds,
    async step() {
      timer.take();
      const start = performance.now();
      const samples = await engine.sample(prompts, {
        n: work.groupSize,
        maxTokens: work.completionTokens,
        temperature: 1,
        seed: seed++,
        ignoreEnd: true,
      });
      const sampled = performance.now();
      const data = samples.flatMap((group, p) =>
        group.map(({ ids, logprobs }, i) => ({
          prompt: prompts[p],
          completion: ids,
          oldLogprobs: logprobs,
          advantage: i % 2 === 0 ? 1 : -1,
        })),
      );
      const { metrics } = await engine.forwardBackward(data, { name: "grpo" });
      const learnt = performance.now();
      await engine.optimStep({ learningRate: 1e-5 });
      const end = performance.now();
      const graphs = timer.take();
      // Outside the step: the same data without gradients tell the forward pass from the backward pass.
      await engine.logprobs(data);
      const forward = timer.take().score;
      const { prefill, decode, train, merge = 0 } = graphs;
      return {
        total: seconds(start, end),
        sample: seconds(start, sampled),
        learn: seconds(sampled, learnt),
        parts: {
          prefill,
          decode,
          forward,
          backward: train - forward,
          optimizer: seconds(learnt, end) + merge,
          typescript: seconds(start, learnt) - prefill - decode - train - merge,
        },
        difference: metrics.logprobDifference,
      };
    },
    async close() {
      timer.stop();
      await engine.close();
    },
  };
}

/** `rounds` steps of each side in turn, after one of each that is not counted. */
async function alternate(ours, gemm, peer, rounds, log) {
  const rows = [];
  for (let round = 0; round <= rounds; round++) {
    const before = await gemm.round();
    const own = await ours.step();
    const after = await gemm.round();
    const rate = Math.max(before.gflops, after.gflops);
    const other = await peer?.round();
    log(
      `round ${round}: ours ${own.total.toFixed(1)} s (sampling ${own.sample.toFixed(1)}, learning ` +
        `${own.learn.toFixed(1)})${other ? `, TRL ${other.seconds.toFixed(1)} s` : ""}; matrix products at ` +
        `${rate.toFixed(0)} GFLOP/s (${before.shape})${round === 0 ? " (not counted)" : ""}`,
    );
    if (round > 0) rows.push({ own, other, rate });
  }
  return rows;
}

export async function run(args, log) {
  const threads = numberOption(args, "threads", 2);
  const rounds = numberOption(args, "steps", 3);
  const work = {
    prompts: numberOption(args, "prompts", 8),
    promptTokens: 96,
    groupSize: numberOption(args, "group-size", 8),
    completionTokens: numberOption(args, "completion-tokens", 48),
    loraRank: 16,
  };
  const wanted = textOption(args, "peer-dtype", "both");
  const withPeer = !args.includes("--no-peer") && hasTrl();
  if (!withPeer && !args.includes("--no-peer"))
    log("TRL is not installed (node bench/trl/setup.mjs): only our side runs.");
  const dtypes = withPeer ? (wanted === "both" ? ["float32", "bfloat16"] : [wanted]) : [undefined];
  const { path: gguf } = await pullModel(modelName);
  const ours = await startOurs(work, threads);
  const { hiddenSize, intermediateSize, vocabSize } = ours.config;
  const gemm = await startPeer("The measurement of matrix products", process.execPath, [
    fileURLToPath(new URL("parts/gemm-rate.mjs", import.meta.url)),
    JSON.stringify({ hiddenSize, intermediateSize, vocabSize, threads }),
  ]);
  const all = [];
  const peers = {};
  for (const dtype of dtypes) {
    const microBatch = numberOption(args, "peer-micro-batch", 8);
    const peer = dtype && (await startTrl({ gguf, dtype, threads, work, microBatch }));
    if (dtype) log(`TRL in ${dtype}, micro-batches of ${microBatch}`);
    const rows = await alternate(ours, gemm, peer, rounds, log);
    await peer?.close();
    all.push(...rows);
    if (!dtype) continue;
    peers[dtype] = {
      step_seconds: spread(rows.map(({ other }) => other.seconds)),
      ratio: spread(rows.map(({ own, other }) => other.seconds / own.total)),
      peak_memory_gb: Math.max(...rows.map(({ other }) => other.peak_gb)),
    };
  }
  const peakGb = (process.resourceUsage().maxRSS * 1024) / 1e9;
  await gemm.close();
  await ours.close();
  const flops = neededFlops(ours.config, work);
  const needed = flops.sampling + flops.training;
  const fastest = Object.entries(peers).sort(([, a], [, b]) => a.step_seconds.median - b.step_seconds.median)[0];
  const parts = Object.keys(all[0].own.parts);
  return {
    start_seconds: ours.startSeconds,
    step_seconds: spread(all.map(({ own }) => own.total)),
    sample_seconds: spread(all.map(({ own }) => own.sample)),
    learn_seconds: spread(all.map(({ own }) => own.learn)),
    breakdown_seconds: Object.fromEntries(
      parts.map((part) => [part, Number(median(all.map(({ own }) => own.parts[part])).toFixed(3))]),
    ),
    gemm_gflops: spread(all.map(({ rate }) => rate)),
    needed_tflop: needed / 1e12,
    share_of_processor: spread(all.map(({ own, rate }) => needed / (rate * 1e9) / own.total)),
    logprob_difference: Math.max(...all.map(({ own }) => own.difference)),
    peak_memory_gb: peakGb,
    peers,
    ...(fastest ? { faster_peer: fastest[0], times_faster: fastest[1].ratio } : {}),
  };
}
