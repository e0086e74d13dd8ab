/** The dashboard's server: what it says of runs, how it follows them, and what it refuses. */
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { request as sendRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { startDashboard, type Dashboard, type DashboardOptions } from "../../../src/server/dashboard/dashboard.ts";
import type { Playground } from "../../../src/server/dashboard/playground.ts";
import type {
  ComparisonPage,
  ConfigTable,
  GroupDetail,
  GroupPage,
  LiveUpdate,
  RunCurves,
  RunSummary,
  SearchPage,
  SuspectReport,
  TermCredit,
} from "../../../src/server/dashboard/wire.ts";
import { openSyntheticRun } from "../../support/synthetic-run.ts";
import { openExampleDashboard, ScriptedPlayground, writeSmallPages } from "./example-dashboard.ts";

let root = "";
let pagesDir = "";
let dashboard: Awaited<ReturnType<typeof openExampleDashboard>>;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "rec-r1-dashboard-"));
  pagesDir = await writeSmallPages(join(root, "pages"));
  dashboard = await openExampleDashboard(join(root, "runs"), { pagesDir });
});
afterAll(async () => {
  await dashboard?.close();
  await rm(root, { recursive: true, force: true });
});

async function read<T>(path: string, { url } = dashboard as Dashboard): Promise<T> {
  const reply = await fetch(`${url}/api/${path}`);
  const body = (await reply.json()) as T;
  expect(reply.status, JSON.stringify(body).slice(0, 300)).toBe(200);
  return body;
}

/** Starts another dashboard that ends with the test. */
async function start(runs: string, options: Partial<DashboardOptions> = {}): Promise<Dashboard> {
  const opened = await startDashboard({
    runs,
    port: 0,
    pagesDir,
    openPlayground: async () => new ScriptedPlayground(),
    ...options,
  });
  onTestFinished(() => opened.close());
  return opened;
}

/** A raw request: `fetch` would clean its path and choose its headers. */
function ask(
  url: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: string; headers: Record<string, unknown> }> {
  const { port } = new URL(url);
  return new Promise((resolve, reject) => {
    const sent = sendRequest({ host: "127.0.0.1", port, path, headers }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body, headers: response.headers }));
    });
    sent.on("error", reject);
    sent.end();
  });
}

describe("what it says of runs", () => {
  it("lists them, newest first, with how far they are", async () => {
    const runs = await read<RunSummary[]>("runs");
    expect(runs.map(({ id, status, step, totalSteps }) => [id, status, step, totalSteps])).toEqual([
      ["second", "stopped", 40, 60],
      ["first", "done", 60, 60],
    ]);
    expect(runs[0]?.best?.metric).toBe("ndcg@10");
  });

  it("has every curve that the pages draw", async () => {
    const curves = await read<RunCurves>("curves?run=second");
    expect(curves).toMatchObject({ steps: 40, totalSteps: 60, status: "stopped", etaSeconds: null, metric: "ndcg@10" });
    expect(curves.rows).toHaveLength(40);
    const names = [
      "reward",
      "klToReference",
      "approxKl",
      "entropy",
      "clipFraction",
      "gradNorm",
      "completionTokens",
      "equalGroups",
      "unparsed",
      "samplerDifference",
      "latencyP50",
      "latencyP95",
      "recommenderErrors",
      "tokensPerSecond",
      "stepSeconds",
    ];
    for (const name of names) expect(curves.rows.at(-1)?.values[name], name).toBeTypeOf("number");
    const { values } = curves.rows[5] as RunCurves["rows"][number];
    expect(values.equalGroups).toBeCloseTo(1 - (values.learningGroups ?? 0), 4);
    expect(values.tokensPerSecond).toBeCloseTo(((values.completionTokens ?? 0) * 48) / (values.stepSeconds ?? 1), 1);
    expect(curves.evaluations.map(({ step }) => step)).toEqual([0, 5, 10, 15, 20, 25, 30, 35, 40]);
    expect(curves.evaluations[0]?.standardErrors["ndcg@10"]).toBeGreaterThan(0);
    const minutes = curves.rows.map((row) => row.minutes);
    expect(minutes).toEqual([...minutes].sort((a, b) => a - b));
  });

  it("averages neighbours where there are more steps than points", async () => {
    const all = await read<RunCurves>("curves?run=second");
    const few = await read<RunCurves>("curves?run=second&points=10");
    expect(few.steps).toBe(40);
    expect(few.rows.map(({ step }) => step)).toEqual([4, 8, 12, 16, 20, 24, 28, 32, 36, 40]);
    const mean = all.rows.slice(0, 4).reduce((sum, { values }) => sum + (values.reward ?? 0), 0) / 4;
    expect(few.rows[0]?.values.reward).toBeCloseTo(mean, 4);
  });

  it("shows what differs between the settings of runs", async () => {
    const { runs, rows } = await read<ConfigTable>("config?run=first&run=second");
    expect(runs).toEqual(["first", "second"]);
    const differing = new Map(rows.filter(({ differs }) => differs).map(({ key, values }) => [key, values]));
    expect(Object.fromEntries(differing)).toEqual({
      "config.seed": ["0", "1"],
      "config.learningRate": ["0.0001", "0.0002"],
      "config.klCoef": [null, "0.01"],
    });
  });
});

describe("rollouts", () => {
  it("are there on the page that has an example", async () => {
    const groups = (query: string) => read<GroupPage>(`rollouts/groups?run=second&step=40&limit=4${query}`);
    const { groups: others } = await groups("&offset=4");
    const example = others[1]?.example ?? "";
    const asked = `&example=${encodeURIComponent(example)}`;
    expect(await groups(asked)).toMatchObject({ offset: 4, asked: example, groups: others });
    expect(await groups(`${asked}&offset=0`)).toMatchObject({ offset: 0, asked: example });
    expect(await groups("&example=none")).toMatchObject({ offset: 0, asked: null });
  });

  it("are there by step and example, with titles, rewards and tokens", async () => {
    expect(await read("rollouts/steps?run=second")).toEqual({ steps: Array.from({ length: 40 }, (_, i) => i + 1) });
    const page = await read<GroupPage>("rollouts/groups?run=second&step=40&limit=4");
    expect(page.total).toBe(6);
    expect(page.groups).toHaveLength(4);
    expect(page).toMatchObject({ offset: 0, asked: null });
    const [first] = page.groups;
    const group = await read<GroupDetail>(
      `rollouts/group?run=second&step=40&example=${encodeURIComponent(first?.example ?? "")}`,
    );
    expect(group.rollouts).toHaveLength(8);
    expect(group.text).toBe(first?.text);
    const rewards = group.rollouts.map(({ reward }) => reward ?? 0);
    expect(rewards).toEqual([...rewards].sort((a, b) => b - a));
    expect(Math.max(...rewards)).toBe(first?.best);
    expect(group.rollouts.reduce((sum, { reward }) => sum + (reward ?? 0), 0) / 8).toBeCloseTo(first?.mean ?? 0, 10);
    expect(group.relevant[0]).toMatchObject({ isRelevant: true, title: expect.any(String) });
    const [hit] = group.rollouts.find(({ hits }) => hits)?.hits ?? [];
    expect(hit?.title).toBe(hit?.id.replaceAll("-", " "));
    expect(hit?.picture).toMatchObject({ path: expect.stringMatching(/^M/) });
    expect(group.rollouts[0]?.tokenTexts?.join("")).toBe(group.rollouts[0]?.completion);
    const plain = await read<GroupPage>("rollouts/groups?run=second&step=39");
    const untold = await read<GroupDetail>(
      `rollouts/group?run=second&step=39&example=${encodeURIComponent(plain.groups[0]?.example ?? "")}`,
    );
    expect(untold.rollouts[0]?.tokenTexts).toBeNull();
    expect(untold.tokensEvery).toBe(10);
  });

  /** Every match, page by page. */
  async function searchAll(query: string): Promise<SearchPage["matches"]> {
    const found: SearchPage["matches"] = [];
    for (let cursor: string | null = ""; cursor !== null;) {
      const page: SearchPage = await read<SearchPage>(
        `rollouts/search?run=second&limit=40&${query}${cursor ? `&cursor=${cursor}` : ""}`,
      );
      found.push(...page.matches);
      cursor = page.next;
      if (cursor === null) expect(page.searched).toBe(page.steps);
    }
    return found;
  }

  it("are found by reward, by text and by example, each once, newest step first", async () => {
    const everything = await searchAll("");
    expect(everything).toHaveLength(40 * 48);
    expect(new Set(everything.map(({ step, example, sample }) => `${step} ${example} ${sample}`)).size).toBe(40 * 48);
    const steps = everything.map(({ step }) => step);
    expect(steps).toEqual([...steps].sort((a, b) => b - a));

    const good = await searchAll("minReward=0.9");
    expect(good.length).toBe(everything.filter(({ reward }) => (reward ?? 0) >= 0.9).length);
    expect(good.length).toBeGreaterThan(10);
    // A second time the ranges of steps are known, which must not change the answer.
    expect(await searchAll("minReward=0.9")).toEqual(good);
    expect(await searchAll("minReward=5")).toEqual([]);

    const word = (everything.find(({ query }) => query)?.query ?? "").split(" ").at(-1) ?? "";
    const mentioned = await searchAll(`text=${encodeURIComponent(word.toUpperCase())}`);
    expect(mentioned.length).toBe(
      everything.filter(({ query, completion }) => `${completion}\n${query ?? ""}`.includes(word)).length,
    );
    const { example } = everything[0] as SearchPage["matches"][number];
    const ofExample = await searchAll(`example=${encodeURIComponent(example)}`);
    expect(ofExample.length).toBe(everything.filter((rollout) => rollout.example === example).length);
  });

  it("that aren't there are told from faults", async () => {
    for (const path of ["groups?run=second&step=99", "group?run=second&step=1&example=none"]) {
      expect((await fetch(`${dashboard.url}/api/rollouts/${path}`)).status).toBe(404);
    }
    for (const path of [
      "groups?run=second&step=-1",
      "groups?run=second&step=x",
      "groups?run=second",
      "groups?run=second&step=1&limit=100000",
    ]) {
      expect((await fetch(`${dashboard.url}/api/rollouts/${path}`)).status, path).toBe(422);
    }
  });
});

describe("before and after", () => {
  it("counts, orders and filters, losses as well as wins", async () => {
    const all = await read<ComparisonPage>("comparison?run=second&limit=200");
    expect(all).toMatchObject({
      split: "test",
      splits: ["test", "valid"],
      baseline: "raw",
      baselines: ["raw", "untrained"],
    });
    expect(all.better + all.worse + all.equal).toBe(100);
    expect(all.total).toBe(100);
    const gains = all.queries.map(({ gain }) => gain ?? 0);
    expect(gains).toEqual([...gains].sort((a, b) => b - a));
    const mean = gains.reduce((a, b) => a + b, 0) / gains.length;
    expect(all.difference?.mean).toBeCloseTo(mean, 10);
    expect(all.difference?.low).toBeLessThan(mean);
    expect((all.means.tuned ?? 0) - (all.means.raw ?? 0)).toBeCloseTo(mean, 10);

    const worse = await read<ComparisonPage>("comparison?run=second&filter=worse&order=loss");
    expect(worse.total).toBe(all.worse);
    expect(worse.queries[0]?.gain).toBe(Math.min(...gains));
    expect(worse.queries[0]?.reasons.length).toBeGreaterThan(0);
    expect(Object.keys(worse.queries[0]?.answers ?? {})).toEqual(["raw", "untrained", "tuned"]);
    const better = await read<ComparisonPage>("comparison?run=second&filter=better");
    expect(better.total).toBe(all.better);
    expect(better.queries.every(({ reasons }) => reasons.length === 0)).toBe(true);
    const second = await read<ComparisonPage>("comparison?run=second&limit=10&offset=10");
    expect(second.queries.map(({ example }) => example)).toEqual(
      all.queries.slice(10, 20).map(({ example }) => example),
    );
    const text = all.queries[7]?.text ?? "";
    const found = await read<ComparisonPage>(`comparison?run=second&text=${encodeURIComponent(text.toUpperCase())}`);
    expect(found.queries.map((query) => query.text)).toContain(text);
    const untrained = await read<ComparisonPage>("comparison?run=second&baseline=untrained&split=valid");
    expect(untrained.baselines).toEqual(["untrained"]);
  });

  it("says what to do where nothing was evaluated", async () => {
    const run = join(root, "other", "fresh");
    const open = await openSyntheticRun(run, { steps: 5, promptsPerStep: 1, groupSize: 2, pictures: false });
    await open.close();
    const { url } = await start(join(root, "other"));
    const { missing } = await read<{ missing: string }>("comparison?run=fresh", { url } as Dashboard);
    expect(missing).toContain("rec-r1 eval");
  });
});

describe("suspects", () => {
  it("are marked with their reason", async () => {
    const report = await read<SuspectReport>("suspects?run=second");
    expect(report.examined).toBe(100 + 8 * 48);
    expect(report.counts.repetition).toBeGreaterThan(0);
    const [first] = report.suspects.filter(({ kind }) => kind === "repetition");
    expect(first?.reason).toMatch(/^Its 12 words are 1 different word\.$/);
    expect(report.catalogueWords).toBeGreaterThan(100);
  });
});

describe("trying", () => {
  const post = (path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${dashboard.url}/api/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });

  it("tells as it comes what each policy writes and finds", async () => {
    const reply = await post("try", { run: "second", text: "user" });
    const events = (await reply.text())
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { kind: string; policy?: string });
    expect(events.filter(({ kind }) => kind === "answer").map(({ policy }) => policy)).toEqual([
      "raw",
      "untrained",
      "tuned",
    ]);
    expect(events.at(-1)).toEqual({ kind: "end" });
    expect(dashboard.playground.asked).toContain("user");
  });

  it("credits each word with what the score loses without it", async () => {
    const reply = await post("credit", { run: "second", split: "test", example: "x", query: "red  round table" });
    const credit = (await reply.json()) as TermCredit;
    expect(credit.score).toBe(1);
    expect(credit.terms.map(({ term, credit: brings }) => [term, brings])).toEqual([
      ["red", 0],
      ["round", 0],
      ["table", 1],
    ]);
    expect(credit.terms.map(({ start, end }) => credit.query.slice(start, end))).toEqual(["red", "round", "table"]);
  });

  it("refuses what is empty, too long, of another type, or no run", async () => {
    expect((await post("try", { run: "second", text: "  " })).status).toBe(422);
    expect((await post("try", { run: "second", text: "x".repeat(3000) })).status).toBe(422);
    expect((await post("try", { run: "second", text: "x".repeat(100_000) })).status).toBe(413);
    expect((await post("try", { run: "second", text: "x" }, { "content-type": "text/plain" })).status).toBe(415);
    expect((await post("try", { run: "nothing", text: "x" })).status).toBe(404);
    expect((await fetch(`${dashboard.url}/api/try`)).status).toBe(404);
  });

  it("opens a run's policies once, asks one thing at a time, says what failed, and closes them", async () => {
    const log: string[] = [];
    let isFailing = false;
    const open = async ({ id }: { id: string }): Promise<Playground> => {
      if (isFailing) throw new Error("/home/somebody/model is gone");
      log.push(`open ${id}`);
      return {
        async *ask(text) {
          log.push(`begin ${text}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
          log.push(`end ${text}`);
          yield { kind: "status", message: text };
        },
        credit: () => Promise.reject(new Error("no")),
        close: async () => void log.push(`close ${id}`),
      };
    };
    const { url, close } = await start(join(root, "runs"), { openPlayground: open });
    const tryOn = async (run: string, text: string): Promise<string> =>
      (
        await fetch(`${url}/api/try`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ run, text }),
        })
      ).text();
    await Promise.all([tryOn("first", "a"), tryOn("first", "b")]);
    expect(log.slice(0, 5).join()).toMatch(/^open first,begin (a|b),end \1,begin (a|b),end \2$/);
    isFailing = true;
    const failed = await tryOn("second", "c");
    expect(failed).toContain('"kind":"error"');
    expect(failed).not.toContain("somebody");
    expect(log).toContain("close first");
    isFailing = false;
    await tryOn("second", "d");
    await close();
    expect(log.at(-1)).toBe("close second");
  });
});

describe("following a run", () => {
  it("sends new steps as they are written, and tells when it has to be read anew", async () => {
    const runs = join(root, "live");
    const open = await openSyntheticRun(join(runs, "run"), {
      steps: 20,
      promptsPerStep: 1,
      groupSize: 2,
      evalEvery: 2,
      pictures: false,
    });
    await open.step();
    const { url } = await start(runs);
    const curves = await read<RunCurves>("curves?run=run", { url } as Dashboard);
    expect(curves).toMatchObject({ status: "training", steps: 1, totalSteps: 20 });
    const controller = new AbortController();
    onTestFinished(() => controller.abort());
    const reply = await fetch(`${url}/api/events?run=run@${curves.revision}.${curves.sequence}`, {
      signal: controller.signal,
    });
    expect(reply.headers.get("content-type")).toContain("text/event-stream");
    const reader = (reply.body as ReadableStream<Uint8Array>).getReader();
    const decoder = new TextDecoder();
    let text = "";
    const waitFor = async (pattern: RegExp): Promise<RegExpMatchArray> => {
      for (;;) {
        const match = pattern.exec(text);
        if (match) return match;
        const { done, value } = await reader.read();
        if (done) throw new Error(`The stream ended before ${pattern}: ${text}`);
        text += decoder.decode(value, { stream: true });
      }
    };
    await open.step();
    const [, data = ""] = await waitFor(/event: update\ndata: (.*"rows":\[\{.*)\n\n/);
    const update = JSON.parse(data) as LiveUpdate;
    expect(update.rows.map(({ step }) => step)).toEqual([2]);
    await waitFor(/event: update\ndata: .*"evaluations":\[\{"step":2/);
    expect(update.sequence).toBeGreaterThan(curves.sequence);
    await waitFor(/event: rollouts\ndata: \{"id":"run","step":2\}/);
    // A run that is taken up from an earlier step gets a new file.
    const path = join(runs, "run", "metrics.jsonl");
    const [first = ""] = (await readFile(path, "utf8")).split("\n");
    await rm(path);
    await writeFile(path, `${first}\n`);
    await waitFor(/event: reset\ndata: \{"id":"run"\}/);
    expect((await read<RunCurves>("curves?run=run", { url } as Dashboard)).steps).toBe(0);
    await open.close();
    await waitFor(/event: update\ndata: .*"status":"stopped"/);
  });

  it("reads no more than whole lines", async () => {
    const runs = join(root, "torn");
    const open = await openSyntheticRun(join(runs, "run"), {
      steps: 5,
      promptsPerStep: 1,
      groupSize: 2,
      pictures: false,
    });
    await open.step();
    await open.close();
    const path = join(runs, "run", "metrics.jsonl");
    const whole = await readFile(path, "utf8");
    const line = whole.trimEnd().split("\n").at(-1)?.replace('"step":1', '"step":2') ?? "";
    await writeFile(path, whole + line.slice(0, 40));
    const { url } = await start(runs);
    const steps = async (): Promise<number> => (await read<RunCurves>("curves?run=run", { url } as Dashboard)).steps;
    expect(await steps()).toBe(1);
    await writeFile(path, `${whole}${line}\n`);
    expect(await steps()).toBe(2);
  });
});

describe("what it refuses", () => {
  it.each([
    "../secret",
    "second/../../secret",
    "/etc",
    "..%2f..%2fetc",
    "second%00",
    "",
    ".",
    "link",
    "linked-file",
    "nested/link",
  ])("the run %j", async (run) => {
    const runs = join(root, "guarded");
    await mkdir(join(root, "secret"), { recursive: true });
    await writeFile(join(root, "secret", "config.json"), '{"task":"secret","config":{}}');
    await mkdir(join(runs, "linked-file"), { recursive: true });
    await mkdir(join(runs, "nested"), { recursive: true });
    for (const [target, path] of [
      [join(root, "secret"), "link"],
      [join(root, "secret"), "nested/link"],
      [join(root, "secret", "config.json"), "linked-file/config.json"],
    ] as const) {
      await symlink(target, join(runs, path)).catch(() => undefined);
    }
    const { url } = await start(runs);
    for (const encoded of [run, encodeURIComponent(run)]) {
      const { status, body } = await ask(url, `/api/curves?run=${encoded}`);
      expect([404, 422]).toContain(status);
      expect(body).not.toContain("secret");
    }
  });

  it.each([
    "metrics.jsonl",
    "timings.jsonl",
    "best.json",
    "rollouts",
    "rollouts/step-000001.jsonl",
    "evaluations",
    "shown",
  ])("a %s that is a link to elsewhere", async (name) => {
    const runs = join(root, `links-${name.replaceAll("/", "-")}`);
    const open = await openSyntheticRun(join(runs, "run"), {
      steps: 5,
      promptsPerStep: 1,
      groupSize: 2,
      pictures: false,
    });
    await open.step();
    await open.close();
    const elsewhere = join(root, `elsewhere-${name.replaceAll("/", "-")}`);
    const isFolder = !name.includes(".");
    const secret =
      '{"kind":"item","id":"secret","step":1,"values":{"secret":1},"example":"secret","completion":"secret"}\n';
    if (isFolder) {
      await mkdir(elsewhere, { recursive: true });
      for (const file of ["step-000001.jsonl", "run.jsonl", "test-tuned.json", "test-raw.json"])
        await writeFile(join(elsewhere, file), secret);
    } else await writeFile(elsewhere, secret);
    await rm(join(runs, "run", name), { recursive: true });
    await symlink(elsewhere, join(runs, "run", name));
    const { url } = await start(runs);
    for (const path of [
      "runs",
      "curves?run=run",
      "rollouts/steps?run=run",
      "rollouts/groups?run=run&step=1",
      "rollouts/search?run=run",
      "comparison?run=run",
      "suspects?run=run",
    ]) {
      const { body } = await ask(url, `/api/${path}`);
      expect(body, path).not.toContain("secret");
    }
  });

  it.each(["/../package.json", "/..%2f..%2fpackage.json", "//etc/passwd", "/api/../app.js/x", "/src/main.tsx"])(
    "the page %s",
    async (path) => {
      const { status, body } = await ask(dashboard.url, path);
      expect(status).toBe(404);
      expect(body).not.toContain("root:");
    },
  );

  it("other hosts, other origins, and a flood", async () => {
    expect((await ask(dashboard.url, "/", { host: "evil.example" })).status).toBe(403);
    expect((await ask(dashboard.url, "/api/runs", { host: "evil.example" })).status).toBe(403);
    expect((await ask(dashboard.url, "/api/runs", { origin: "https://evil.example" })).status).toBe(403);
    expect((await ask(dashboard.url, "/api/runs", { "sec-fetch-site": "cross-site" })).status).toBe(403);
    const { url } = await start(join(root, "runs"), { rate: { perSecond: 0.1, burst: 5 } });
    const statuses = await Promise.all(Array.from({ length: 8 }, async () => (await ask(url, "/")).status));
    expect(statuses.filter((status) => status === 429)).toHaveLength(3);
  });

  it("whoever has no token, on any address but this machine's own", async () => {
    const { url } = await start(join(root, "runs"), { host: "0.0.0.0" });
    const token = new URL(url).searchParams.get("token") ?? "";
    expect(token).toHaveLength(32);
    expect((await ask(url, "/")).status).toBe(401);
    expect((await ask(url, "/api/runs")).status).toBe(401);
    expect((await ask(url, `/?token=${token}x`)).status).toBe(401);
    expect((await ask(url, "/api/runs", { authorization: `Bearer ${token}` })).status).toBe(200);
    expect((await ask(url, `/?token=${token}`, { host: "evil.example" })).status).toBe(403);
    const signedIn = await ask(url, `/?token=${token}`);
    expect(signedIn).toMatchObject({ status: 303, headers: { location: "/" } });
    const [cookie = ""] = signedIn.headers["set-cookie"] as string[];
    expect(cookie).toMatch(/; HttpOnly; SameSite=Strict; Path=\/$/);
    expect((await ask(url, "/api/runs", { cookie: cookie.split(";")[0] ?? "" })).status).toBe(200);
    expect((await ask(url, "/api/runs", { cookie: cookie.split(";")[0] ?? "", host: "evil.example" })).status).toBe(
      403,
    );
  });

  it("everything inline or from elsewhere, by its policy", async () => {
    const { headers } = await ask(dashboard.url, "/");
    const policy = String(headers["content-security-policy"]);
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).toContain("style-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/unsafe|\*/);
    expect(headers["x-content-type-options"]).toBe("nosniff");
  });

  it("to start without runs or pages, and says why", async () => {
    await expect(start(join(root, "nowhere"))).rejects.toMatchObject({ code: "NO_RUNS_FOLDER" });
    await expect(start(join(root, "runs"), { pagesDir: root })).rejects.toMatchObject({ code: "NO_PAGES" });
  });
});
