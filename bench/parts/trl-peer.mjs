// The peer of grpo-step: TRL's GRPOTrainer.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { startPeer } from "./line-peer.mjs";

const folder = fileURLToPath(new URL("../trl/", import.meta.url));

/** Whether bench/trl/setup.mjs has made the peer's environment. */
export const hasTrl = () => existsSync(`${folder}.venv/bin/python`);

/** Starts the peer. A round is one step: `{ seconds, peak_gb }`. */
export function startTrl({ gguf, dtype, threads, work, microBatch }) {
  const options = {
    gguf,
    dtype,
    threads,
    prompts: work.prompts,
    "prompt-tokens": work.promptTokens,
    "group-size": work.groupSize,
    "completion-tokens": work.completionTokens,
    "micro-batch": microBatch,
    rank: work.loraRank,
  };
  const flags = Object.entries(options).flatMap(([key, value]) => [`--${key}`, String(value)]);
  const env = { OMP_NUM_THREADS: String(threads) };
  return startPeer("TRL", `${folder}.venv/bin/python`, [`${folder}peer.py`, ...flags], env);
}
