// llama.cpp (node-llama-cpp, its prebuilt processor binary) on the work of bench/sample, one round for each line "go" on
// standard input. Reports seconds and this process's peak memory as lines of JSON.
//
// Batched as well as it can: all completions are sequences of one context and are decoded together; a prompt is computed
// once, in its first sequence, and its state is loaded into the others.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { loadModel } from "./load-model.mjs";

const { gguf, threads, prompts, groupSize, completionTokens } = JSON.parse(process.argv[2]);
const report = (values) => process.stdout.write(`${JSON.stringify(values)}\n`);
const model = await loadModel(gguf, threads);
const sequenceCount = prompts.length * groupSize;
const context = await model.createContext({
  sequences: sequenceCount,
  contextSize: prompts[0].length + completionTokens + 8,
  batchSize: 512,
  threads,
});
const sequences = Array.from({ length: sequenceCount }, () => context.getSequence());
const folder = mkdtempSync(join(tmpdir(), "rec-r1-llama-"));

async function generate(sequence, lastToken, seed) {
  const tokens = [];
  const options = { temperature: 1, topK: 0, topP: 1, minP: 0, seed, yieldEogToken: true };
  for await (const token of sequence.evaluate([lastToken], options)) {
    tokens.push(token);
    if (tokens.length === completionTokens) break;
  }
  return tokens.length;
}

async function round(seed) {
  const start = performance.now();
  await Promise.all(sequences.map((sequence) => sequence.clearHistory()));
  await Promise.all(
    prompts.map(async (prompt, p) => {
      const first = sequences[p * groupSize];
      await first.evaluateWithoutGeneratingNewTokens(prompt.slice(0, -1));
      if (groupSize === 1) return;
      const path = join(folder, `${p}.state`);
      await first.saveStateToFile(path);
      for (let i = 1; i < groupSize; i++) {
        await sequences[p * groupSize + i].loadStateFromFile(path, { acceptRisk: true });
      }
    }),
  );
  const prefilled = performance.now();
  const counts = await Promise.all(
    sequences.map((sequence, i) => generate(sequence, prompts[Math.floor(i / groupSize)].at(-1), 1 + seed * 1000 + i)),
  );
  const end = performance.now();
  return {
    seconds: (end - start) / 1000,
    prefill_seconds: (prefilled - start) / 1000,
    tokens: counts.reduce((a, b) => a + b, 0),
    peak_gb: (process.resourceUsage().maxRSS * 1024) / 1e9,
  };
}

report({ ready: true });
let rounds = 0;
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== "go") break;
  report(await round(rounds++));
}
rmSync(folder, { recursive: true, force: true });
process.exit(0);
