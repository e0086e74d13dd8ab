/** The examples of recommenders, each asked what its task asks; OpenSearch's is with the tests against a real one. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadTask } from "../../src/cli/load-task.ts";
import { openRecommender } from "../../src/cli/recommender-settings.ts";
import { evaluateQueries, evaluateRaw } from "../../src/eval/evaluate.ts";
import { loadSplit } from "../../src/rl/task.ts";

const examples = join(dirname(fileURLToPath(import.meta.url)), "../../examples");
const context = { data: undefined };

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

describe("examples/http", () => {
  let api: ChildProcess;
  let url: string;
  beforeAll(async () => {
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    process.env.SEARCH_API = url;
    api = spawn(process.execPath, [join(examples, "http/server.mjs"), String(port)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(api.stdout as NonNullable<ChildProcess["stdout"]>, "data");
  });
  afterAll(() => {
    delete process.env.SEARCH_API;
    api.kill();
  });

  it("finds icons by their names through the API", async () => {
    const { task, openRecommender: open } = await loadTask(join(examples, "http/task.ts"), context);
    const recommender = await open();
    expect(await recommender.fingerprint()).toBe(await recommender.fingerprint());
    const options = { task, recommender, split: "test", limit: 50 } as const;
    const named = await evaluateQueries({ ...options, queryOf: (icon) => (icon as { relevant: string[] }).relevant[0] ?? null }); // prettier-ignore
    expect(named.counts.failed).toBe(0);
    expect(named.means["ndcg@10"]).toBeGreaterThan(0.5);
    expect((await evaluateRaw(options)).means["ndcg@10"]).toBeLessThan(0.5);
    await recommender.close();
  });

  it("has the same recommender as settings", async () => {
    const text = await readFile(join(examples, "http/search.json"), "utf8");
    const settings = JSON.parse(text.replaceAll("http://127.0.0.1:8765", url)) as unknown;
    const recommender = await openRecommender(settings, { source: "search.json", folder: examples });
    const [hits] = await recommender.search([{ text: "account box" }], { topK: 1 });
    expect(hits).toEqual([{ id: "account-box", score: 2 }]);
    await recommender.close();
  });
});

describe("examples/function", () => {
  it("finds icons by their names", async () => {
    const { task, openRecommender: open } = await loadTask(join(examples, "function/task.ts"), context);
    const recommender = await open();
    const options = { task, recommender, split: "test", limit: 50 } as const;
    const named = await evaluateQueries({ ...options, queryOf: (icon) => (icon as { relevant: string[] }).relevant[0]?.replaceAll("-", " ") ?? null }); // prettier-ignore
    expect(named.counts.failed).toBe(0);
    expect(named.means["ndcg@10"]).toBeGreaterThan(0.5);
    await recommender.close();
  });
});

describe("examples/rerank", () => {
  it("is worth more with the right icon first, and as much as the search alone without an order", async () => {
    const { task, openRecommender: open } = await loadTask(join(examples, "rerank/task.ts"), context);
    const recommender = await open();
    const split = (await loadSplit(task, "test"))?.slice(0, 40) ?? [];
    type Candidates = { candidates: { id: string }[]; relevant: string[]; query: string };
    const options = { task, recommender, split };
    const best = await evaluateQueries({
      ...options,
      queryOf: (example) => {
        const { candidates, relevant } = example as Candidates;
        const order = candidates.map(({ id }, i) => (relevant.includes(id) ? `[${i + 1}]` : "")).join(" > ");
        return task.parse(order, example);
      },
    });
    const none = await evaluateQueries({ ...options, queryOf: (example) => task.parse("I don't know", example) });
    const raw = await evaluateRaw(options);
    expect(best.counts.failed + none.counts.failed).toBe(0);
    expect(none.means).toEqual(raw.means);
    expect(best.means["ndcg@10"]).toBeGreaterThan(none.means["ndcg@10"] as number);
    const [message] = task.prompt(split[0]?.example as object);
    expect(message?.content).toMatch(/\n\[1\] .+\n\[2\] /);
    await recommender.close();
  });
});
