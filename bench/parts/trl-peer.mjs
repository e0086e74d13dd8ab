// The peer of grpo-step as a process that does one step when asked.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../trl/", import.meta.url));

/** Whether bench/trl/setup.mjs has made the peer's environment. */
export const hasTrl = () => existsSync(`${folder}.venv/bin/python`);

/** Starts the peer. `step()` runs one step and resolves to `{ seconds, peak_gb }`. */
export async function startTrl({ gguf, dtype, threads, work, microBatch }) {
  const args = {
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
  const flags = Object.entries(args).flatMap(([key, value]) => [`--${key}`, String(value)]);
  const child = spawn(`${folder}.venv/bin/python`, [`${folder}peer.py`, ...flags], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, OMP_NUM_THREADS: String(threads) },
  });
  let errors = "";
  child.stderr.on("data", (chunk) => (errors = (errors + String(chunk)).slice(-4000)));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`TRL ended early:\n${errors}`);
    return JSON.parse(value);
  };
  await next();
  return {
    async step() {
      child.stdin.write("go\n");
      return next();
    },
    async close() {
      child.stdin.end();
      if (child.exitCode === null) await new Promise((resolve) => child.once("exit", resolve));
    },
  };
}
