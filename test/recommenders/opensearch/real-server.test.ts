/**
 * Against a real OpenSearch. `npm run test:opensearch` starts one and says where it is in REC_R1_TEST_OPENSEARCH; without
 * it there is nothing to test against, and the suite is skipped.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { loadTask } from "../../../src/cli/load-task.ts";
import { evaluateQueries } from "../../../src/eval/evaluate.ts";
import { ndcg } from "../../../src/ranking/index.ts";
import { OpenSearchRecommender, type OpenSearchOptions } from "../../../src/recommenders/opensearch/index.ts";
import { contractItems, describeRecommender, type CatalogueItem } from "../contract.ts";

const url = process.env.REC_R1_TEST_OPENSEARCH ?? "";

async function call(method: string, path: string, body?: string): Promise<Record<string, unknown>> {
  const type = path.includes("_bulk") ? "application/x-ndjson" : "application/json";
  const response = await fetch(`${url}${path}`, {
    method,
    ...(body === undefined ? {} : { body, headers: { "content-type": type } }),
  });
  const json = (await response.json()) as Record<string, unknown>;
  if (!response.ok || json.errors === true) throw new Error(`${method} ${path}: ${JSON.stringify(json).slice(0, 500)}`);
  return json;
}

/** The index of these items, made where it isn't there: the same items are the same index. */
async function createIndex(items: readonly CatalogueItem[]): Promise<string> {
  const index = `items-${createHash("sha256").update(JSON.stringify(items)).digest("hex").slice(0, 16)}`;
  const exists = await fetch(`${url}/${index}`, { method: "HEAD" });
  if (exists.ok) return index;
  await call(
    "PUT",
    `/${index}`,
    JSON.stringify({
      settings: { number_of_shards: 2, number_of_replicas: 0 },
      mappings: { properties: { title: { type: "text" }, id: { type: "keyword" } } },
    }),
  );
  const lines = items.flatMap((item) => [{ index: { _id: item.id } }, item]);
  await call("POST", `/${index}/_bulk?refresh=true`, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  return index;
}

async function open(items: readonly CatalogueItem[], options: Partial<OpenSearchOptions> = {}) {
  return OpenSearchRecommender.open({
    node: url,
    index: await createIndex(items),
    query: { match: { title: "{{query}}" } },
    tieBreaker: "id",
    searchType: "dfs_query_then_fetch",
    payload: ["title"],
    timeoutMs: 60_000,
    ...options,
  });
}

describe.skipIf(url === "")("a real OpenSearch (skipped unless npm run test:opensearch started one)", () => {
  describeRecommender("opensearch", (items) => open(items));

  it("answers match, multi_match and bool queries with what they ask for", async () => {
    const queries: OpenSearchOptions["query"][] = [
      { match: { title: { query: "{{query}}", operator: "and" } } },
      { multi_match: { query: "{{query}}", fields: ["title^2", "id"], type: "best_fields", operator: "and" } },
      { bool: { must: [{ match: { title: "{{query}}" } }], filter: [{ prefix: { id: "red-pen" } }] } },
    ];
    for (const query of queries) {
      const recommender = await open(contractItems, { query: query as NonNullable<typeof query> });
      const [hits] = await recommender.search([{ text: "red pen" }], { topK: 100 });
      expect(hits).toHaveLength(10);
      expect(hits?.[0]?.payload).toEqual({ title: "red pen" });
      expect(
        ndcg(
          hits ?? [],
          Array.from({ length: 10 }, (_, i) => `red-pen-${i}`),
          { k: 10 },
        ),
      ).toBe(1);
      await recommender.close();
    }
  });

  it("refuses what it can't read, by its reason, and asks for too many hits once", async () => {
    const wrong = await open(contractItems, { query: { mach: { title: "{{query}}" } } });
    await expect(wrong.search([{ text: "pen" }], { topK: 5 })).rejects.toMatchObject({
      code: "RECOMMENDER_HTTP_STATUS",
      status: 400,
      retryable: false,
      message: expect.stringContaining("mach") as string,
    });
    const deep = await open(contractItems);
    await expect(deep.search([{ text: "pen" }], { topK: 20_000 })).rejects.toMatchObject({
      message: expect.stringContaining("Result window is too large") as string,
    });
    const gone = await open(contractItems, { index: "no-such-index" });
    await expect(gone.search([{ text: "pen" }], { topK: 5 })).rejects.toMatchObject({ status: 404 });
    await expect(gone.fingerprint()).rejects.toMatchObject({ status: 404 });
    await Promise.all([wrong.close(), deep.close(), gone.close()]);
  });

  describe("with vectors", () => {
    const index = "vectors";
    const pipeline = "mix";
    /** A text's vector: how far it is about writing, and how far about sitting. */
    const embed = (texts: readonly string[]) =>
      Promise.resolve(texts.map((text) => [/pen|write/.test(text) ? 1 : 0.1, /sofa|sit/.test(text) ? 1 : 0.1]));
    const items = ["red pen", "blue pen", "sofa", "sofa table"].map((title, i) => ({ id: `${i}`, title }));
    beforeAll(async () => {
      const vector = { type: "knn_vector", dimension: 2, method: { name: "hnsw", engine: "lucene", space_type: "l2" } };
      await fetch(`${url}/${index}`, { method: "DELETE" });
      await call(
        "PUT",
        `/${index}`,
        JSON.stringify({
          settings: { "index.knn": true, number_of_shards: 1, number_of_replicas: 0 },
          mappings: { properties: { title: { type: "text" }, id: { type: "keyword" }, vector } },
        }),
      );
      const vectors = await embed(items.map(({ title }) => title));
      const lines = items.flatMap((item, i) => [{ index: { _id: item.id } }, { ...item, vector: vectors[i] }]);
      await call("POST", `/${index}/_bulk?refresh=true`, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
      const combination = { technique: "arithmetic_mean", parameters: { weights: [0.3, 0.7] } };
      const processor = { normalization: { technique: "min_max" }, combination };
      const body = { phase_results_processors: [{ "normalization-processor": processor }] };
      await call("PUT", `/_search/pipeline/${pipeline}`, JSON.stringify(body));
    });
    const knn = { knn: { vector: { vector: "{{vector}}", k: "{{topK}}" } } } as const;
    const openVectors = (options: Partial<OpenSearchOptions>) =>
      OpenSearchRecommender.open({ node: url, index, embed, payload: ["title"], timeoutMs: 60_000, ...options });

    it("answers knn queries by the texts' vectors", async () => {
      const recommender = await openVectors({ query: knn, tieBreaker: "id" });
      const answers = await recommender.search(
        ["something to write with", "somewhere to sit"].map((text) => ({ text })),
        { topK: 2 },
      );
      expect(answers.map((hits) => hits.map(({ id }) => id))).toEqual([["0", "1"], ["2", "3"]]); // prettier-ignore
      await recommender.close();
    });

    it("answers hybrid queries by words and vectors", async () => {
      const query = { hybrid: { queries: [{ match: { title: "{{query}}" } }, knn] } };
      const recommender = await openVectors({ query, body: { search_pipeline: pipeline } });
      const [hits] = await recommender.search([{ text: "blue, to write" }], { topK: 4 });
      expect(hits?.map(({ id }) => id).slice(0, 2)).toEqual(["1", "0"]);
      expect(hits?.[0]).toEqual({ id: "1", score: expect.closeTo(1, 3) as number, payload: { title: "blue pen" } });
      const [quoted] = await recommender.search([{ text: 'blue, to write"}}]}}' }], { topK: 4 });
      expect(quoted).toEqual(hits);
      await recommender.close();
    });

    it("says that hybrid queries can't have their ties settled", async () => {
      const query = { hybrid: { queries: [{ match: { title: "{{query}}" } }, knn] } };
      const recommender = await openVectors({ query, body: { search_pipeline: pipeline }, tieBreaker: "id" });
      await expect(recommender.search([{ text: "pen" }], { topK: 4 })).rejects.toMatchObject({ status: 400 });
      await recommender.close();
    });
  });

  it("has the example's icons, and its task", async () => {
    const examples = join(import.meta.dirname, "../../../examples/opensearch");
    await promisify(execFile)(process.execPath, [join(examples, "load.mjs"), url]);
    process.env.OPENSEARCH_URL = url;
    const { task, openRecommender } = await loadTask(join(examples, "task.ts"), { data: undefined });
    const recommender = await openRecommender();
    const named = await evaluateQueries({
      ...{ task, recommender, split: "test", limit: 50 },
      queryOf: (icon) => (icon as { relevant: string[] }).relevant[0]?.replaceAll("-", " ") ?? null,
    });
    expect(named.counts.failed).toBe(0);
    expect(named.means["ndcg@10"]).toBeGreaterThan(0.5);
    await recommender.close();
  });

  it("has another fingerprint after every write", async () => {
    const items = contractItems.slice(0, 7);
    const recommender = await open(items);
    const index = await createIndex(items);
    const seen = [await recommender.fingerprint()];
    const title = JSON.stringify({ doc: { title: "yellow pen" } });
    await call("POST", `/${index}/_update/${items[0]?.id}?refresh=true`, title);
    seen.push(await recommender.fingerprint());
    await call("DELETE", `/${index}/_doc/${items[1]?.id}?refresh=true`);
    seen.push(await recommender.fingerprint());
    await call("PUT", `/${index}/_mapping`, JSON.stringify({ properties: { colour: { type: "keyword" } } }));
    seen.push(await recommender.fingerprint());
    expect(new Set(seen).size).toBe(4);
    expect(await recommender.fingerprint()).toBe(seen.at(-1));
    await recommender.close();
  });
});
