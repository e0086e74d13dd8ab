import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { cached } from "../../src/recommenders/cached.ts";
import { fromFunction } from "../../src/recommenders/function/index.ts";
import { LanceDbRecommender } from "../../src/recommenders/lancedb/index.ts";
import type { Recommender } from "../../src/recommenders/recommender.ts";
import { describeRecommender, type CatalogueItem } from "./contract.ts";

/** Items by how many of the query's distinct words their titles have. */
function countWords(items: readonly CatalogueItem[]): Recommender {
  const titles = items.map(({ id, title }) => ({ id, words: title.split(" ") }));
  const ids = new Set(items.map(({ id }) => id));
  const search = (text: string, topK: number) => {
    const words = new Set(text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);
    return titles
      .map(({ id, words: own }) => ({ id, score: own.filter((word) => words.has(word)).length }))
      .filter(({ score }) => score > 0)
      .sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1))
      .slice(0, topK);
  };
  return fromFunction(async (queries, { topK }) => queries.map(({ text }) => search(text, topK)), {
    fingerprint: createHash("sha256").update(JSON.stringify(items)).digest("hex"),
    has: (id) => ids.has(id),
  });
}

let indexDir: string;
beforeAll(async () => {
  indexDir = await mkdtemp(join(tmpdir(), "rec-r1-contract-"));
});
afterAll(() => rm(indexDir, { recursive: true, force: true }));

const rowsOf = (items: readonly CatalogueItem[]) => items.map((item) => ({ ...item }));

describeRecommender("lancedb in memory", (items) => LanceDbRecommender.fromRows(rowsOf(items), { text: ["title"] }));
describeRecommender("lancedb on disk", (items) =>
  LanceDbRecommender.fromRows(rowsOf(items), { text: ["title"], indexDir }),
);
describeRecommender("function", (items) => Promise.resolve(countWords(items)));
describeRecommender("cached function", (items) => Promise.resolve(cached(countWords(items))));
describeRecommender("cached lancedb", async (items) =>
  cached(await LanceDbRecommender.fromRows(rowsOf(items), { text: ["title"] })),
);
