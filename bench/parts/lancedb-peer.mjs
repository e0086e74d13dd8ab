// Our embedded search in a process of its own, so that its memory can be told: words or vectors, by the first argument.
// Prints {"ready": true}; then answers each line "go" with one JSON line of a round.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { randomStream } from "../../dist/core/random.js";
import { LanceDbRecommender } from "../../dist/recommenders/lancedb/index.js";

const [kind, ...args] = process.argv.slice(2);

/** Largest resident set so far in megabytes, by the kernel. */
function peakMegabytes() {
  return Math.round(process.resourceUsage().maxRSS / 1024);
}

/** Asks `queries` in batches and tells the time and the first ten ids of each answer. */
async function askAll(recommender, queries, topK, batchSize) {
  const start = performance.now();
  const first = [];
  for (let from = 0; from < queries.length; from += batchSize) {
    const batch = queries.slice(from, from + batchSize).map((text) => ({ text }));
    for (const hits of await recommender.search(batch, { topK })) first.push(hits.map(({ id }) => id));
  }
  return { seconds: (performance.now() - start) / 1000, first };
}

async function openWords([catalogue, queriesPath, indexDir, topK, batchSize]) {
  const start = performance.now();
  const recommender = await LanceDbRecommender.fromJsonl(catalogue, { text: ["text"], store: [], indexDir });
  const buildSeconds = (performance.now() - start) / 1000;
  const queries = readFileSync(queriesPath, "utf8").trimEnd().split("\n");
  return async () => {
    const { seconds, first } = await askAll(recommender, queries, Number(topK), Number(batchSize));
    return { seconds, buildSeconds, peakMegabytes: peakMegabytes(), first: first.map((ids) => ids.slice(0, 10)) };
  };
}

/**
 * Vectors as sentence encoders make them: of few degrees of freedom, in clusters. 32 hidden numbers around one of 500
 * centres, spread over 384 by a fixed matrix. The encoder's own time is not part of this measurement.
 */
function madeUpEncoder() {
  const [hidden, dimensions, centres] = [32, 384, 500];
  const gaussian = (random) => Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
  const draw = (count, ...address) => {
    const random = randomStream(3, ...address);
    return Float32Array.from({ length: count }, () => gaussian(random));
  };
  const matrix = draw(hidden * dimensions, "matrix");
  const middle = draw(hidden * centres, "centres");
  return {
    name: "made-up",
    dimensions,
    fingerprint: "made-up-1",
    async encode(texts) {
      const vectors = new Float32Array(texts.length * dimensions);
      texts.forEach((text, i) => {
        const centre = randomStream(4, text).nextInt(centres);
        const noise = draw(hidden, "text", text);
        const out = vectors.subarray(i * dimensions, (i + 1) * dimensions);
        for (let h = 0; h < hidden; h++) {
          const value = middle[centre * hidden + h] + 0.6 * noise[h];
          for (let d = 0; d < dimensions; d++) out[d] += value * matrix[h * dimensions + d];
        }
        const length = Math.hypot(...out);
        for (let d = 0; d < dimensions; d++) out[d] /= length;
      });
      return vectors;
    },
    async close() {},
  };
}

async function openVectors([index, count, queryCount, indexDir, topK, batchSize]) {
  const rows = Array.from({ length: Number(count) }, (_, i) => ({ id: `v${i}`, text: `vector ${i}` }));
  const start = performance.now();
  const recommender = await LanceDbRecommender.fromRows(rows, {
    text: ["text"],
    store: [],
    indexDir,
    search: "dense",
    encoder: madeUpEncoder(),
    vectors: { index },
  });
  const buildSeconds = (performance.now() - start) / 1000;
  const queries = Array.from({ length: Number(queryCount) }, (_, i) => `query ${i}`);
  return async () => {
    const { seconds, first } = await askAll(recommender, queries, Number(topK), Number(batchSize));
    return { seconds, buildSeconds, peakMegabytes: peakMegabytes(), first };
  };
}

const round = await (kind === "words" ? openWords(args) : openVectors(args));
process.stdout.write('{"ready":true}\n');
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "go") process.stdout.write(`${JSON.stringify(await round())}\n`);
}
process.exit(0);
