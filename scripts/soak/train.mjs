// The training of `npm run test:soak`: a random model of two layers, the embedded search engine, one thread.
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createJiti } from "jiti";
import { defineTask, ndcg, train } from "../../dist/index.js";
import { LocalEngine } from "../../dist/engines/local/index.js";
import { cached } from "../../dist/recommenders/cached.js";
import { LanceDbRecommender } from "../../dist/recommenders/lancedb/index.js";
import { formatMinutes, medianOf, slopeOf } from "./trend.mjs";

const { values } = parseArgs({
  options: { steps: { type: "string", default: "10000" }, seed: { type: "string", default: "1" } },
});
const steps = Number(values.steps);
if (!(Number.isInteger(steps) && steps >= 50)) throw new Error(`--steps ${values.steps}: expected 50 or more.`);
const { wordLetters, writeTinyModelFolder } = await createJiti(import.meta.url).import(
  "../../test/support/tiny-model-folder.ts",
);

const folder = await mkdtemp(join(tmpdir(), "rec-r1-soak-"));
await writeTinyModelFolder(join(folder, "model"));
const items = wordLetters.flatMap((letter) =>
  Array.from({ length: 50 }, (_, i) => ({ id: `${letter}${i}`, title: `${letter} ${wordLetters[i % 18]}` })),
);
await writeFile(join(folder, "catalogue.jsonl"), items.map((item) => `${JSON.stringify(item)}\n`).join(""));
const examples = wordLetters.map((letter, i) => ({ id: `q${i}`, query: letter.repeat(2), relevant: [`${letter}3`] }));

/** Memory after a collection, in bytes, and what is open, of this process. */
function measure() {
  globalThis.gc();
  const { rss, heapUsed, arrayBuffers, external } = process.memoryUsage();
  // What is resident of this process's own, without the files of libraries that the system maps in and out.
  const own = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"));
  return {
    own: own ? Number(own[1]) * 1024 : rss,
    heap: heapUsed,
    arrays: arrayBuffers + external,
    files: readdirSync("/proc/self/fd").length,
    handles: process.getActiveResourcesInfo().length,
  };
}

const interrupt = new AbortController();
process.once("SIGINT", () => interrupt.abort());
const recommender = cached(
  await LanceDbRecommender.fromJsonl(join(folder, "catalogue.jsonl"), {
    text: ["title"],
    indexDir: join(folder, "index"),
  }),
  // A memory that is full after the warm-up: one that still fills would look like a leak.
  { maxEntries: 500 },
);
const engine = await LocalEngine.load(join(folder, "model"), { threads: 1, loraRank: 4 });
const sampleEvery = Math.max(1, Math.round(steps / 200));
const samples = [];
const wallMs = [];
const cpuMs = [];
const mb = (bytes) => bytes / 2 ** 20;
const started = performance.now();
let cpuBefore = process.cpuUsage();
let toldAt = 0;
try {
  await train({
    task: defineTask({
      name: "soak",
      data: { train: examples, valid: examples },
      prompt: ({ query }) => query,
      reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : -0.5),
      topK: 20,
    }),
    recommender,
    engine,
    runDir: join(folder, "run"),
    seed: Number(values.seed),
    signal: interrupt.signal,
    ...{ steps, promptsPerStep: 4, groupSize: 4, maxTokens: 4, learningRate: 1e-3, klCoef: 0.01 },
    ...{ evalEvery: Math.ceil(steps / 20), checkpointEvery: Math.ceil(steps / 50), recordHits: 3 },
    onEvent: (event) => {
      if (event.kind !== "step") return;
      const { step } = event.record;
      const { user, system } = process.cpuUsage(cpuBefore);
      wallMs.push(1000 * event.seconds);
      cpuMs.push((user + system) / 1000);
      if (step % sampleEvery === 0) samples.push({ step, ...measure() });
      if (performance.now() - toldAt > 10_000 || step === steps) {
        toldAt = performance.now();
        const { own, heap, files, handles } = samples.at(-1) ?? measure();
        console.log(
          `step ${step} of ${steps} (${Math.floor((100 * step) / steps)} %), ${formatMinutes(event.etaSeconds)} left: ` +
            `${medianOf(wallMs.slice(-sampleEvery)).toFixed(0)} ms a step, ${mb(own).toFixed(1)} MB, heap ${mb(heap).toFixed(1)} MB, ` +
            `${files} files and ${handles} handles open, ${recommender.stats.entries} answers remembered`,
        );
      }
      cpuBefore = process.cpuUsage();
    },
  });
} catch (error) {
  if (!interrupt.signal.aborted) throw error;
  console.log(`stopped after ${wallMs.length} steps, without a verdict`);
} finally {
  await engine.close();
  await recommender.close();
  await rm(folder, { recursive: true, force: true });
}
if (interrupt.signal.aborted) process.exit(130);

// The first fifth is the warm-up: graphs are built, memories fill.
const after = samples.slice(samples.length / 5);
const slope = (name) => 1000 * mb(slopeOf(after.map((sample) => [sample.step, sample[name]])));
const tenth = Math.floor(cpuMs.length / 10);
const firstAndLast = (times) => [medianOf(times.slice(0, tenth)), medianOf(times.slice(-tenth))];
const showTimes = (times) =>
  firstAndLast(times)
    .map((ms) => ms.toFixed(1))
    .join(" ms, last tenth ");
const [cpuFirst, cpuLast] = firstAndLast(cpuMs);
const opened = (name) => after.at(-1)[name] - after[0][name];
const signed = (count) => `${count >= 0 ? "+" : ""}${count}`;
const results = [
  ["memory of the process", `${slope("own").toFixed(3)} MB for 1,000 steps`, slope("own") < 1],
  ["JavaScript heap", `${slope("heap").toFixed(3)} MB for 1,000 steps`, slope("heap") < 1],
  ["typed arrays", `${slope("arrays").toFixed(3)} MB for 1,000 steps`, slope("arrays") < 1],
  ["open files", `${after.at(-1).files}, ${signed(opened("files"))} since the warm-up`, opened("files") <= 0],
  ["handles", `${after.at(-1).handles}, ${signed(opened("handles"))} since the warm-up`, opened("handles") <= 2],
  // Other programs on the machine lengthen a step's time, but hardly what the processor has to do for it.
  ["processor time of a step", `first tenth ${showTimes(cpuMs)} ms`, cpuLast < 1.25 * cpuFirst],
];
const isGood = results.every(([, , isFine]) => isFine);
console.log(
  `\n${wallMs.length} steps in ${formatMinutes((performance.now() - started) / 1000)}, after a warm-up of a fifth:`,
);
for (const [what, figure, isFine] of results) console.log(`${isFine ? "ok    " : "failed"}  ${what}: ${figure}`);
console.log(`        time of a step: first tenth ${showTimes(wallMs)} ms`);
console.log(isGood ? "passed" : "failed");
process.exitCode = isGood ? 0 : 1;
