/**
 * Against a real OpenSearch. `npm run test:opensearch` starts one and says where it is in REC_R1_TEST_OPENSEARCH; without
 * it there is nothing to test against, and the suite is skipped.
 */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
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
