import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RecommenderError } from "../../src/core/errors.ts";
import { AnswerLog, type AnswerLogOptions } from "../../src/recommenders/answer-log.ts";
import { cached, isCached } from "../../src/recommenders/cached.ts";
import type { Hit, Recommender, SearchOptions } from "../../src/recommenders/recommender.ts";

/** A recommender that notes what it is asked and answers when told to. */
class Probe implements Recommender {
  readonly name = "probe";
  readonly asked: string[][] = [];
  readonly signals: (AbortSignal | undefined)[] = [];
  version = "1";
  fingerprints = 0;
  score: number | undefined;
  payload: Record<string, unknown> | undefined;
  failing = false;
  hold: Promise<void> | undefined;

  async search(queries: readonly { text: string }[], { topK, signal }: SearchOptions): Promise<Hit[][]> {
    this.asked.push(queries.map(({ text }) => text));
    this.signals.push(signal);
    await this.hold;
    if (this.failing) throw new RecommenderError("DOWN", "probe: is down", { retryable: true });
    return queries.map(({ text }) =>
      Array.from({ length: topK }, (_, i) => ({
        id: `${text}${i}`,
        score: this.score ?? -i,
        ...(this.payload ? { payload: this.payload } : {}),
      })),
    );
  }
  fingerprint(): Promise<string> {
    this.fingerprints++;
    return Promise.resolve(this.version);
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

function holdOpen(probe: Probe): () => void {
  let release: () => void = () => undefined;
  probe.hold = new Promise((resolve) => (release = resolve));
  return release;
}

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const q = (...texts: string[]) => texts.map((text) => ({ text }));

describe("cached", () => {
  it("asks each query once, in one call, and counts", async () => {
    const probe = new Probe();
    const cache = cached(probe);
    const answers = await cache.search(q("a", "b", "a"), { topK: 2 });
    expect(answers.map((hits) => hits[0]?.id)).toEqual(["a0", "b0", "a0"]);
    await cache.search(q("b", "c"), { topK: 2 });
    expect(probe.asked).toEqual([["a", "b"], ["c"]]);
    expect(cache.stats).toEqual({ hits: 2, diskHits: 0, misses: 3, hitRate: 0.4, entries: 3 });
    cache.clear();
    await cache.search(q("a"), { topK: 2 });
    expect(probe.asked).toHaveLength(3);
    expect(cached(probe).stats.hitRate).toBe(0);
  });

  it("tells answers apart by topK and by the recommender's fingerprint", async () => {
    const probe = new Probe();
    const cache = cached(probe, { fingerprintEveryMs: 0 });
    for (const topK of [1, 2, 1]) expect((await cache.search(q("a"), { topK }))[0]).toHaveLength(topK);
    expect(probe.asked).toHaveLength(2);
    probe.version = "2";
    await cache.search(q("a"), { topK: 1 });
    expect(probe.asked).toHaveLength(3);
  });

  it("forgets what was unused longest, by entries and by hits", async () => {
    const probe = new Probe();
    const cache = cached(probe, { maxEntries: 2 });
    for (const text of ["a", "b", "a", "c", "a", "b"]) await cache.search(q(text), { topK: 1 });
    expect(probe.asked.flat()).toEqual(["a", "b", "c", "b"]);
    const small = cached(probe, { maxHits: 10 });
    for (const text of ["a", "b", "c"]) await small.search(q(text), { topK: 5 });
    expect(small.stats.entries).toBe(2);
    expect((await small.search(q("big"), { topK: 50 }))[0]).toHaveLength(50);
    expect(small.stats.entries).toBe(0);
    for (const limit of [0, -1, NaN, 1.5])
      expect(() => cached(probe, { maxEntries: limit })).toThrowError(/maxEntries/);
  });

  it("joins a search that is under way for the same query", async () => {
    const probe = new Probe();
    const cache = cached(probe);
    const release = holdOpen(probe);
    const first = cache.search(q("a", "b"), { topK: 1 });
    await tick();
    const second = cache.search(q("b", "c"), { topK: 1 });
    await tick();
    release();
    expect((await second).map(([hit]) => hit?.id)).toEqual(["b0", "c0"]);
    await first;
    expect(probe.asked).toEqual([["a", "b"], ["c"]]);
    expect(cache.stats).toMatchObject({ hits: 1, misses: 3 });
  });

  it("doesn't remember failures", async () => {
    const probe = new Probe();
    const cache = cached(probe);
    probe.failing = true;
    await expect(cache.search(q("a"), { topK: 1 })).rejects.toMatchObject({ code: "DOWN" });
    probe.failing = false;
    expect((await cache.search(q("a"), { topK: 1 }))[0]).toHaveLength(1);
    expect(probe.asked).toHaveLength(2);
  });

  it("stops a search when nobody waits for it any more, and not before", async () => {
    const probe = new Probe();
    const cache = cached(probe);
    const release = holdOpen(probe);
    const [one, other] = [new AbortController(), new AbortController()];
    const first = cache.search(q("a", "b"), { topK: 1, signal: one.signal });
    await tick();
    const second = cache.search(q("b"), { topK: 1, signal: other.signal });
    await tick();
    one.abort();
    await expect(first).rejects.toMatchObject({ code: "ABORTED" });
    expect(probe.signals[0]?.aborted).toBe(false);
    other.abort();
    await expect(second).rejects.toMatchObject({ code: "ABORTED" });
    expect(probe.signals[0]?.aborted).toBe(true);
    release();
    await tick();
    probe.hold = undefined;
    expect((await cache.search(q("a", "b"), { topK: 1 })).map(([hit]) => hit?.id)).toEqual(["a0", "b0"]);
    expect(probe.asked).toHaveLength(2);
  });

  it("lets a caller finish whose partner was stopped", async () => {
    const probe = new Probe();
    const cache = cached(probe);
    const release = holdOpen(probe);
    const controller = new AbortController();
    const first = cache.search(q("a"), { topK: 1, signal: controller.signal });
    await tick();
    const second = cache.search(q("a"), { topK: 1 });
    await tick();
    controller.abort();
    await expect(first).rejects.toMatchObject({ code: "ABORTED" });
    release();
    expect((await second)[0]?.[0]?.id).toBe("a0");
    expect(probe.asked).toHaveLength(1);
  });

  it("refuses answers to another number of queries", async () => {
    const probe = new Probe();
    probe.search = () => Promise.resolve([]);
    await expect(cached(probe).search(q("a"), { topK: 1 })).rejects.toThrowError(/probe: gave 0 lists to 1 queries/);
  });

  it("asks for the fingerprint now and then, and at once when it is asked for it", async () => {
    const probe = new Probe();
    const cache = cached(probe);
    for (let i = 0; i < 5; i++) await cache.search(q("a"), { topK: 1 });
    expect(probe.fingerprints).toBe(1);
    probe.version = "2";
    expect(await cache.fingerprint()).toBe("2");
    await cache.search(q("a"), { topK: 1 });
    expect(probe.asked).toHaveLength(2);
    expect(probe.fingerprints).toBe(2);
  });

  it("doesn't remember faulty answers, and passes them on", async () => {
    const probe = new Probe();
    const cache = cached(probe);
    probe.score = NaN;
    expect((await cache.search(q("a"), { topK: 1 }))[0]?.[0]?.score).toBeNaN();
    probe.score = 1;
    expect((await cache.search(q("a"), { topK: 1 }))[0]?.[0]?.score).toBe(1);
    await cache.search(q("a"), { topK: 1 });
    expect(probe.asked).toHaveLength(2);
  });

  it("knows its own", () => {
    const probe = new Probe();
    expect([isCached(probe), isCached(cached(probe))]).toEqual([false, true]);
  });
});

describe("cached with answers on disk", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "rec-r1-answers-"));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));
  const openCache = async (probe: Probe, options: AnswerLogOptions = {}) =>
    cached(probe, { log: await AnswerLog.open(dir, options) });
  const files = async () => (await readdir(dir)).map((name) => join(dir, name));

  it("gives another process the same answers, scores and payloads bit by bit", async () => {
    const probe = new Probe();
    probe.payload = { title: "Stift „rot“\n\u2028", price: 0.1 + 0.2 };
    probe.score = 1 / 3;
    const first = await openCache(probe);
    const answers = await first.search(q("a", "b \n c", "a"), { topK: 1 });
    await first.close();
    const next = await openCache(probe);
    expect(await next.search(q("a", "b \n c", "new"), { topK: 1 })).toEqual([
      ...answers.slice(0, 2),
      [{ id: "new0", score: 1 / 3, payload: probe.payload }],
    ]);
    expect(probe.asked).toEqual([["a", "b \n c"], ["new"]]);
    expect(next.stats).toMatchObject({ hits: 2, diskHits: 2, misses: 1 });
    await next.search(q("a"), { topK: 2 });
    expect(probe.asked.at(-1)).toEqual(["a"]);
    await next.close();
  });

  it("serves several writers at once", async () => {
    const [one, two] = [new Probe(), new Probe()];
    const caches = [await openCache(one), await openCache(two)] as const;
    await Promise.all(
      Array.from({ length: 50 }, (_, i) => (caches[i % 2] as Recommender).search(q(`q${i}`), { topK: 3 })),
    );
    await Promise.all(caches.map((cache) => cache.close()));
    expect(await files()).toHaveLength(2);
    const third = new Probe();
    const cache = await openCache(third);
    await cache.search(q(...Array.from({ length: 50 }, (_, i) => `q${i}`)), { topK: 3 });
    expect(third.asked).toEqual([]);
    await cache.close();
  });

  it("takes damaged and cut lines for absent", async () => {
    const first = await openCache(new Probe());
    for (const text of ["a", "b", "c"]) await first.search(q(text), { topK: 2 });
    await first.close();
    const [file] = (await files()) as [string];
    const lines = (await readFile(file, "utf8")).split("\n");
    const damaged = [lines[0]?.replace("a0", "x0"), lines[1], lines[2]?.slice(0, -3)].join("\n");
    await writeFile(file, damaged);
    await writeFile(join(dir, "answers-zz-1-00000000.log"), Buffer.from([0, 255, 10, 10, 200, 10]));
    const probe = new Probe();
    const cache = await openCache(probe);
    const answers = await cache.search(q("a", "b", "c"), { topK: 2 });
    expect(answers.map(([hit]) => hit?.id)).toEqual(["a0", "b0", "c0"]);
    expect(probe.asked).toEqual([["a", "c"]]);
    await cache.close();
  });

  it("stays below its size, and gives up the oldest file first", async () => {
    const warnings: string[] = [];
    const options = { maxBytes: 2000, onWarning: (message: string) => warnings.push(message) };
    const first = await openCache(new Probe(), options);
    for (let i = 0; i < 100; i++) await first.search(q(`q${i}`), { topK: 1 });
    await first.close();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/holds as much as it may/);
    const [file] = (await files()) as [string];
    expect((await stat(file)).size).toBeLessThanOrEqual(2000);
    const next = await AnswerLog.open(dir, options);
    expect(next.size).toBe(0);
    expect(await files()).toEqual([]);
  });

  it("goes on without the disk when it is full or gone, and refuses a folder that can't be", async () => {
    const warnings: string[] = [];
    const probe = new Probe();
    const cache = await openCache(probe, { onWarning: (message) => warnings.push(message) });
    await rm(dir, { recursive: true });
    expect((await cache.search(q("a"), { topK: 1 }))[0]).toHaveLength(1);
    expect((await cache.search(q("a"), { topK: 1 }))[0]).toHaveLength(1);
    await cache.close();
    expect(warnings).toHaveLength(1);
    await writeFile(dir, "a file");
    await expect(AnswerLog.open(dir)).rejects.toMatchObject({ code: "NOT_A_FOLDER" });
  });
});
