import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCatalogue, readCatalogueWords } from "../../src/datasets/index.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-catalogue-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function fileOf(...rows: unknown[]): Promise<string> {
  const path = join(folder, "catalogue.jsonl");
  await writeFile(path, rows.map((row) => `${typeof row === "string" ? row : JSON.stringify(row)}\n`).join(""));
  return path;
}

describe("readCatalogue", () => {
  it("reads ids, texts and fields in the file's order", async () => {
    const path = await fileOf(
      { sku: 12, title: "Pen", tags: ["blue", "gel"], pages: 3 },
      { sku: "a", title: null, tags: [] },
      { sku: "__proto__", title: "", tags: "x" },
    );
    const catalogue = await readCatalogue(path, { idField: "sku", textFields: ["title", "tags"] });
    expect([...catalogue.keys()]).toEqual(["12", "a", "__proto__"]);
    expect(catalogue.get("12")).toEqual({
      id: "12",
      texts: ["Pen", "blue\ngel"],
      fields: { sku: 12, title: "Pen", tags: ["blue", "gel"], pages: 3 },
    });
    expect(catalogue.get("a")?.texts).toEqual(["", ""]);
  });

  it("names line, field and remedy of every unusable row", async () => {
    const good = { id: "1", title: "Pen" };
    const cases: [unknown, string, RegExp][] = [
      [{ id: "1", title: "x" }, "DATA_DUPLICATE_ID", /jsonl line 2: id "1" was used before, at .*jsonl line 1\./],
      [{ id: 1, title: "x" }, "DATA_DUPLICATE_ID", /id "1" was used before/],
      [{ title: "x" }, "DATA_MISSING_FIELD", /line 2: no field "id" for the id; it has title\./],
      [{ id: "2", name: "x" }, "DATA_MISSING_FIELD", /line 2: no field "title"; it has id, name\./],
      [{}, "DATA_MISSING_FIELD", /it has no fields at all/],
      [{ id: "", title: "x" }, "DATA_BAD_ID", /"id" is ""; expected a string that isn't empty, or a whole number/],
      [{ id: 1.5, title: "x" }, "DATA_BAD_ID", /"id" is 1\.5/],
      [{ id: null, title: "x" }, "DATA_BAD_ID", /"id" is null/],
      [{ id: "2", title: { en: "x" } }, "DATA_BAD_FIELD", /"title" is \{"en":"x"\}; expected text or a list of texts/],
      [{ id: "2", title: [{}] }, "DATA_BAD_FIELD", /"title" is \[\{\}\]/],
      ["{", "DATA_NOT_JSON", /line 2: not JSON/],
    ];
    for (const [row, code, message] of cases) {
      await expect(readCatalogue(await fileOf(good, row), { textFields: ["title"] })).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message) as string,
      });
    }
  });

  it("refuses a catalogue without rows", async () => {
    for (const content of ["", "\n\n", "\ufeff"]) {
      await expect(readCatalogue(await fileOf(content), { textFields: ["title"] })).rejects.toMatchObject({
        code: "DATA_EMPTY_CATALOGUE",
      });
    }
  });

  it("lists the words of its texts, each once", async () => {
    const path = await fileOf(
      { id: "1", title: "Desk Lamp, black", brand: "Lux" },
      { id: "2", title: "Lamp 40W", brand: ["Lux", "Nova"] },
    );
    expect(await readCatalogueWords(path, { textFields: ["title", "brand"] })).toEqual([
      "desk",
      "lamp",
      "black",
      "lux",
      "40w",
      "nova",
    ]);
  });
});
