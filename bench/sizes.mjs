// What a step of a given shape sends, receives and writes, in bytes: messages and records of that shape are made by the
// package's own encoders and measured. Options: --prompts N (32), --group-size N (12), --prompt-tokens N (200),
// --completion-tokens N (512), --lora-rank N (16), --search-seconds N (10).
import { chunkData } from "../dist/engines/tinker/chunk-data.js";
import { findServerLoss, toServerDatum } from "../dist/engines/tinker/express-loss.js";
import * as protobuf from "../dist/engines/tinker/protobuf.js";
import { toForwardBackwardJson } from "../dist/engines/tinker/wire.js";
import { resolveLoss } from "../dist/engines/loss-settings.js";
import { toRolloutRecords } from "../dist/rl/rollout.js";
import { toJsonLine } from "../dist/core/json-lines.js";
import { randomStream } from "../dist/index.js";
import { numberOption } from "./parts/statistics.mjs";

/** Shapes of Qwen2.5-3B: 36 layers, hidden size 2048, feed-forward 11008, keys and values 256 wide. */
const layers = 36;
const projections = [
  [2048, 2048],
  [2048, 256],
  [2048, 256],
  [2048, 2048],
  [2048, 11_008],
  [2048, 11_008],
  [11_008, 2048],
];
const vocabulary = 151_936;
const parameters = 3.086e9;
/** The API's defaults, which rec-r1 keeps to. */
const limits = { chunkData: 1024, chunkBytes: 5_000_000 };
/** Characters of a token of English, about. */
const charactersPerToken = 4.2;

export async function run(args, say) {
  const prompts = numberOption(args, "prompts", 32);
  const groupSize = numberOption(args, "group-size", 12);
  const promptTokens = numberOption(args, "prompt-tokens", 200);
  const completionTokens = numberOption(args, "completion-tokens", 512);
  const loraRank = numberOption(args, "lora-rank", 16);
  const searchSeconds = numberOption(args, "search-seconds", 10);
  const rollouts = prompts * groupSize;
  const random = randomStream(0, "sizes");
  const ids = (length) => Array.from({ length }, () => random.nextInt(vocabulary));
  const logprobs = (length) => Float32Array.from({ length }, () => -3 * random.next());

  const loss = { name: "grpo" };
  const shape = resolveLoss(loss);
  const serverLoss = findServerLoss(shape, "sum");
  const datum = {
    prompt: ids(promptTokens),
    completion: ids(completionTokens),
    oldLogprobs: logprobs(completionTokens),
    advantage: 0.731,
  };
  const weights = Float64Array.from({ length: completionTokens }, () => 1 / rollouts / completionTokens);
  const wire = toServerDatum(datum, loss, serverLoss, weights);
  const [chunk] = chunkData(
    Array.from({ length: rollouts }, () => wire),
    limits,
  );
  const pass = (data) => ({ modelId: "m", seqId: 1, data, forwardOnly: false, lossFn: "ppo", lossFnConfig: {} });
  // One message more or less costs what a datum does.
  const bytesOfDatum = (encode) => encode([wire, wire]) - encode([wire]);
  const sent = bytesOfDatum((data) => protobuf.encodeForwardBackward(pass(data)).length);
  const sentJson = bytesOfDatum((data) => JSON.stringify(toForwardBackwardJson(pass(data)).body).length);
  const tokens = wire.tokens.length;
  const received = bytesOfDatum(
    (data) =>
      protobuf.encodeForwardBackwardReply({
        outputs: data.map(() => ({ logprobs: logprobs(tokens), elementwise_loss: logprobs(tokens) })),
        metrics: {},
      }).length,
  );
  const sampled = protobuf.encodeSampleReply({
    sequences: Array.from({ length: groupSize }, () => ({
      stopReason: "length",
      tokens: ids(completionTokens),
      logprobs: logprobs(completionTokens),
    })),
    promptLogprobs: null,
  }).length;

  const text = "a word ".repeat(Math.ceil((charactersPerToken * completionTokens) / 7));
  const sample = { ids: datum.completion, logprobs: datum.oldLogprobs, text, stopReason: "length" };
  const turn = {
    sample,
    query: text.slice(0, 60),
    hits: Array.from({ length: 100 }, (_, i) => ({ id: `B0000000${i}`, score: 1 })),
  };
  const rollout = { ...turn, reward: 0.25, parts: {}, turns: [turn] };
  const group = { example: { id: "q1" }, rollouts: [rollout] };
  const [record] = toRolloutRecords(group, { step: 1, advantages_G: [0.731], recordHits: 10 });
  const recorded = toJsonLine(record).length;

  const adapter = layers * projections.reduce((sum, [input, output]) => sum + loraRank * (input + output), 0);
  const operations = 6 * parameters * rollouts * (promptTokens + completionTokens);
  say(`a datum of ${promptTokens} + ${completionTokens} tokens: ${sent} bytes sent as protobuf, ${sentJson} as JSON`);
  return {
    rollouts,
    completion_tokens: rollouts * completionTokens,
    searches: rollouts,
    searches_per_second: rollouts / searchSeconds,
    sample_requests: prompts,
    train_requests: Math.ceil(rollouts / chunk.length),
    sampled_mb: (prompts * sampled) / 1e6,
    train_sent_mb: (rollouts * sent) / 1e6,
    train_sent_json_mb: (rollouts * sentJson) / 1e6,
    train_received_mb: (rollouts * received) / 1e6,
    rollouts_written_mb: (rollouts * recorded) / 1e6,
    adapter_parameters_millions: adapter / 1e6,
    adapter_bfloat16_mb: (2 * adapter) / 1e6,
    saved_state_float32_mb: (3 * 4 * adapter) / 1e6,
    saved_state_all_weights_gb: (3 * 4 * parameters) / 1e9,
    training_operations: operations,
    training_gpu_seconds_at_125_tflops: operations / 125e12,
  };
}
