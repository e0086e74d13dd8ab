import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { randomStream } from "../../../src/core/random.ts";
import type { SentenceEncoder } from "../../../src/encoders/encoder.ts";
import { LanceDbRecommender, type LanceDbOptions } from "../../../src/recommenders/lancedb/index.ts";
import { fuse, resolveFusion } from "../../../src/recommenders/lancedb/fusion.ts";
import type { Hit } from "../../../src/recommenders/recommender.ts";
import { writeWordEncoder } from "../../support/tiny-encoder.ts";

const words = Array.from({ length: 60 }, (_, i) => `word${i}`);
let folder: string;
let encoder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-dense-"));
  encoder = join(folder, "encoder");
  await writeWordEncoder(encoder, [...words, "red", "blue", "pen", "paper"]);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const opened: LanceDbRecommender[] = [];
afterEach(async () => {
  for (const recommender of opened.splice(0)) await recommender.close();
});

async function open(rows: readonly object[], options: Partial<LanceDbOptions> = {}): Promise<LanceDbRecommender> {
  const recommender = await LanceDbRecommender.fromRows(rows, {
    text: ["title"],
    search: "dense",
    encoder,
    ...options,
  });
  opened.push(recommender);
  return recommender;
}

async function ask(recommender: LanceDbRecommender, text: string, topK = 10): Promise<Hit[]> {
  return (await recommender.search([{ text }], { topK }))[0] as Hit[];
}

const idsOf = (hits: readonly Hit[]): string[] => hits.map(({ id }) => id);

/** Rows of three random words each. */
function randomRows(count: number): { id: string; title: string }[] {
  const random = randomStream(3, "rows");
  const pick = (): string => words[random.nextInt(words.length)] as string;
  return Array.from({ length: count }, (_, i) => ({ id: `i${i}`, title: `${pick()} ${pick()} ${pick()}` }));
}

/** An encoder that counts what it encodes. */
async function counting(): Promise<{ encoder: SentenceEncoder; documents: () => number; close: () => Promise<void> }> {
  const { loadEncoder } = await import("../../../src/encoders/index.ts");
  const inner = await loadEncoder(encoder);
  let documents = 0;
  return {
    encoder: {
      name: inner.name,
      dimensions: inner.dimensions,
      fingerprint: inner.fingerprint,
      encode: (texts, kind, options) => {
        if (kind === "document") documents += texts.length;
        return inner.encode(texts, kind, options);
      },
      close: () => Promise.reject(new Error("not the recommender's to close")),
    },
    documents: () => documents,
    close: () => inner.close(),
  };
}

describe("exact dense search", () => {
  it("orders by cosine, as a plain loop over all items does, ties by id", async () => {
    const rows = randomRows(1200);
    const recommender = await open(rows);
    const { loadEncoder } = await import("../../../src/encoders/index.ts");
    const own = await loadEncoder(encoder);
    const vectors = await own.encode(rows.map(({ title }) => title), "document"); // prettier-ignore
    for (const query of ["word1 word2", "word7", "word59 word3 word4 word5"]) {
      const q = await own.encode([query], "query");
      const expected = rows
        .map(({ id, title }, i) => ({
          id,
          title,
          score: q.reduce((sum, x, j) => sum + x * (vectors[i * own.dimensions + j] as number), 0),
        }))
        .sort((a, b) => b.score - a.score);
      const hits = await ask(recommender, query, 50);
      hits.forEach((hit, rank) => {
        expect(hit.score).toBeCloseTo(expected[rank]?.score as number, 5);
        expect(rows[Number(hit.id.slice(1))]?.title).toBe(hit.payload?.title);
      });
      const titles = new Map<string, string>();
      for (const { id, payload } of hits) {
        const before = titles.get(String(payload?.title));
        if (before !== undefined) expect(id > before).toBe(true);
        titles.set(String(payload?.title), id);
      }
    }
    await own.close();
  });

  it("gives a query the same hits and scores in any company, and everything where topK is larger than the catalogue", async () => {
    const recommender = await open(randomRows(600));
    const texts = Array.from({ length: 70 }, (_, i) => `word${i % 60} word${(i * 7) % 60}`);
    const together = await recommender.search(texts.map((text) => ({ text })), { topK: 20 }); // prettier-ignore
    for (const i of [0, 31, 32, 69]) expect(await ask(recommender, texts[i] as string, 20)).toEqual(together[i]);
    expect(await ask(recommender, "word1", 5000)).toHaveLength(600);
    expect(await ask(recommender, " ?! ")).toEqual([]);
  });

  it("keeps an index on disk and uses it again; another encoder or prompt makes another", async () => {
    const indexDir = join(folder, "index");
    const rows = randomRows(50);
    const { encoder: own, documents, close } = await counting();
    const first = await open(rows, { indexDir, encoder: own });
    const hits = await ask(first, "word1 word2");
    expect(documents()).toBe(50);
    const second = await open(rows, { indexDir, encoder: own });
    expect(documents()).toBe(50);
    expect(await ask(second, "word1 word2")).toEqual(hits);
    expect(await second.fingerprint()).toBe(await first.fingerprint());
    await open(rows, { indexDir, encoder: { source: encoder, documentPrompt: "red " } });
    expect(await readdir(indexDir)).toHaveLength(2);
    for (const recommender of opened.splice(0)) await recommender.close();
    await close();
  });

  it("goes on encoding where it was stopped", async () => {
    const indexDir = join(folder, "resumed");
    const rows = randomRows(5000);
    const { encoder: own, documents, close } = await counting();
    const controller = new AbortController();
    const stopped = open(rows, {
      indexDir,
      encoder: own,
      signal: controller.signal,
      onProgress: ({ rows: done }) => (done >= 4096 ? controller.abort() : undefined),
    });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    await expect.poll(async () => (await readdir(indexDir)).length).toBe(1);
    const before = documents();
    const recommender = await open(rows, { indexDir, encoder: own });
    expect(documents() - before).toBeLessThanOrEqual(5000 - 2048);
    const whole = await open(rows);
    for (const text of ["word1 word2", "word30", "word59 word0"]) {
      expect(await ask(recommender, text, 100)).toEqual(await ask(whole, text, 100));
    }
    for (const one of opened.splice(0)) await one.close();
    await close();
  });
});

describe("approximate dense search", () => {
  it("finds nearly what exact search finds, with the same scores; everything where it looks everywhere", async () => {
    const rows = randomRows(4000);
    const exact = await open(rows);
    const some = await open(rows, { vectors: { index: "ann", partitions: 20, probes: 6 } });
    const all = await open(rows, { vectors: { index: "ann", partitions: 20, probes: 20 } });
    let [found, total] = [0, 0];
    for (let i = 0; i < 20; i++) {
      const text = `word${i} word${i * 2} word${i + 20}`;
      const expected = await ask(exact, text, 20);
      const ids = new Set(idsOf(expected));
      const near = await ask(some, text, 20);
      found += near.filter(({ id }) => ids.has(id)).length;
      total += ids.size;
      const everywhere = await ask(all, text, 20);
      everywhere.forEach(({ score }, rank) => expect(score).toBeCloseTo(expected[rank]?.score as number, 5));
    }
    expect(found / total).toBeGreaterThan(0.6);
    expect(await some.fingerprint()).not.toBe(await all.fingerprint());
  });

  it("is exact for a small catalogue", async () => {
    const rows = randomRows(100);
    const ann = await open(rows, { vectors: { index: "ann" } });
    expect(await ask(ann, "word1 word2")).toEqual(await ask(await open(rows), "word1 word2"));
  });
});

describe("hybrid search", () => {
  const rows = [
    { id: "both", title: "red pen" },
    { id: "words", title: "unheard unheard of pen" },
    { id: "vector", title: "red blue" },
    { id: "none", title: "paper" },
  ];

  it("fuses both rankings", async () => {
    for (const method of ["rrf", "weighted"] as const) {
      const hybrid = await open(rows, { search: "hybrid", fusion: { method } });
      const hits = await ask(hybrid, "red pen");
      expect(hits[0]?.id).toBe("both");
      expect(hits.map(({ score }) => score)).toEqual(hits.map(({ score }) => score).toSorted((a, b) => b - a));
      expect(await ask(hybrid, "?!")).toEqual([]);
    }
    const asWords = await open(rows, { search: "hybrid", fusion: { denseWeight: 0 } });
    const asVectors = await open(rows, { search: "hybrid", fusion: { denseWeight: 1 } });
    const byWords = await open(rows, { search: "bm25" });
    const byVectors = await open(rows);
    expect(idsOf(await ask(asWords, "unheard pen"))).toEqual(idsOf(await ask(byWords, "unheard pen")));
    expect(idsOf(await ask(asVectors, "unheard pen"))).toEqual(idsOf(await ask(byVectors, "unheard pen")));
    expect(await asWords.fingerprint()).not.toBe(await asVectors.fingerprint());
  });

  it("adds up reciprocal ranks, or scores spread over 0 to 1", () => {
    const bm25 = { places: [3, 1, 0], scores: [10, 6, 2] };
    const dense = { places: [1, 2], scores: [0.9, 0.5] };
    const rankOf = (place: number) => place;
    const rrf = fuse(bm25, dense, resolveFusion({ k: 60, denseWeight: 0.25 }), rankOf);
    expect(rrf.places).toEqual([1, 3, 0, 2]);
    expect(rrf.scores[0]).toBeCloseTo(0.75 / 62 + 0.25 / 61, 12);
    const weighted = fuse(bm25, dense, resolveFusion({ method: "weighted", denseWeight: 0.4 }), rankOf);
    expect(weighted.places).toEqual([1, 3, 0, 2]);
    expect(weighted.scores).toEqual([0.6 * 0.5 + 0.4, 0.6, 0, 0]);
    const alone = fuse({ places: [], scores: [] }, { places: [7], scores: [0.3] }, resolveFusion({}), rankOf);
    expect(alone).toEqual({ places: [7], scores: [0.5 / 61] });
  });
});

describe("fields with weights", () => {
  it("add up their own scores by weight", async () => {
    const rows = [
      { id: "a", title: "red pen", text: "for writing" },
      { id: "b", title: "for writing", text: "red pen" },
      { id: "c", title: "blue paper", text: "blue paper" },
    ];
    const heavyTitle = await open(rows, { search: "bm25", text: { title: 3, text: 1 } });
    expect(idsOf(await ask(heavyTitle, "pen"))).toEqual(["a", "b"]);
    const heavyText = await open(rows, { search: "bm25", text: { title: 1, text: 2.5 } });
    const hits = await ask(heavyText, "pen");
    expect(idsOf(hits)).toEqual(["b", "a"]);
    expect((hits[0]?.score as number) / (hits[1]?.score as number)).toBeCloseTo(2.5, 4);
    const often = await ask(heavyText, "pen ".repeat(100));
    expect(idsOf(often)).toEqual(["b", "a"]);
    expect(await heavyText.fingerprint()).not.toBe(await heavyTitle.fingerprint());
  });
});

describe("filters", () => {
  const rows = [
    { id: "a", title: "red pen", kind: "pen", price: 1.5, tags: ["sale", "it's"], used: false },
    { id: "b", title: "red pen", kind: "pencil", price: 2, tags: [], used: true },
    { id: "c", title: "red pen", kind: "pen", price: null, tags: ["new"] },
    { id: "d", title: "red pen", kind: "x' OR 1 = 1 --", price: 1e21, used: false },
  ];
  const filterFields = { kind: "string", price: "number", tags: "strings", used: "boolean" } as const;

  it.each(["bm25", "dense", "hybrid"] as const)("let %s search find only what matches", async (search) => {
    const recommender = await open(rows, { search, filterFields });
    const find = async (filter: object) => idsOf(await ask(recommender.filtered(filter as never), "pen"));
    expect(await find({})).toEqual(["a", "b", "c", "d"]);
    expect(await find({ kind: "pen" })).toEqual(["a", "c"]);
    expect(await find({ kind: ["pen", "pencil"], used: true })).toEqual(["b"]);
    expect(await find({ kind: "x' OR 1 = 1 --" })).toEqual(["d"]);
    expect(await find({ kind: { min: "pen", max: "pen" } })).toEqual(["a", "c"]);
    expect(await find({ price: { max: 2 } })).toEqual(["a", "b"]);
    expect(await find({ price: { min: 2 } })).toEqual(["b", "d"]);
    expect(await find({ price: 1e21 })).toEqual(["d"]);
    expect(await find({ price: [1.5, 3] })).toEqual(["a"]);
    expect(await find({ tags: "it's" })).toEqual(["a"]);
    expect(await find({ tags: ["new", "sale"] })).toEqual(["a", "c"]);
    expect(await find({ used: false })).toEqual(["a", "d"]);
    expect(await find({ kind: "none" })).toEqual([]);
  });

  it("are part of what a recommender is, and end with it", async () => {
    const whole = await open(rows, { search: "bm25", filterFields });
    const given = await open(rows, { search: "bm25", filterFields, filter: { kind: "pen" } });
    expect(idsOf(await ask(given, "pen"))).toEqual(["a", "c"]);
    const view = whole.filtered({ kind: "pen" });
    expect(await view.fingerprint()).toBe(await given.fingerprint());
    expect(await view.fingerprint()).not.toBe(await whole.fingerprint());
    const other = whole.filtered({ kind: "pencil" });
    await view.close();
    await expect(ask(view, "pen")).rejects.toMatchObject({ code: "RECOMMENDER_CLOSED" });
    expect(idsOf(await ask(other, "pen"))).toEqual(["b"]);
    await whole.close();
    await expect(ask(other, "pen")).rejects.toMatchObject({ code: "RECOMMENDER_CLOSED" });
  });

  it("and rows that don't fit them are refused", async () => {
    const recommender = await open(rows, { search: "bm25", filterFields });
    const cases: [object, RegExp][] = [
      [{ colour: "red" }, /"colour" can't be filtered by; filterFields names kind, price/],
      [{ price: "cheap" }, /"price" is compared with "cheap"; expected a number/],
      [{ price: NaN }, /expected a number/],
      [{ price: {} }, /must be a value, a list of values, or \{min, max\}/],
      [{ price: { above: 1 } }, /must be a value/],
      [{ tags: { min: "a" } }, /must be a value, a list of values\./],
      [{ used: "yes" }, /must be true or false/],
      [{ kind: [] }, /empty list/],
    ];
    for (const [filter, message] of cases) {
      expect(() => recommender.filtered(filter as never)).toThrowError(message);
    }
    await expect(open(rows, { search: "bm25", filterFields: { kind: "number" } })).rejects.toThrowError(
      /row 1: "kind" is "pen"; expected a number or null/,
    );
    await expect(open(rows, { filterFields: { kind: "date" as never } })).rejects.toThrowError(/has the type date/);
  });
});

describe("options of vectors", () => {
  it("are checked", async () => {
    const cases: [Partial<LanceDbOptions>, RegExp][] = [
      [{ search: "fuzzy" as never }, /search is fuzzy; expected one of bm25, dense, hybrid/],
      [{ vectors: { index: "hnsw" as never } }, /vectors\.index is hnsw/],
      [{ vectors: { probes: 0 } }, /vectors\.probes is 0/],
      [{ fusion: { method: "max" as never } }, /fusion\.method is max/],
      [{ fusion: { denseWeight: 2 } }, /fusion\.denseWeight is 2/],
      [{ fusion: { depth: 0 } }, /fusion\.depth is 0/],
      [{ text: { title: 0 } }, /text gives "title" the weight 0/],
      [{ text: {} }, /text is \[\]/],
    ];
    for (const [options, message] of cases)
      await expect(open([{ id: 1, title: "x" }], options)).rejects.toThrowError(message);
    await writeFile(join(folder, "file"), "");
    await expect(open([{ id: 1, title: "x" }], { encoder: join(folder, "none") })).rejects.toMatchObject({
      code: "MODEL_NOT_FOUND",
    });
  });
});
