import { describe, expect, it } from "vitest";
import { RecommenderError } from "../../src/core/errors.ts";
import { cached } from "../../src/recommenders/cached.ts";
import type { Hit, Recommender, SearchOptions } from "../../src/recommenders/recommender.ts";

/** A recommender that notes what it is asked and answers when told to. */
class Probe implements Recommender {
  readonly name = "probe";
  readonly asked: string[][] = [];
  readonly signals: (AbortSignal | undefined)[] = [];
  version = "1";
  failing = false;
  hold: Promise<void> | undefined;

  async search(queries: readonly { text: string }[], { topK, signal }: SearchOptions): Promise<Hit[][]> {
    this.asked.push(queries.map(({ text }) => text));
    this.signals.push(signal);
    await this.hold;
    if (this.failing) throw new RecommenderError("DOWN", "probe: is down", { retryable: true });
    return queries.map(({ text }) => Array.from({ length: topK }, (_, i) => ({ id: `${text}${i}`, score: -i })));
  }
  fingerprint(): Promise<string> {
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
    expect(cache.stats).toEqual({ hits: 2, misses: 3, hitRate: 0.4, entries: 3 });
    cache.clear();
    await cache.search(q("a"), { topK: 2 });
    expect(probe.asked).toHaveLength(3);
    expect(cached(probe).stats.hitRate).toBe(0);
  });

  it("tells answers apart by topK and by the recommender's fingerprint", async () => {
    const probe = new Probe();
    const cache = cached(probe);
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
    await expect(cached(probe).search(q("a"), { topK: 1 })).rejects.toThrowError(/probe: gave 0 answers to 1 queries/);
  });
});
