import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { openRecommender, openRecommenderFile } from "../../src/cli/recommender-settings.ts";
import { runCli } from "../../src/cli/run-cli.ts";
import type { LocalServer } from "../support/local-server.ts";
import { startFakeOpenSearch, startJsonApi } from "../support/search-servers.ts";

const items = ["red pen", "blue pen", "red paper"].map((title) => ({ id: title.replace(" ", "-"), title }));
let folder: string;
let api: LocalServer;
let cluster: LocalServer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-settings-"));
  api = await startJsonApi(items);
  cluster = await startFakeOpenSearch(items);
  await writeFile(join(folder, "catalogue.jsonl"), items.map((item) => `${JSON.stringify(item)}\n`).join(""));
});
afterAll(async () => {
  await Promise.all([api.close(), cluster.close(), rm(folder, { recursive: true, force: true })]);
});

const http = () => ({
  kind: "http",
  url: `${api.url}/search`,
  body: { q: "{{query}}", n: "{{topK}}" },
  hits: "$.results[*]",
  id: "$.sku",
  score: "$.rank.score",
});
const opensearch = () => ({
  kind: "opensearch",
  node: cluster.url,
  index: "items",
  query: { match: { title: "{{query}}" } },
});
const lancedb = () => ({ kind: "lancedb", catalogue: "catalogue.jsonl", text: ["title"], indexDir: "memory://" });
const place = (environment?: Record<string, string>) => ({
  source: "search.json",
  folder,
  ...(environment ? { environment } : {}),
});

describe("recommenders by name", () => {
  it.each([
    ["http", http],
    ["opensearch", opensearch],
    ["lancedb", lancedb],
    ["rerank", () => ({ kind: "rerank", by: "description", candidates: http(), describedBy: opensearch() })],
  ])("%s", async (_, settings) => {
    const recommender = await openRecommender(settings(), place());
    const [hits] = await recommender.search([{ text: "blue pen" }], { topK: 2 });
    expect(hits?.[0]?.id).toBe("blue-pen");
    expect(await recommender.fingerprint()).not.toBe("");
    await recommender.close();
  });

  it("are held to a catalogue, where one is named", async () => {
    const settings = { ...http(), catalogue: { file: "catalogue.jsonl" } };
    const recommender = await openRecommender(settings, place());
    expect([await recommender.has?.("red-pen"), await recommender.has?.("green-pen")]).toEqual([true, false]);
    await writeFile(join(folder, "small.jsonl"), '{"id": "red-pen"}\n');
    const small = await openRecommender({ ...settings, catalogue: { file: "small.jsonl" } }, place());
    await expect(small.search([{ text: "paper" }], { topK: 5 })).rejects.toMatchObject({
      code: "RECOMMENDER_UNKNOWN_ID",
    });
    await Promise.all([recommender.close(), small.close()]);
  });

  it("take secrets from the environment, and only there", async () => {
    const settings = { ...http(), headers: { authorization: "Bearer ${SHOP_TOKEN}" } };
    const recommender = await openRecommender(settings, place({ SHOP_TOKEN: "abc" }));
    await recommender.search([{ text: "pen" }], { topK: 1 });
    expect(api.received.at(-1)?.headers.authorization).toBe("Bearer abc");
    await expect(openRecommender(settings, place({}))).rejects.toMatchObject({
      code: "NO_SECRET",
      message: "search.json: the environment variable SHOP_TOKEN isn't set.",
    });
    const auth = { username: "me", password: "${PASSWORD}" };
    const guarded = await openRecommender({ ...opensearch(), auth }, place({ PASSWORD: "x" }));
    await guarded.search([{ text: "pen" }], { topK: 1 });
    expect(cluster.received.at(-1)?.headers.authorization).toBe(`Basic ${Buffer.from("me:x").toString("base64")}`);
    await Promise.all([recommender.close(), guarded.close()]);
  });

  it.each<[string, unknown, RegExp]>([
    ["no kind", {}, /kind is missing; expected one of lancedb, http, opensearch, rerank/],
    ["a kind misspelt", { kind: "open-search" }, /Did you mean "opensearch"\?/],
    ["a key misspelt", { ...({ kind: "http", url: "x", hits: "$" } as object), hit: 1 }, /"http": .*hit/],
    ["a key missing", { kind: "opensearch", node: "http://127.0.0.1:1" }, /"opensearch": index:/],
    ["a value of the wrong type", { kind: "http", url: 7, hits: "$" }, /url: .*string/],
    ["a list", [], /kind is missing/],
    ["nothing", null, /kind is missing/],
  ])("with %s are refused", async (_, settings, message) => {
    await expect(openRecommender(settings, place())).rejects.toThrowError(message);
  });

  it("come from a file, whose faults are named", async () => {
    const path = join(folder, "search.json");
    await writeFile(path, "\uFEFF" + JSON.stringify(lancedb()));
    await (await openRecommenderFile(path)).close();
    await writeFile(path, "{kind: http}");
    await expect(openRecommenderFile(path)).rejects.toMatchObject({ code: "BAD_RECOMMENDER" });
    await expect(openRecommenderFile(join(folder, "none.json"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("rec-r1 search", () => {
  it("shows what a recommender answers", async () => {
    const path = join(folder, "shop.json");
    await writeFile(path, JSON.stringify({ ...http(), payload: { title: "$.title" } }));
    let stdout = "";
    const spy = vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
      stdout += String(chunk);
      return true;
    });
    const code = await runCli(["search", path, "red paper", "zebra", "--top", "2"]);
    const asJson = await runCli(["search", path, "red paper", "--json"]);
    spy.mockRestore();
    expect([code, asJson]).toEqual([0, 0]);
    expect(stdout).toContain("red paper\n    2.00  red-paper  red paper\n    1.00  red-pen  red pen\n");
    expect(stdout).toMatch(/zebra\n {2}nothing found\n2 queries in \d+ ms \(http:[0-9a-f]{32}\)/);
    const last = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as { results: { hits: object[] }[] };
    expect(last.results[0]?.hits[0]).toMatchObject({ id: "red-paper", score: 2 });
  });
});
