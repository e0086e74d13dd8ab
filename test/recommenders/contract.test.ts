import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { cached } from "../../src/recommenders/cached.ts";
import { fromFunction } from "../../src/recommenders/function/index.ts";
import { LanceDbRecommender, type LanceDbOptions } from "../../src/recommenders/lancedb/index.ts";
import { HttpRecommender, type HttpOptions } from "../../src/recommenders/http/index.ts";
import { OpenSearchRecommender } from "../../src/recommenders/opensearch/index.ts";
import type { Recommender } from "../../src/recommenders/recommender.ts";
import { rerank } from "../../src/recommenders/rerank/index.ts";
import { indexWords } from "../support/count-words.ts";
import type { LocalServer } from "../support/local-server.ts";
import { startFakeOpenSearch, startJsonApi } from "../support/search-servers.ts";
import { SequentialRecommender, trainSequential } from "../../src/recommenders/sequential/index.ts";
import { writeWordEncoder } from "../support/tiny-encoder.ts";
import { contractWords, describeRecommender, type CatalogueItem } from "./contract.ts";

/** The word index behind a function. */
function countWords(items: readonly CatalogueItem[]): Recommender {
  const index = indexWords(items);
  const answer = (text: string, topK: number) => index.search(text, topK).map(({ id, score }) => ({ id, score }));
  return fromFunction(async (queries, { topK }) => queries.map(({ text }) => answer(text, topK)), {
    fingerprint: createHash("sha256").update(JSON.stringify(items)).digest("hex"),
    has: (id) => index.ids.has(id),
  });
}

/** One server for each catalogue, so that the same items are found at the same address. */
function serve(start: (items: readonly CatalogueItem[]) => Promise<LocalServer>) {
  const servers = new Map<string, Promise<LocalServer>>();
  afterAll(async () => {
    for (const server of servers.values()) await (await server).close();
  });
  return async (items: readonly CatalogueItem[]): Promise<string> => {
    const key = JSON.stringify(items);
    const server = servers.get(key) ?? start(items);
    servers.set(key, server);
    return (await server).url;
  };
}

let indexDir: string;
beforeAll(async () => {
  indexDir = await mkdtemp(join(tmpdir(), "rec-r1-contract-"));
});
afterAll(() => rm(indexDir, { recursive: true, force: true }));

const rowsOf = (items: readonly CatalogueItem[]) => items.map((item) => ({ ...item, shown: true }));

describeRecommender("lancedb in memory", (items) => LanceDbRecommender.fromRows(rowsOf(items), { text: ["title"] }));
describeRecommender("lancedb on disk", (items) =>
  LanceDbRecommender.fromRows(rowsOf(items), { text: ["title"], indexDir }),
);
describeRecommender("lancedb with weights and a filter", (items) =>
  LanceDbRecommender.fromRows([...rowsOf(items), { id: "hidden", title: "red pen", kind: "hidden" }], {
    text: { title: 2 },
    filterFields: { kind: "string", shown: "boolean" },
    filter: { shown: true },
  }),
);

const likeness = { "gives fewer than topK where fewer match, and one where one is asked for": "every item is a little like any text" }; // prettier-ignore
const vectorSkips = {
  ...likeness,
  "finds nothing for words that no item has": "an unknown word, too, has a vector",
  "takes query text for plain text, never for syntax": "an encoder reads punctuation as part of the text",
};
let wordEncoder: string;
beforeAll(async () => {
  wordEncoder = await mkdtemp(join(tmpdir(), "rec-r1-contract-encoder-"));
  await writeWordEncoder(wordEncoder, contractWords);
});
afterAll(() => rm(wordEncoder, { recursive: true, force: true }));
for (const search of ["dense", "hybrid"] as const) {
  const open = (items: readonly CatalogueItem[], options: Partial<LanceDbOptions> = {}) =>
    LanceDbRecommender.fromRows(rowsOf(items), { text: ["title"], search, encoder: wordEncoder, ...options });
  describeRecommender(`lancedb, ${search}`, (items) => open(items), vectorSkips);
  describeRecommender(`lancedb, ${search}, on disk`, (items) => open(items, { indexDir }), vectorSkips);
}

describeRecommender(
  "sequential, ordered by words",
  async (items) => {
    const catalogue = join(indexDir, `items-${items.length}.jsonl`);
    await writeFile(catalogue, items.map((item) => `${JSON.stringify(item)}\n`).join(""));
    const ids = items.map(({ id }) => id);
    const train = ids.slice(5).map((target, i) => ({ history: ids.slice(i, i + 5), target }));
    const model = await trainSequential({ items: ids, train, epochs: 1, hiddenSize: 8, blocks: 1, heads: 1 });
    return SequentialRecommender.open(model, catalogue, { wordWeight: 1000 });
  },
  {
    ...likeness,
    "takes query text for plain text, never for syntax": "each line of a text is an item, as documented",
  },
);
describeRecommender("function", (items) => Promise.resolve(countWords(items)));
describeRecommender("cached function", (items) => Promise.resolve(cached(countWords(items))));
describeRecommender("cached lancedb", async (items) =>
  cached(await LanceDbRecommender.fromRows(rowsOf(items), { text: ["title"] })),
);

const noIds = { "knows which ids there are": "an API can't be asked for ids in general" };
const api = serve(startJsonApi);
const reply = { hits: "$.results[*]", id: "$.sku", score: "$.rank.score", payload: { title: "$.title" } };
const openHttp = async (
  items: readonly CatalogueItem[],
  options: (url: string) => Pick<HttpOptions, "url" | "body">,
) => {
  const url = await api(items);
  return HttpRecommender.open({ ...reply, ...options(url), fingerprint: { url: `${url}/version`, path: "$.build" } });
};
describeRecommender(
  "http by GET",
  (items) => openHttp(items, (url) => ({ url: `${url}/search?q={{query}}&n={{topK}}` })),
  { ...noIds, "takes any text without failing": "100,000 characters don't fit into an address" },
);
describeRecommender(
  "http by POST",
  (items) => openHttp(items, (url) => ({ url: `${url}/search`, body: { q: "{{query}}", n: "{{topK}}" } })),
  noIds,
);
describeRecommender(
  "http in batches",
  async (items) => {
    const url = await api(items);
    const body = { qs: "{{queries}}", n: "{{topK}}" };
    return HttpRecommender.open({
      ...reply,
      url: `${url}/batch`,
      body,
      answers: "$.answers[*]",
      fingerprint: { url: `${url}/version` },
    });
  },
  noIds,
);

const fake = serve(startFakeOpenSearch);
const openFake = async (items: readonly CatalogueItem[]) =>
  OpenSearchRecommender.open({ node: await fake(items), index: "items", query: { match: { title: "{{query}}" } } });
describeRecommender("opensearch's client", openFake);
describeRecommender("cached opensearch's client", async (items) => cached(await openFake(items)));

describeRecommender("rerank by order", (items) =>
  Promise.resolve(rerank({ candidates: countWords(items), by: "order" })),
);
describeRecommender("rerank by description", (items) =>
  Promise.resolve(rerank({ candidates: countWords(items), by: "description" })),
);
