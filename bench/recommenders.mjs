// The embedded recommender's searches a second: BM25 over 1,000,000 made-up documents against Lucene 9 on the same documents
// and queries, round by round in the same run; dense search over 200,000 vectors, exact and approximate, with the share of
// the exact answer that the approximate one finds; and the sentence encoder alone. Options: --small (20,000 documents,
// 10,000 vectors: whether it works), --documents N, --vectors N, --queries N (1,024), --rounds N (5), --no-lucene, --no-dense.
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadEncoder } from "../dist/encoders/index.js";
import { startPeer } from "./parts/line-peer.mjs";
import { findLucene, overlap, startLucene } from "./parts/lucene.mjs";
import { numberOption, spread } from "./parts/statistics.mjs";
import { writeCorpus } from "./parts/zipf-corpus.mjs";

const topK = 100;
const batchSize = 256;
const threads = 2;
/** Rounds that are not counted: Java's compiler takes a few thousand queries to do its best. */
const warmupRounds = 3;

const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));

/** Rounds of all peers in turn, after those that are not counted. */
async function measure(peers, queries, rounds, log) {
  const last = {};
  const rates = Object.fromEntries(Object.keys(peers).map((name) => [name, []]));
  for (let round = 1 - warmupRounds; round <= rounds; round++) {
    for (const [name, peer] of Object.entries(peers)) {
      last[name] = await peer.round();
      const rate = queries / last[name].seconds;
      if (round > 0) rates[name].push(rate);
      log(`${name}, round ${round}: ${rate.toFixed(0)} queries/s`);
    }
  }
  for (const peer of Object.values(peers)) await peer.close();
  return { last, rates };
}

async function measureWords(folder, { documents, queries, rounds, withLucene }, log) {
  const paths = { tsv: join(folder, "documents.tsv"), jsonl: join(folder, "documents.jsonl"), queries: join(folder, "queries.txt") }; // prettier-ignore
  log(`writing ${documents} documents`);
  await writeCorpus(paths, { documents, queries });
  const classPath = withLucene ? findLucene(folder, log) : null;
  log("building the indexes");
  const sizes = [String(topK), String(batchSize)];
  const ours = ["words", paths.jsonl, paths.queries, join(folder, "index"), ...sizes];
  const peers = { lancedb: await startPeer("lancedb", process.execPath, [pathOf("parts/lancedb-peer.mjs"), ...ours]) };
  if (classPath) {
    const data = { documents: paths.tsv, queries: paths.queries, folder: join(folder, "lucene") };
    peers.lucene = await startLucene(classPath, { ...data, topK, batchSize, threads });
  }
  const { last, rates } = await measure(peers, queries, rounds, log);
  const result = { documents, queries, topK, batchSize };
  for (const [name, { buildSeconds, peakMegabytes }] of Object.entries(last)) {
    result[name] = {
      queriesPerSecond: spread(rates[name]),
      buildSeconds: Number(buildSeconds.toFixed(1)),
      peakMegabytes,
    };
  }
  if (last.lucene) {
    result.ratio = spread(rates.lancedb.map((rate, i) => rate / rates.lucene[i]));
    result.firstTenInCommon = overlap(last.lancedb.first, last.lucene.first);
  }
  return result;
}

async function measureVectors(folder, { vectors, queries, rounds }, log) {
  const sizes = [String(vectors), String(queries), join(folder, "vectors"), String(topK), String(batchSize)];
  const open = (index) =>
    startPeer(index, process.execPath, [pathOf("parts/lancedb-peer.mjs"), "vectors", index, ...sizes]);
  log(`building indexes of ${vectors} vectors`);
  const { last, rates } = await measure({ exact: await open("exact"), ann: await open("ann") }, queries, rounds, log);
  const result = { vectors, dimensions: 384, queries, topK, batchSize };
  for (const [name, { buildSeconds, peakMegabytes }] of Object.entries(last)) {
    result[name] = {
      queriesPerSecond: spread(rates[name]),
      buildSeconds: Number(buildSeconds.toFixed(1)),
      peakMegabytes,
    };
  }
  result.annRecall = overlap(last.ann.first, last.exact.first);
  return result;
}

/** Queries a second that the default encoder turns into vectors; null where it can't be had. */
async function measureEncoder(queries, rounds, log) {
  const encoder = await loadEncoder().catch((error) => log(`no encoder: ${error.message}`));
  if (!encoder) return null;
  const rates = [];
  for (let round = 0; round <= rounds; round++) {
    const start = performance.now();
    for (let from = 0; from < queries.length; from += batchSize) {
      await encoder.encode(queries.slice(from, from + batchSize), "query");
    }
    if (round > 0) rates.push((queries.length * 1000) / (performance.now() - start));
  }
  await encoder.close();
  return { name: encoder.name, queriesPerSecond: spread(rates) };
}

export async function run(args, log) {
  const isSmall = args.includes("--small");
  const queries = numberOption(args, "queries", isSmall ? 256 : 1024);
  const rounds = numberOption(args, "rounds", isSmall ? 1 : 5);
  const documents = numberOption(args, "documents", isSmall ? 20_000 : 1_000_000);
  const vectors = numberOption(args, "vectors", isSmall ? 10_000 : 200_000);
  const folder = mkdtempSync(join(tmpdir(), "rec-r1-bench-"));
  mkdirSync(join(folder, "index"));
  try {
    const withLucene = !args.includes("--no-lucene");
    const bm25 = await measureWords(folder, { documents, queries, rounds, withLucene }, log);
    if (args.includes("--no-dense")) return { bm25 };
    const dense = await measureVectors(folder, { vectors, queries, rounds }, log);
    const texts = readFileSync(join(folder, "queries.txt"), "utf8").trimEnd().split("\n");
    return { bm25, dense, encoder: await measureEncoder(texts, rounds, log) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
