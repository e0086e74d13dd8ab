import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  LanceDbRecommender,
  type IndexProgress,
  type LanceDbOptions,
} from "../../../src/recommenders/lancedb/index.ts";

const run = promisify(execFile);

let folder: string;
let catalogue: string;
let indexDir: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-lancedb-"));
  catalogue = join(folder, "catalogue.jsonl");
  indexDir = join(folder, "deep", "index");
  await writeRows([{ id: "1", title: "red pen" }, { id: "2", title: "blue pen", price: 3 }]); // prettier-ignore
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function writeRows(rows: readonly unknown[]): Promise<void> {
  await writeFile(catalogue, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

/** Opens, asks, closes; tells which stages the opening went through. */
async function openAndAsk(query: string, options: Partial<LanceDbOptions> = {}) {
  const stages: IndexProgress["stage"][] = [];
  const recommender = await LanceDbRecommender.fromJsonl(catalogue, {
    text: ["title"],
    indexDir,
    onProgress: ({ stage }) => stages.push(stage),
    ...options,
  });
  const [hits] = await recommender.search([{ text: query }], { topK: 10 });
  const fingerprint = await recommender.fingerprint();
  await recommender.close();
  return { ids: hits?.map(({ id }) => id), stages, fingerprint };
}

const built = ["reading", "indexing", "ready"];
const reused = ["ready"];

describe("an index folder", () => {
  it("is used again for the same contents and settings, and made anew for others", async () => {
    const first = await openAndAsk("pen");
    expect(first).toMatchObject({ ids: ["1", "2"], stages: built });
    expect(await openAndAsk("pen")).toEqual({ ...first, stages: reused });
    expect(await readdir(indexDir)).toHaveLength(1);
    const others: Partial<LanceDbOptions>[] = [
      { stem: false },
      { stopWords: false },
      { stopWords: ["pen"] },
      { language: "German" },
      { foldAccents: true },
      { store: [] },
      { text: ["title", "id"] },
    ];
    const fingerprints = new Set([first.fingerprint]);
    for (const options of others) {
      const other = await openAndAsk("pen", options);
      expect(other.stages).toEqual(built);
      fingerprints.add(other.fingerprint);
    }
    expect(fingerprints.size).toBe(others.length + 1);
    await writeRows([{ id: "3", title: "green pen" }]);
    expect(await openAndAsk("pen")).toMatchObject({ ids: ["3"], stages: built });
  });

  it("is made by one of many processes and used by all", { timeout: 120_000 }, async () => {
    await writeRows(Array.from({ length: 2000 }, (_, i) => ({ id: `${i}`, title: `pen number${i}` })));
    const script = `
      import { createJiti } from "jiti";
      const { LanceDbRecommender } = await createJiti(import.meta.url).import(process.argv[1]);
      const [, , catalogue, indexDir] = process.argv;
      const recommender = await LanceDbRecommender.fromJsonl(catalogue, { text: ["title"], indexDir });
      const [hits] = await recommender.search([{ text: "number1234" }], { topK: 5 });
      console.log(JSON.stringify([hits.map((hit) => hit.id), await recommender.fingerprint()]));
      await recommender.close();`;
    const module = join(import.meta.dirname, "../../../src/recommenders/lancedb/index.ts");
    const args = ["--input-type=module", "-e", script, module, catalogue, indexDir];
    const outputs = await Promise.all(Array.from({ length: 3 }, () => run(process.execPath, args)));
    const answers = new Set(outputs.map(({ stdout }) => stdout));
    expect([...answers]).toEqual([expect.stringMatching(/^\[\["1234"\],"lancedb:[0-9a-f]{64}"\]\n$/)]);
    expect(await readdir(indexDir)).toHaveLength(1);
  });

  it("is made by one of many callers in this process", async () => {
    const all = await Promise.all(Array.from({ length: 4 }, () => openAndAsk("pen")));
    expect(all.map(({ ids }) => ids)).toEqual(Array.from({ length: 4 }, () => ["1", "2"]));
    expect(await readdir(indexDir)).toHaveLength(1);
  });

  it("is made anew when it is damaged", async () => {
    const { fingerprint } = await openAndAsk("pen");
    const index = join(indexDir, (await readdir(indexDir))[0] as string);
    const manifest = await readFile(join(index, "index.json"), "utf8");
    const filesBelow = async (path: string): Promise<string[]> =>
      (await readdir(path, { recursive: true, withFileTypes: true }))
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name));
    const damages: (() => Promise<unknown>)[] = [
      () => rm(join(index, "index.json")),
      () => writeFile(join(index, "index.json"), "{"),
      () => writeFile(join(index, "index.json"), manifest.replace('"rows":2', '"rows":3')),
      () => rm(join(index, "items.lance"), { recursive: true }),
      ...["data", "_indices"].map((part) => async () => {
        const files = (await filesBelow(index)).filter((path) => path.includes(`/${part}/`));
        expect(files.length).toBeGreaterThan(0);
        for (const path of files) await truncate(path, 10);
      }),
      async () => {
        await rm(index, { recursive: true });
        await writeFile(index, "not a folder");
      },
    ];
    for (const damage of damages) {
      await damage();
      expect(await openAndAsk("pen")).toEqual({ ids: ["1", "2"], stages: built, fingerprint });
      expect(await openAndAsk("pen")).toMatchObject({ stages: reused });
      expect(await readdir(indexDir)).toHaveLength(1);
    }
  });

  it("leaves nothing behind when the catalogue is unusable", async () => {
    await writeRows([{ id: "1", title: "red pen" }, { id: "1", title: "blue pen" }]); // prettier-ignore
    await expect(openAndAsk("pen")).rejects.toMatchObject({ code: "DATA_DUPLICATE_ID" });
    expect(await readdir(indexDir)).toEqual([]);
    expect((await openAndAsk("pen", { id: "title", text: ["id"] })).stages).toEqual(built);
  });

  it("is gone on with where building was stopped", async () => {
    await writeRows(Array.from({ length: 45_000 }, (_, i) => ({ id: `i${i}`, title: `pen word${i}` })));
    const whole = await openAndAsk("word44999", { indexDir: join(folder, "other") });
    const controller = new AbortController();
    const stopAt = ({ stage, rows }: IndexProgress): void => {
      if (stage === "reading" && rows === 20_000) controller.abort();
    };
    const stopped = openAndAsk("pen", { signal: controller.signal, onProgress: stopAt });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    await expect.poll(async () => (await readdir(indexDir)).filter((name) => name.endsWith(".lock"))).toEqual([]);
    expect(await readdir(indexDir)).toEqual([expect.stringMatching(/\.part$/)]);
    const seen: IndexProgress[] = [];
    const recommender = await LanceDbRecommender.fromJsonl(catalogue, {
      text: ["title"],
      indexDir,
      onProgress: (progress) => seen.push({ ...progress }),
    });
    expect(seen.map(({ rows }) => rows)).toEqual([20_000, 40_000, 45_000, 45_000, 45_000]);
    expect(seen.every(({ total }) => total === 45_000)).toBe(true);
    expect(recommender.size).toBe(45_000);
    const texts = ["word0", "word19999", "word20000", "word44999"];
    const answers = await recommender.search(texts.map((text) => ({ text })), { topK: 2 }); // prettier-ignore
    expect(answers.map((hits) => hits.map(({ id }) => id))).toEqual([["i0"], ["i19999"], ["i20000"], ["i44999"]]);
    expect(await recommender.fingerprint()).toBe(whole.fingerprint);
    await recommender.close();
    expect(await readdir(indexDir)).toHaveLength(1);
  });

  it("is gone on with where the process that built it was killed, and a part that can't be read is made anew", async () => {
    await writeRows(Array.from({ length: 45_000 }, (_, i) => ({ id: `i${i}`, title: `pen word${i}` })));
    const script = `
      import { createJiti } from "jiti";
      const { LanceDbRecommender } = await createJiti(import.meta.url).import(process.argv[1]);
      const onProgress = ({ rows }) => rows >= 20_000 && process.kill(process.pid, "SIGKILL");
      await LanceDbRecommender.fromJsonl(process.argv[2], { text: ["title"], indexDir: process.argv[3], onProgress });`;
    const module = join(import.meta.dirname, "../../../src/recommenders/lancedb/index.ts");
    const killBuilder = () =>
      run(process.execPath, ["--input-type=module", "-e", script, module, catalogue, indexDir]).catch(
        (error: { signal?: string }) => error.signal,
      );
    const rowsSeen = async (): Promise<number[]> => {
      const rows: number[] = [];
      const found = await openAndAsk("word31234", { onProgress: (progress) => rows.push(progress.rows) });
      expect(found.ids).toEqual(["i31234"]);
      return rows;
    };
    expect(await killBuilder()).toBe("SIGKILL");
    expect((await readdir(indexDir)).sort()).toEqual([expect.stringMatching(/lock$/), expect.stringMatching(/part$/)]);
    expect(await rowsSeen()).toEqual([20_000, 40_000, 45_000, 45_000, 45_000]);
    await rm(indexDir, { recursive: true });
    expect(await killBuilder()).toBe("SIGKILL");
    const part = join(indexDir, (await readdir(indexDir)).find((name) => name.endsWith(".part")) as string);
    for (const entry of await readdir(part, { recursive: true, withFileTypes: true })) {
      if (entry.isFile() && entry.name.endsWith(".manifest")) await truncate(join(entry.parentPath, entry.name), 10);
    }
    expect(await rowsSeen()).toEqual([20_000, 40_000, 45_000, 45_000, 45_000]);
    expect(await readdir(indexDir)).toHaveLength(1);
  }, 120_000);

  it("sweeps away what builds that were cut off left long ago", async () => {
    const old = [join(indexDir, "abc.part"), join(indexDir, "abc.tmp-1-0123abcd")];
    const fresh = join(indexDir, "def.part");
    for (const path of [...old, fresh]) await mkdir(join(path, "items.lance"), { recursive: true });
    const longAgo = new Date(Date.now() - 8 * 24 * 3600 * 1000);
    for (const path of old) await utimes(path, longAgo, longAgo);
    await openAndAsk("pen");
    const left = await readdir(indexDir);
    expect(left).toHaveLength(2);
    expect(left).toContain("def.part");
  });

  it.skipIf(process.getuid?.() === 0)("says where it can't be written (root may write everywhere)", async () => {
    await mkdir(indexDir, { recursive: true });
    await chmod(indexDir, 0o500);
    await expect(openAndAsk("pen")).rejects.toMatchObject({ code: "NO_PERMISSION" });
  });

  it("says where a file is in its way", async () => {
    await writeFile(join(folder, "deep"), "");
    await expect(openAndAsk("pen")).rejects.toThrowError(
      /Could not write the index to .*deep.index: a part of the path/,
    );
  });

  it("takes many writes for a large catalogue, and finds every row of them", async () => {
    await writeRows(Array.from({ length: 45_000 }, (_, i) => ({ id: `i${i}`, title: `pen word${i}` })));
    const recommender = await LanceDbRecommender.fromJsonl(catalogue, { text: ["title"], indexDir });
    expect(recommender.size).toBe(45_000);
    const numbers = [0, 19_999, 20_000, 39_999, 40_000, 44_999];
    const answers = await recommender.search(
      numbers.map((i) => ({ text: `word${i}` })),
      { topK: 3 },
    );
    expect(answers.map((hits) => hits.map(({ id, payload }) => [id, payload]))).toEqual(
      numbers.map((i) => [[`i${i}`, { title: `pen word${i}` }]]),
    );
    await recommender.close();
  });
});

describe("a catalogue for the index", () => {
  it("has its faults named with the line, or with the row", async () => {
    const fromFile = (options: Partial<LanceDbOptions> = {}) => openAndAsk("pen", options);
    await expect(fromFile({ text: ["name"] })).rejects.toThrowError(
      /catalogue\.jsonl line 1: no field "name"; it has id, title\./,
    );
    await expect(fromFile({ id: "sku" })).rejects.toThrowError(/line 1: no field "sku" for the id/);
    await writeFile(catalogue, '{"id":"1","title":"a"}\n{"id":');
    await expect(fromFile()).rejects.toThrowError(/catalogue\.jsonl line 2: not JSON/);
    await writeFile(catalogue, "");
    await expect(fromFile()).rejects.toMatchObject({ code: "DATA_EMPTY_CATALOGUE" });
    await rm(catalogue);
    await expect(fromFile()).rejects.toThrowError(/Could not read .*catalogue\.jsonl: no such file/);
    const fromRows = (rows: Record<string, unknown>[]) => LanceDbRecommender.fromRows(rows, { text: ["title"] });
    await expect(fromRows([])).rejects.toMatchObject({ code: "DATA_EMPTY_CATALOGUE" });
    await expect(fromRows([{ id: "1", title: "a" }, { id: "1", title: "b" }])).rejects.toThrowError(/row 2: id "1" was used before, at row 1/); // prettier-ignore
  });

  it("has its options checked", async () => {
    const cases: [object, RegExp][] = [
      [{ text: [] }, /text is \[\]; expected a list of field names/],
      [{ text: "title" }, /text is "title"/],
      [{ store: [1] }, /store is \[1\]/],
      [{ concurrency: 0 }, /concurrency is 0/],
      [{ language: "Klingon" }, /Unknown language "Klingon"; expected one of Arabic, /],
      [{ stopWords: [1] }, /stopWords: expected/],
    ];
    for (const [options, message] of cases) {
      await expect(openAndAsk("pen", options)).rejects.toThrowError(message);
      await expect(openAndAsk("pen", options)).rejects.toMatchObject({ name: "ConfigError" });
    }
  });
});
