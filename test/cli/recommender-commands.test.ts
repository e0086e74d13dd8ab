import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import * as indexCommand from "../../src/cli/index-command.ts";
import * as sequentialCommand from "../../src/cli/sequential-command.ts";
import { writeWordEncoder } from "../support/tiny-encoder.ts";

const titles = ["red pen", "blue pen", "red paper", "blue paper", "green pen", "green paper"];
let folder: string;
let catalogue: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-commands-"));
  catalogue = join(folder, "items.jsonl");
  const rows = titles.map((title, i) => ({ id: i, title, text: i === 5 ? "pen" : "none" }));
  await writeFile(catalogue, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs one command as the program would. @returns what it printed */
async function run(module: { define: (command: Command) => void }, args: readonly string[]): Promise<string> {
  const command = new Command("it").exitOverride();
  module.define(command);
  let printed = "";
  const spies = (["stdout", "stderr"] as const).map((name) =>
    vi.spyOn(process[name], "write").mockImplementation((chunk) => {
      if (name === "stdout") printed += String(chunk);
      return true;
    }),
  );
  try {
    await command.parseAsync([...args], { from: "user" });
  } finally {
    spies.forEach((spy) => spy.mockRestore());
  }
  return printed;
}

describe("index", () => {
  const search = async (...more: string[]): Promise<string[]> => {
    const args = [catalogue, "--index-dir", join(folder, "index"), "--query", "pen", "--top", "6", "--json", ...more];
    const { results } = JSON.parse(await run(indexCommand, args)) as { results: { hits: { id: string }[] }[] };
    return results[0]?.hits.map(({ id }) => id) ?? [];
  };

  it("weighs fields, and searches by vectors", async () => {
    expect(await search("--text", "title", "text=0.1")).toEqual(["0", "1", "4", "5"]);
    expect(await search("--text", "title=0.1", "text=3")).toEqual(["5", "0", "1", "4"]);
    const encoder = join(folder, "encoder");
    await writeWordEncoder(encoder, ["red", "blue", "green", "pen", "paper"]);
    const dense = await search("--text", "title", "--search", "dense", "--encoder", encoder);
    expect(dense.slice(0, 3).sort()).toEqual(["0", "1", "4"]);
    expect(dense).toHaveLength(6);
    await expect(search("--text", "title=none")).rejects.toThrowError(/--text title=none: expected a weight above 0/);
    await expect(search("--text", "title", "--search", "fuzzy")).rejects.toThrowError(/search is fuzzy/);
  });
});

describe("sequential", () => {
  it("trains a model, and ranks by it and by the last title", async () => {
    const ring = titles.flatMap((_, i) =>
      [1, 2].map((length) => {
        const ids = Array.from({ length: length + 1 }, (__, j) => (i + j) % titles.length);
        return { history: ids.slice(0, -1), target: ids.at(-1) };
      }),
    );
    const data = join(folder, "histories.jsonl");
    await writeFile(data, ring.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const out = join(folder, "model");
    const train = ["train", "--items", catalogue, "--train", data, "--valid", data, "--out", out];
    const trained = JSON.parse(await run(sequentialCommand, [...train, "--hidden-size", "16", "--json"])) as object;
    expect(trained).toMatchObject({ model: out, items: 6 });
    const evaluate = ["eval", out, "--items", catalogue, "--test", data];
    const result = JSON.parse(await run(sequentialCommand, [...evaluate, "--json"])) as Record<string, Record<string, number>>; // prettier-ignore
    expect(result).toMatchObject({ rows: 12, sasrec: { "recall@50": 1 } });
    const found = titles.filter((title, i) => title.split(" ").some((word) => titles[(i + 1) % 6]?.includes(word)));
    expect(result.bm25?.["recall@10"]).toBeCloseTo(found.length / titles.length, 10);
    const table = await run(sequentialCommand, evaluate);
    expect(table).toMatch(
      /^12 histories\n +ndcg@10 +recall@10 +ndcg@50 +recall@50\nSASRec .*\nBM25, the last title .*\nboth, by rank .*\n$/,
    );
    const encoder = join(folder, "words");
    await writeWordEncoder(encoder, ["red", "blue", "green", "pen", "paper"]);
    const begun = [...train.slice(0, -1), join(folder, "begun"), "--encoder", encoder, "--epochs", "1", "--json"];
    expect(JSON.parse(await run(sequentialCommand, [...begun, "--hidden-size", "8"]))).toMatchObject({ epoch: 1 });
    await expect(run(sequentialCommand, [...begun, "--hidden-size", "64"])).rejects.toThrowError(
      /64 dimensions or more/,
    );
    await expect(run(sequentialCommand, [...train, "--epochs", "many"])).rejects.toThrowError(
      /--epochs: expected a number/,
    );
  });
});
