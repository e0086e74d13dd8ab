// The peer of sample: llama.cpp by node-llama-cpp, installed by `npm install --prefix bench/llama-cpp --ignore-scripts`.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { startPeer } from "./line-peer.mjs";

const folder = fileURLToPath(new URL("../llama-cpp/", import.meta.url));

export const hasLlama = () => existsSync(`${folder}node_modules/node-llama-cpp`);

/** Starts the peer. A round is all completions: `{ seconds, prefill_seconds, tokens, peak_gb }`. */
export function startLlama(work) {
  return startPeer("llama.cpp", process.execPath, [`${folder}peer.mjs`, JSON.stringify(work)]);
}
