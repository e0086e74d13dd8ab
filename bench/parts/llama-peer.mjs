// The peer of sample and serve: llama.cpp by node-llama-cpp, installed by `npm install --prefix bench/llama-cpp --ignore-scripts`.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { startPeer } from "./line-peer.mjs";

const folder = fileURLToPath(new URL("../llama-cpp/", import.meta.url));

export const hasLlama = () => existsSync(`${folder}node_modules/node-llama-cpp/dist/index.js`);

/** Whether llama.cpp runs as well: it is installed, and `--no-peer` isn't among `args`. Says where it is missing. */
export function wantsLlama(args, log) {
  if (args.includes("--no-peer")) return false;
  if (hasLlama()) return true;
  log("llama.cpp is not installed (npm install --prefix bench/llama-cpp --ignore-scripts): only our side runs.");
  return false;
}

/** Starts the peer. A round is all completions: `{ seconds, prefill_seconds, tokens, peak_gb }`. */
export function startLlama(work) {
  return startPeer("llama.cpp", process.execPath, [`${folder}peer.mjs`, JSON.stringify(work)]);
}
