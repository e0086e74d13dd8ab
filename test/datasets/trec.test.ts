import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readQrels, readRun, writeQrels, writeRun } from "../../src/datasets/index.ts";
import { toTrecId } from "../../src/datasets/trec.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-trec-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function fileOf(content: string): Promise<string> {
  const path = join(folder, "file.txt");
  await writeFile(path, content);
  return path;
}

describe("TREC files", () => {
  it("come back as they were written", async () => {
    const path = join(folder, "new", "qrels.txt");
    const qrels = new Map([
      ["q1", new Map([["d1", 2], ["d2", -1]])], // prettier-ignore
      ["q2", new Map([["__proto__", 0]])],
    ]);
    await writeQrels(path, qrels);
    expect(await readFile(path, "utf8")).toBe("q1 0 d1 2\nq1 0 d2 -1\nq2 0 __proto__ 0\n");
    expect(await readQrels(path)).toEqual(qrels);
    const run = new Map([["q1", [{ id: "d1", score: 12.345678901234567 }, { id: "d0", score: -1e-7 }]]]); // prettier-ignore
    await writeRun(path, run, "mine");
    expect(await readFile(path, "utf8")).toBe("q1 Q0 d1 1 12.345678901234567 mine\nq1 Q0 d0 2 -1e-7 mine\n");
    expect(await readRun(path)).toEqual(run);
  });

  it("hold every id of a query, and no two alike", () => {
    const ids = [
      "a b",
      "a_b",
      "a%20b",
      "a%2520b",
      "a  b",
      "a\tb",
      "a\u00a0b",
      "a%C2%A0b",
      " ",
      "",
      "%00",
      "%",
      "% 0",
      "q1",
    ];
    const written = ids.map(toTrecId);
    for (const id of written) expect(id).toMatch(/^\S+$/);
    expect(new Set(written).size).toBe(ids.length);
    expect(["a_b", "q1", "100%", "50%-off", "%zz"].map(toTrecId)).toEqual(["a_b", "q1", "100%", "50%-off", "%zz"]);
    expect(toTrecId("red pen")).toBe("red%20pen");
    // Read as percent-encoding, every id is what it was.
    for (const id of ids.filter((id) => id !== "")) {
      expect(toTrecId(id).replace(/(?:%[0-9A-F]{2})+/gi, decodeURIComponent)).toBe(id);
    }
  });

  it("are read with tabs, runs of blanks, CRLF and ranks that lie", async () => {
    const run = await readRun(await fileOf("1\tQ0  a 1 0.5 t\r\n\r\n1 Q0 c 2 7 t\r\n1 Q0 b 9 0.5 t\r\n"));
    expect(run.get("1")?.map(({ id }) => id)).toEqual(["c", "b", "a"]);
  });

  it("have every fault named with its line", async () => {
    await expect(readQrels(await fileOf("1 0 a 1\n1 0 b\n"))).rejects.toThrowError(
      /file\.txt line 2: 3 fields; expected 4: query 0 item gain/,
    );
    await expect(readQrels(await fileOf("1 0 a high\n"))).rejects.toThrowError(/line 1: gain is "high"/);
    await expect(readQrels(await fileOf("1 0 a 0.5\n"))).rejects.toThrowError(/expected a whole number/);
    await expect(readQrels(await fileOf("1 0 a 1\n1 0 a 1\n"))).rejects.toThrowError(/line 2: item "a" .* second time/);
    await expect(readRun(await fileOf("1 Q0 a 1 nan t\n"))).rejects.toThrowError(/line 1: score is "nan"/);
    await expect(readRun(await fileOf("1 Q0 a 1 1 t\n1 Q0 a 2 0 t\n"))).rejects.toThrowError(/second time/);
    await expect(readRun(await fileOf("\n"))).rejects.toMatchObject({ code: "DATA_EMPTY" });
    await expect(readRun(join(folder, "none"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("aren't written with ids or numbers that they can't hold", async () => {
    const path = join(folder, "bad.txt");
    await expect(writeRun(path, new Map([["q 1", [{ id: "a", score: 1 }]]]))).rejects.toThrowError(/query id "q 1"/);
    await expect(writeRun(path, new Map([["q", [{ id: "", score: 1 }]]]))).rejects.toThrowError(/item id ""/);
    await expect(writeRun(path, new Map([["q", [{ id: "a", score: NaN }]]]))).rejects.toThrowError(/score of "a"/);
    await expect(writeQrels(path, new Map([["q", new Map([["a", 0.5]])]]))).rejects.toThrowError(/gain of "a"/);
    await expect(readFile(path)).rejects.toMatchObject({ code: "ENOENT" });
  });
});
