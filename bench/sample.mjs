// Sampling against llama.cpp, alternating in the same run on the same GGUF file and threads: 8 prompts of 96 tokens, 8
// completions of exactly 48 tokens each. We compute in float32, llama.cpp with the file's 4-bit weights. Options:
// --rounds N (5), --threads N (2), --no-peer, --prompts N, --group-size N, --completion-tokens N.
import { LocalEngine } from "../dist/engines/local/index.js";
import { loadModel } from "../dist/models/load.js";
import { pullModel } from "../dist/models/pull.js";
import { randomStream } from "../dist/core/random.js";
import { startLlama, wantsLlama } from "./parts/llama-peer.mjs";
import { median, numberOption, spread } from "./parts/statistics.mjs";
import { timeGraphs } from "./parts/time-graphs.mjs";

const promptTokens = 96;

export async function run(args, log) {
  const threads = numberOption(args, "threads", 2);
  const rounds = numberOption(args, "rounds", 5);
  const promptCount = numberOption(args, "prompts", 8);
  const groupSize = numberOption(args, "group-size", 8);
  const completionTokens = numberOption(args, "completion-tokens", 48);
  const { path: gguf } = await pullModel("smollm2-135m-instruct");
  const model = await loadModel(gguf);
  const engine = new LocalEngine(model, { threads });
  const random = randomStream(1, "bench");
  const prompts = Array.from({ length: promptCount }, () =>
    Array.from({ length: promptTokens }, () => 100 + random.nextInt(model.config.vocabSize - 100)),
  );
  const withPeer = wantsLlama(args, log);
  const peer = withPeer ? await startLlama({ gguf, threads, prompts, groupSize, completionTokens }) : undefined;
  const timer = timeGraphs();
  const tokens = promptCount * groupSize * completionTokens;
  const rows = [];
  for (let round = 0; round <= rounds; round++) {
    timer.take();
    const start = performance.now();
    await engine.sample(prompts, {
      n: groupSize,
      maxTokens: completionTokens,
      temperature: 1,
      seed: round,
      ignoreEnd: true,
    });
    const seconds = (performance.now() - start) / 1000;
    const { prefill, decode } = timer.take();
    const other = await peer?.round();
    if (other && other.tokens !== tokens) throw new Error(`llama.cpp gave ${other.tokens} tokens, expected ${tokens}.`);
    log(
      `round ${round}: ours ${seconds.toFixed(2)} s (prefill ${prefill.toFixed(2)}, decode ${decode.toFixed(2)})` +
        (other ? `, llama.cpp ${other.seconds.toFixed(2)} s (prefill ${other.prefill_seconds.toFixed(2)})` : "") +
        (round === 0 ? " (not counted)" : ""),
    );
    if (round > 0) rows.push({ seconds, prefill, decode, other });
  }
  timer.stop();
  await peer?.close();
  const peakGb = (process.resourceUsage().maxRSS * 1024) / 1e9;
  await engine.close();
  return {
    tokens,
    seconds: spread(rows.map((row) => row.seconds)),
    prefill_seconds: spread(rows.map((row) => row.prefill)),
    decode_seconds: spread(rows.map((row) => row.decode)),
    tokens_per_second: tokens / median(rows.map((row) => row.seconds)),
    peak_memory_gb: peakGb,
    ...(withPeer
      ? {
          peer_seconds: spread(rows.map(({ other }) => other.seconds)),
          peer_prefill_seconds: spread(rows.map(({ other }) => other.prefill_seconds)),
          times_faster: spread(rows.map((row) => row.other.seconds / row.seconds)),
          peer_peak_memory_gb: Math.max(...rows.map(({ other }) => other.peak_gb)),
        }
      : {}),
  };
}
