// The training of `npm run test:soak`: a random model of two layers, the embedded search engine, one thread.
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createJiti } from "jiti";
import { defineTask, ndcg, train } from "../../dist/index.js";
import { LocalEngine } from "../../dist/engines/local/index.js";
import { LanceDbRecommender } from "../../dist/recommenders/lancedb/index.js";
import { medianOf, slopeOf } from "./trend.mjs";

const { values } = parseArgs({
  options: { steps: { type: "string", default: "10000" }, seed: { type: "string", default: "1" } },
});
const steps = Number(values.steps);
const every = Math.max(1, Math.round(steps / 200));
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

/** Memory after a collection, and what is open, of this process. */
function measure() {
  globalThis.gc();
  const { rss, heapUsed, arrayBuffers, external } = process.memoryUsage();
  // What is resident of this process's own, without the files of libraries that the system maps in and out.
  const own = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"));
  return {
    rss,
    own: own ? Number(own[1]) * 1024 : rss,
    heap: heapUsed,
    arrays: arrayBuffers + external,
    files: readdirSync("/proc/self/fd").length,
    resources: process.getActiveResourcesInfo().length,
  };
}

const recommender = await LanceDbRecommender.fromJsonl(join(folder, "catalogue.jsonl"), {
  text: ["title"],
  indexDir: join(folder, "index"),
});
const engine = await LocalEngine.load(join(folder, "model"), { threads: 1, loraRank: 4 });
const samples = [];
const seconds = [];
const started = performance.now();
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
    ...{ steps, promptsPerStep: 4, groupSize: 4, maxTokens: 4, learningRate: 1e-3, klCoef: 0.01 },
    ...{ evalEvery: Math.ceil(steps / 20), checkpointEvery: Math.ceil(steps / 50), recordHits: 3 },
    onEvent: (event) => {
      if (event.kind !== "step") return;
      const { step } = event.record;
      seconds.push(event.seconds);
      if (step % every !== 0) return;
      samples.push({ step, ...measure() });
      if (step % (10 * every) === 0) {
        const { own, heap, files } = samples.at(-1);
        const ms = 1000 * medianOf(seconds.slice(-10 * every));
        const mb = (bytes) => (bytes / 2 ** 20).toFixed(1);
        console.log(`step ${step}: ${ms.toFixed(1)} ms, ${mb(own)} MB, heap ${mb(heap)} MB, ${files} files open`);
      }
    },
  });
} finally {
  await engine.close();
  await recommender.close();
  await rm(folder, { recursive: true, force: true });
}

// The first fifth is the warm-up: graphs are built, caches fill.
const after = samples.slice(samples.length / 5);
const slope = (name) => (slopeOf(after.map((sample) => [sample.step, sample[name]])) * 1000) / 2 ** 20;
const third = Math.floor(seconds.length / 3);
const growth = medianOf(seconds.slice(-third)) / medianOf(seconds.slice(third, 2 * third));
const open = after.at(-1).files - after[0].files;
const resources = after.at(-1).resources - after[0].resources;
const results = [
  ["memory of the process", `${slope("own").toFixed(3)} MB for 1,000 steps`, slope("own") < 1],
  ["JavaScript heap", `${slope("heap").toFixed(3)} MB for 1,000 steps`, slope("heap") < 1],
  ["typed arrays", `${slope("arrays").toFixed(3)} MB for 1,000 steps`, slope("arrays") < 1],
  ["open files", `${open >= 0 ? "+" : ""}${open}`, open <= 0],
  ["handles", `${resources >= 0 ? "+" : ""}${resources}`, resources <= 2],
  ["step time, last third over second", growth.toFixed(2), growth < 1.25],
];
console.log(`\n${steps} steps in ${((performance.now() - started) / 60_000).toFixed(1)} minutes, after warm-up:`);
for (const [what, figure, isGood] of results) console.log(`${isGood ? "ok    " : "failed"}  ${what}: ${figure}`);
process.exitCode = results.every(([, , isGood]) => isGood) ? 0 : 1;
