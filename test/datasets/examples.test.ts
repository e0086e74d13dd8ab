import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkRelevant, describePlace, placeOf, readExamples } from "../../src/datasets/index.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-examples-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function fileOf(...rows: unknown[]): Promise<string> {
  const path = join(folder, "train.jsonl");
  await writeFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
}

describe("readExamples", () => {
  it("reads queries, lists and gains; keeps other fields; names what has no id after its line", async () => {
    const path = await fileOf(
      { id: "q", query: "pen", relevant: ["1", 2, "1"], locale: "us" },
      { query: "ink", relevant: { a: 3, b: 0 } },
      { id: 7, query: "paper", relevant: ["x"] },
    );
    const examples = await readExamples(path);
    expect(examples).toEqual([
      { id: "q", query: "pen", relevant: ["1", "2"], locale: "us" },
      { id: "line-2", query: "ink", relevant: { a: 3, b: 0 } },
      { id: "7", query: "paper", relevant: ["x"] },
    ]);
    expect(placeOf(examples[1] as object)).toEqual({ path, line: 2 });
    expect(describePlace(examples[2] as { id: string })).toBe(`${path} line 3`);
    expect(describePlace({ id: "made" })).toBe('example "made"');
  });

  it("names file and line of every unusable example", async () => {
    const good = { id: "q", query: "pen", relevant: ["1"] };
    const cases: [unknown, string, RegExp][] = [
      [{ relevant: ["1"] }, "DATA_BAD_QUERY", /train\.jsonl line 2: "query" is absent; expected text that isn't empty/],
      [{ query: "  ", relevant: ["1"] }, "DATA_BAD_QUERY", /"query" is " {2}"/],
      [{ query: 3, relevant: ["1"] }, "DATA_BAD_QUERY", /"query" is 3/],
      [{ query: "x" }, "DATA_BAD_RELEVANT", /line 2: "relevant" is absent; expected a list of item ids/],
      [{ query: "x", relevant: [] }, "DATA_BAD_RELEVANT", /"relevant" is empty/],
      [{ query: "x", relevant: "1" }, "DATA_BAD_RELEVANT", /"relevant" is "1"/],
      [{ query: "x", relevant: [""] }, "DATA_BAD_RELEVANT", /"relevant" is \[""\]/],
      [{ query: "x", relevant: null }, "DATA_BAD_RELEVANT", /"relevant" is null/],
      [{ query: "x", relevant: { a: 0 } }, "DATA_BAD_RELEVANT", /has no gain above 0/],
      [{ query: "x", relevant: { a: "E" } }, "DATA_BAD_RELEVANT", /gives "a" the gain "E"/],
      [{ id: "q", query: "x", relevant: ["1"] }, "DATA_DUPLICATE_ID", /line 2: id "q" was used before, at line 1/],
      [{ id: true, query: "x", relevant: ["1"] }, "DATA_BAD_ID", /"id" is true/],
    ];
    for (const [row, code, message] of cases) {
      await expect(readExamples(await fileOf(good, row))).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message) as string,
      });
    }
    await expect(readExamples(await fileOf())).rejects.toMatchObject({ code: "DATA_EMPTY" });
  });

  it("reads other layouts by a parser of one's own, whose errors get the line", async () => {
    const path = await fileOf({ user: "u1", history: ["a"], target: "b" }, { user: "u2", history: [], target: "c" });
    interface NextItem {
      id: string;
      history: string[];
      relevant: string[];
    }
    const parse = (row: Record<string, unknown>): NextItem => ({
      id: row["user"] as string,
      history: row["history"] as string[],
      relevant: [row["target"] as string],
    });
    const examples = await readExamples<NextItem>(path, { parse });
    expect(examples[0]).toEqual({ id: "u1", history: ["a"], relevant: ["b"] });
    const strict = (row: Record<string, unknown>): NextItem => {
      if ((row["history"] as string[]).length === 0) throw new Error("the history is empty");
      return parse(row);
    };
    await expect(readExamples<NextItem>(path, { parse: strict })).rejects.toThrowError(
      /train\.jsonl line 2: the history is empty/,
    );
  });
});

describe("checkRelevant", () => {
  it("passes when everything is there, by a set or by a function", async () => {
    const examples = await readExamples(
      await fileOf({ query: "x", relevant: ["1"] }, { query: "y", relevant: { 2: 1, gone: 0 } }),
    );
    const expected = { examples: 2, relevant: 2, missing: [], unreachable: 0 };
    expect(await checkRelevant(examples, new Set(["1", "2"]))).toEqual(expected);
    expect(await checkRelevant(examples, (id) => Promise.resolve(id === "1" || id === "2"))).toEqual(expected);
  });

  it("counts what is missing, names the first with their lines, and refuses above a share", async () => {
    const rows = Array.from({ length: 9 }, (_, i) => ({ query: `q${i}`, relevant: [`${i}`, "here"] }));
    const path = await fileOf(...rows);
    const examples = await readExamples(path);
    await expect(checkRelevant(examples, new Set(["here", "0"]))).rejects.toMatchObject({
      code: "DATA_RELEVANT_NOT_IN_CATALOGUE",
      message: expect.stringMatching(
        /^8 of 18 relevant ids aren't in the catalogue:\n {2}"1" \(.*train\.jsonl line 2\)\n[^]*and 3 more\n/,
      ) as string,
    });
    const allowed = await checkRelevant(examples, new Set(["here"]), { maxMissingShare: 0.5 });
    expect(allowed.missing).toHaveLength(9);
    expect(allowed.unreachable).toBe(0);
    const none = await checkRelevant(examples, new Set<string>(), { maxMissingShare: 1 });
    expect(none.unreachable).toBe(9);
  });
});
