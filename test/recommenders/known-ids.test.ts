import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { fromFunction } from "../../src/recommenders/function/index.ts";
import { readCatalogueIds, withKnownIds } from "../../src/recommenders/known-ids.ts";
import { searchAll } from "../../src/rl/search.ts";

const shop = fromFunction((queries) => queries.map(({ text }) => text.split(" ").map((id, i) => ({ id, score: -i }))));

describe("withKnownIds", () => {
  it("reports ids that the catalogue doesn't have, query by query, and tells which there are", async () => {
    const held = withKnownIds(shop, ["a", "b"]);
    expect(await held.search([{ text: "b a" }], { topK: 5 })).toHaveLength(1);
    await expect(held.search([{ text: "a" }, { text: "b zz" }], { topK: 5 })).rejects.toMatchObject({
      code: "RECOMMENDER_UNKNOWN_ID",
      message: expect.stringMatching(
        /to the query "b zz": hit 2 is "zz", which isn't in the catalogue of 2 items/,
      ) as string,
    });
    const outcomes = await searchAll(held, ["a", "b zz", "b"], { topK: 5 });
    expect([...outcomes.values()].map((outcome) => "failure" in outcome)).toEqual([false, true, false]);
    expect([await held.has?.("a"), await held.has?.("zz")]).toEqual([true, false]);
    expect(await held.fingerprint()).toBe(await shop.fingerprint());
  });
});

describe("readCatalogueIds", () => {
  it("reads the ids of a catalogue", async () => {
    const dir = await mkdtemp(join(tmpdir(), "rec-r1-ids-"));
    const path = join(dir, "catalogue.jsonl");
    await writeFile(path, '{"sku": 7}\n{"sku": "b", "title": null}\n');
    expect(await readCatalogueIds(path, "sku")).toEqual(["7", "b"]);
    await expect(readCatalogueIds(path)).rejects.toMatchObject({ code: "DATA_MISSING_FIELD" });
    await rm(dir, { recursive: true });
  });
});
