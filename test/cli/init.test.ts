import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lookAtCatalogue } from "../../src/cli/init/look-at-catalogue.ts";
import { parseMetric, taskFile } from "../../src/cli/init/project-files.ts";
import type { Project } from "../../src/cli/init/project-files.ts";
import { startServer } from "../support/local-server.ts";
import { lastJson, runInProcess } from "./run-in-process.ts";

let folder: string;
const at = (...path: string[]): string => join(folder, ...path);
const lines = (rows: readonly unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

const things = ["pen", "ink", "nib", "pad", "box", "bin", "cup", "fan", "lamp", "desk", "tape", "clip", "file", "fork"];
const colours = ["red", "blue", "green"];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-init-"));
  const products = things.flatMap((thing, i) =>
    colours.map((colour, j) => ({ sku: `s${i}${j}`, name: `${colour} ${thing}` })),
  );
  const csv = products.map(({ sku, name }, i) => `${sku},"${name}",${i * 3},https://example.com/${sku}.png`);
  await writeFile(at("products.csv"), `sku,name,price,image\n${csv.join("\n")}\n`);
  await writeFile(at("products.jsonl"), lines(products));
  const clicks = products.map(({ sku, name }) => `${name},${sku},9,1`);
  await writeFile(at("clicks.csv"), `search_term,product_id,clicks,position\n${clicks.join("\n")}\nghost,gone,5,1\n`);
  await writeFile(at("queries.jsonl"), lines(products.map(({ sku, name }) => ({ query: name, relevant: [sku] }))));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("rec-r1 init", () => {
  it("makes a project of a CSV catalogue and a click log, and measures the raw queries", async () => {
    const args = [
      "init",
      at("shop"),
      "--catalogue",
      at("products.csv"),
      "--queries",
      at("clicks.csv"),
      "--yes",
      "--json",
    ];
    const { stdout, stderr, code } = await runInProcess(...args);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const result = lastJson(stdout);
    expect(result).toMatchObject({
      items: 42,
      id: "sku",
      text: ["name"],
      metric: "ndcg@10",
      examples: { train: 30, valid: 4, test: 8 },
    });
    // Every name is found by itself.
    expect(result.raw).toMatchObject({ mean: 1, queries: 8, empty: 0 });
    expect(result.origin).toEqual([
      expect.stringMatching(/clicks.csv \(clicks\)/),
      "Columns were taken as query: search_term, item: product_id, clicks: clicks, position: position.",
      expect.stringMatching(/corrected for the position with eta 1/),
      expect.stringMatching(/^1 judgments of items that the catalogue lacks/),
      expect.stringMatching(/^1 queries were left out/),
    ]);
    expect((await readdir(at("shop"))).sort()).toEqual(
      ["README.md", "catalogue.jsonl", "task.ts", "test.jsonl", "train.jsonl", "valid.jsonl"].sort(),
    );
    expect(await readFile(at("shop/README.md"), "utf8")).toMatch(/score ndcg@10 1\.0000 on the test split/);
  });

  it("says where every row counts as one click", async () => {
    const rows = things.flatMap((thing, i) => [`red ${thing},s${i}0`, `red ${thing},s${i}0`]);
    await writeFile(at("rows.csv"), `query,product_id\n${rows.join("\n")}\n`);
    const args = ["init", at("rows"), "--catalogue", at("products.csv"), "--queries", at("rows.csv"), "--yes"];
    const { stdout } = await runInProcess(...args, "--no-eval");
    expect(stdout).toMatch(/Columns were taken as query: query, item: product_id\./);
    expect(stdout).toMatch(/No column counts clicks: every row is one click\./);
  });

  it("says what of the judgments was dropped or passed over", async () => {
    const rows = things.map((thing, i) => `red ${thing},s${i}0,5,1`);
    await writeFile(at("some.csv"), `query,sku,clicks,rank\n${[...rows, ...rows].join("\n")}\nred pen,s00,5,top\n`);
    const event = (thing: string, i: number) => ({
      action_name: "click",
      user_query: `red ${thing}`,
      event_attributes: { object: { object_id: `s${i}0` } },
    });
    const events = [...things.map(event), ...things.map(event), { action_name: "page_exit" }];
    await writeFile(at("events.jsonl"), lines(events));
    for (const [queries, said] of [
      ["some.csv", /Rows that can't be used were dropped: 1 of 29 rows \(1 × "rank" is text; expected a number\)\./],
      ["events.jsonl", /Events were passed over: 1 with another action\./],
    ] as const) {
      const args = ["init", at(`${queries}-shop`), "--catalogue", at("products.csv"), "--queries", at(queries)];
      expect((await runInProcess(...args, "--yes", "--no-eval")).stdout).toMatch(said);
    }
  });

  it.each(["-", ","])("reads a cell of several ids by the catalogue's ids, with %j in them", async (mark) => {
    const [catalogue, queries] = [at(`ids${mark}.csv`), at(`cells${mark}.csv`)];
    const id = (i: number): string => `"s${mark}${i}"`;
    await writeFile(catalogue, `sku,name\n${things.map((thing, i) => `${id(i)},red ${thing}`).join("\n")}\n`);
    const cell = (i: number): string => (mark === "," ? id(i) : `"s-${i},s-0"`);
    await writeFile(queries, `query,relevant\n${things.map((thing, i) => `red ${thing},${cell(i)}`).join("\n")}\n`);
    const args = ["init", at(`cells${mark}`), "--catalogue", catalogue, "--queries", queries, "--yes", "--no-eval"];
    const { stdout } = await runInProcess(...args);
    expect(stdout).toMatch(/14 items; 9 queries to train on, 2 for validation, 3 for the test/);
    expect(stdout).not.toMatch(/left out/);
  });

  it("uses a catalogue where it lies, when nothing is missing in it", async () => {
    const args = ["init", at("near"), "--catalogue", at("products.jsonl"), "--queries", at("queries.jsonl"), "--yes"];
    const { stdout, code } = await runInProcess(...args, "--metric", "recall@5", "--name", "pens */ and ink");
    expect(code).toBe(0);
    expect(stdout).toMatch(/42 items; 30 queries to train on, 4 for validation, 8 for the test/);
    expect(await readdir(at("near"))).not.toContain("catalogue.jsonl");
    expect(await readFile(at("near/task.ts"), "utf8")).toMatch(/here\("\.\.\/products\.jsonl"\)/);
    const trained = await runInProcess("doctor", at("near/task.ts"), "--json");
    expect(trained.stdout).toMatch(/pens/);
  });

  it("writes over nothing, and keeps what was there where it is told to", async () => {
    await mkdir(at("mine"));
    await writeFile(at("mine/task.ts"), "mine");
    const args = [
      "init",
      at("mine"),
      "--catalogue",
      at("products.jsonl"),
      "--queries",
      at("queries.jsonl"),
      "--yes",
      "--no-eval",
    ];
    const refused = await runInProcess(...args);
    expect(refused.stderr).toMatch(/has task\.ts already.*--force/);
    expect(await readdir(at("mine"))).toEqual(["task.ts"]);
    expect((await runInProcess(...args, "--force")).code).toBe(0);
    expect(await readFile(at("mine/task.ts.bak"), "utf8")).toBe("mine");
  });

  it(
    "asks on a terminal, with what it guessed, and stops at Ctrl-C without writing",
    { timeout: 120_000 },
    async () => {
      const asked = await onTerminal(
        ["init", at("asked"), "--no-eval"],
        [
          [/File of the catalogue/, at("products.jsonl")],
          [/Field of the item/, ""],
          [/Fields whose text/, ""],
          [/File of queries/, at("queries.jsonl")],
          [/Recommender/, ""],
          [/Metric/, "mrr@3"],
        ],
      );
      expect(asked.text).toMatch(/Field of the item's id \[sku\]/);
      expect(asked.text).toMatch(/Recommender \(lancedb, opensearch, http\) \[lancedb\]/);
      expect(asked.code).toBe(0);
      expect(await readFile(at("asked/task.ts"), "utf8")).toMatch(/mrr\(hits, example\.relevant, \{ k: 3 \}\)/);
      const stopped = await onTerminal(
        ["init", at("stopped")],
        [
          [/File of the catalogue/, at("products.jsonl")],
          [/Field of the item/, "\u0003"],
        ],
      );
      expect(stopped.code).toBe(130);
      await expect(readdir(at("stopped"))).rejects.toThrow();
    },
  );

  it("leaves the project standing where the search engine can't be asked", async () => {
    const args = ["init", at("remote"), "--catalogue", at("products.jsonl"), "--queries", at("queries.jsonl"), "--yes"];
    const { stdout, code } = await runInProcess(
      ...args,
      "--recommender",
      "opensearch",
      "--url",
      "http://127.0.0.1:9",
      "--index",
      "shop",
    );
    expect(stdout).toMatch(/could not be measured: /);
    expect(code).toBe(0);
    expect(await readdir(at("remote"))).toContain("task.ts");
  });

  it("measures an HTTP API", async () => {
    const server = await startServer(({ body }) => {
      const { q } = JSON.parse(body) as { q: string };
      const index = things.findIndex((thing) => q.includes(thing));
      return { json: { results: [{ id: `s${index}${colours.findIndex((colour) => q.includes(colour))}` }] } };
    });
    const args = [
      "init",
      at("api"),
      "--catalogue",
      at("products.jsonl"),
      "--queries",
      at("queries.jsonl"),
      "--yes",
      "--json",
    ];
    const { stdout } = await runInProcess(...args, "--recommender", "http", "--url", `${server.url}/search`);
    await server.close();
    expect(lastJson(stdout).raw).toMatchObject({ mean: 1, queries: 8 });
  });

  it.each([
    [["--queries", "queries.jsonl"], /File of the catalogue\? Say it with --catalogue FILE/],
    [["--catalogue", "products.jsonl"], /queries with what is relevant, or of clicks\? Say it with --queries FILE/],
    [["--catalogue", "nowhere.csv", "--queries", "queries.jsonl"], /nowhere.csv/],
    [["--catalogue", "empty.csv", "--queries", "queries.jsonl"], /is empty/],
    [["--catalogue", "numbers.csv", "--queries", "queries.jsonl"], /no field has text to search; it has id, price/],
    [["--catalogue", "twice.csv", "--queries", "queries.jsonl", "--id", "id"], /id "1" was used before, at .*line 2/],
    [["--catalogue", "products.jsonl", "--queries", "products.jsonl"], /none of the known formats/],
    [["--catalogue", "products.jsonl", "--queries", "few.jsonl"], /There are 1 queries .*10 are needed/],
    [
      ["--catalogue", "products.jsonl", "--queries", "other.jsonl"],
      /12 of 12 judged ids are not in the catalogue \("x0", for one/,
    ],
    [
      ["--catalogue", "products.jsonl", "--queries", "queries.jsonl", "--id", "skv"],
      /no field "skv". Did you mean "sku"/,
    ],
    [
      ["--catalogue", "products.jsonl", "--queries", "queries.jsonl", "--metric", "ndgc"],
      /The metric is "ndgc"; expected ndcg@K/,
    ],
    [
      ["--catalogue", "products.jsonl", "--queries", "queries.jsonl", "--recommender", "lance"],
      /"lance" is no recommender that init sets up\. Did you mean "lancedb"/,
    ],
    [
      ["--catalogue", "products.jsonl", "--queries", "queries.jsonl", "--recommender", "http"],
      /Address of the server\? Say it with --url/,
    ],
  ])("refuses %j and writes nothing", async (args, message) => {
    await writeFile(at("empty.csv"), "");
    await writeFile(at("numbers.csv"), "id,price\n1,2\n3,4\n");
    await writeFile(at("twice.csv"), "id,title\n1,red pen\n1,blue pen\n");
    await writeFile(at("few.jsonl"), lines([{ query: "pen", relevant: ["s00"] }]));
    await writeFile(
      at("other.jsonl"),
      lines(Array.from({ length: 12 }, (_, i) => ({ query: `q ${i}`, relevant: [`x${i}`] }))),
    );
    const paths = args.map((argument) => (/\.(csv|jsonl)$/.test(argument) ? at(argument) : argument));
    const { stderr, code } = await runInProcess("init", at("refused"), "--yes", ...paths);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/unexpected/);
    expect(code).toBe(1);
    await expect(readdir(at("refused"))).rejects.toThrow();
  });
});

/** Runs the command line on a pseudo-terminal and answers its questions in order; Ctrl-C is an answer, too. */
async function onTerminal(
  args: readonly string[],
  answers: readonly (readonly [question: RegExp, answer: string])[],
): Promise<{ text: string; code: number | null }> {
  const root = join(import.meta.dirname, "../..");
  const command = [process.execPath, "--import", "jiti/register", join(root, "src/cli/main.ts"), ...args]
    .map((word) => `'${word.replaceAll("'", `'\\''`)}'`)
    .join(" ");
  const child = spawn("script", ["-qefc", command, "/dev/null"], { cwd: root, env: { ...process.env, CI: "1" } });
  let [text, seen, answered] = ["", 0, 0];
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
    const [question, answer] = answers[answered] ?? [];
    const rest = text.slice(seen);
    if (!question || answer === undefined || !question.test(rest) || !rest.includes(": ")) return;
    answered++;
    seen = text.length;
    child.stdin.write(answer === "\u0003" ? answer : `${answer}\r`);
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { text, code };
}

describe("looking at a catalogue", () => {
  it.each<[string, unknown[], string | undefined, string[]]>([
    [
      "usual names",
      [
        { id: 1, title: "red pen", description: "writes in red" },
        { id: 2, title: "ink", description: "for pens" },
      ],
      "id",
      ["title", "description"],
    ],
    [
      "another order",
      [
        { description: "in blue", name: "pen", asin: "B1" },
        { description: "in red", name: "ink", asin: "B2" },
      ],
      "asin",
      ["name", "description"],
    ],
    [
      "an id by its form",
      [
        { nr: "a-1", what: "two words" },
        { nr: "a-2", what: "more words" },
      ],
      "nr",
      ["what"],
    ],
    [
      "lists of texts",
      [
        { _id: "1", text: ["red", "pen"] },
        { _id: "2", text: ["ink"] },
      ],
      "_id",
      ["text"],
    ],
    ["no id at all", [{ title: "same pen" }, { title: "same pen" }], undefined, ["title"]],
  ])("finds %s", async (name, rows, id, text) => {
    const path = at(`${name.replaceAll(" ", "-")}.jsonl`);
    await writeFile(path, lines(rows));
    expect(await lookAtCatalogue(path)).toMatchObject({ id, text });
  });

  it("passes over numbers, links and codes", async () => {
    await writeFile(
      at("mixed.csv"),
      "id,title,price,url,stock\n1,red pen,3,https://x.y/z,yes\n2,ink,4,https://x.y/w,yes\n",
    );
    expect((await lookAtCatalogue(at("mixed.csv"))).text).toEqual(["title"]);
  });
});

describe("the task file", () => {
  const project: Project = {
    name: 'a "name" */ with `ticks`',
    catalogue: 'cat"alogue.jsonl',
    idField: "sku",
    textFields: ['na"me', "text"],
    recommender: { kind: "lancedb" },
    metric: parseMetric("NDCG@20"),
    examples: { train: 7, valid: 2, test: 2 },
    origin: [],
  };

  it.each<Project["recommender"]>([
    { kind: "lancedb" },
    { kind: "opensearch", url: 'http://x/"', index: "i" },
    { kind: "http", url: "http://x", hits: "$.a[*]", id: "$.id" },
  ])("is TypeScript whatever the names hold, with $kind", (recommender) => {
    const text = taskFile({ ...project, recommender });
    const { diagnostics } = ts.transpileModule(text, {
      reportDiagnostics: true,
      compilerOptions: { module: ts.ModuleKind.ESNext },
    });
    expect(diagnostics).toEqual([]);
    expect(text).toMatch(/promptsPerStep: 7/);
    expect(text).toMatch(/ndcg\(hits, example\.relevant, \{ k: 20 \}\)/);
    expect(text).toMatch(/topK: 20/);
  });

  it.each(["ndcg", "ndcg@0", "ndcg@ten", "map@10", ""])("has no metric %j", (text) => {
    expect(() => parseMetric(text)).toThrow(/expected ndcg@K/);
  });
});
