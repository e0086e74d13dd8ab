import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readQrels, readRun } from "../../src/datasets/trec.ts";
import { train } from "../../src/rl/train.ts";
import { examples, makeParts, makeTask, quick } from "../support/word-task.ts";
import { lastJson, runInProcess } from "./run-in-process.ts";

let folder: string;
const at = (name: string): string => join(folder, name);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-convert-"));
  await writeFile(
    at("clicks.csv"),
    "query,clicked_id,count,position\nadd,plus,9,1\nadd,new box,3,2\nbin,trash,4,1\nbin,can,1,4\n",
  );
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("rec-r1 convert", () => {
  it("makes judgments of a click log and says how", async () => {
    const { stdout, code } = await runInProcess("convert", at("clicks.csv"), at("train.jsonl"));
    expect(code).toBe(0);
    expect(stdout).toMatch(/\(clicks\) → .*\(examples\)/);
    expect(stdout).toMatch(/position +corrected for the position with eta 1, a usual value/);
    const lines = (await readFile(at("train.jsonl"), "utf8")).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      { id: "q1", query: "add", relevant: { plus: 3, "new box": 2 } },
      { id: "q2", query: "bin", relevant: { trash: 3 } },
    ]);
  });

  it("says which columns were taken for what, and where every row is one click", async () => {
    const counted = await runInProcess("convert", at("clicks.csv"), at("columns.jsonl"));
    expect(counted.stdout).toMatch(/columns +query query, item clicked_id, clicks count, position position\n/);
    expect(counted.stdout).not.toMatch(/every row/);
    await writeFile(at("rows.csv"), "query,clicked_id\nadd,plus\nadd,plus\n");
    const { stdout } = await runInProcess("convert", at("rows.csv"), at("rows.jsonl"));
    expect(stdout).toMatch(/columns +query query, item clicked_id\n +clicks +every row is one click\n/);
  });

  it.each([
    ["docid.csv", "query,docid,clicks\nadd,plus,3\n", "clicks"],
    ["docid-rank.csv", "query,docid,rank\nadd,plus,1\nadd,plus,1\n", "clicks"],
    ["docid-alone.csv", "query,docid\nadd,plus\nadd,plus\n", "clicks"],
    ["docid.tsv", "query\tdocid\tuser\nadd\tplus\tann\nadd\tplus\tbob\n", "clicks"],
    ["docid-log.jsonl", '{"query":"add","docid":"plus","user":1}\n{"query":"add","docid":"plus","user":2}\n', "clicks"],
    ["case.csv", "query,docid,rating\nadd,plus,3\n", "quepid"],
    ["book.csv", "query,docid,Ann,Bob\nadd,plus,3,3\n", "quepid"],
  ])("takes %s for what it is", async (name, content, from) => {
    await writeFile(at(name), content);
    const { stdout } = await runInProcess("convert", at(name), at(`${name}.jsonl`), "--json");
    expect(lastJson(stdout)).toMatchObject({ from, queries: 1 });
    expect(JSON.parse(await readFile(at(`${name}.jsonl`), "utf8"))).toMatchObject({ relevant: { plus: 3 } });
  });

  it("says how many rows were dropped, and why", async () => {
    const rows = (good: string, bad: string): string => `${`${good}\n`.repeat(38)}${bad}\n${bad}\n`;
    await writeFile(at("some.csv"), `query,id,rank\n${rows("add,plus,1", "add,plus,top")}`);
    const clicks = await runInProcess("convert", at("some.csv"), at("some.jsonl"));
    expect(clicks.stdout).toMatch(/dropped +2 of 40 rows \(2 × "rank" is text; expected a number\)\n/);
    await writeFile(at("judged.csv"), `query,relevant\n${rows("add,plus", ",plus")}`);
    const examples = await runInProcess("convert", at("judged.csv"), at("judged.jsonl"));
    expect(examples.stdout).toMatch(/dropped +2 of 40 rows \(2 × "query" is ""; expected text that isn't empty\.\)\n/);
    const clean = await runInProcess("convert", at("clicks.csv"), at("clean.jsonl"));
    expect(clean.stdout).not.toMatch(/dropped/);
  });

  it("goes round through every format without loss", async () => {
    await writeFile(
      at("in.jsonl"),
      '{"id":"a","query":"pen","relevant":{"p1":2,"p2":1}}\n{"id":"b","query":"ink","relevant":["i1"]}\n',
    );
    let previous = at("in.jsonl");
    for (const [name, ...flags] of [
      ["r.csv"],
      ["r.json"],
      ["r.qrels"],
      ["back.jsonl", "--topics", at("r.qrels.topics.tsv")],
    ] as [string, ...string[]][]) {
      const { stderr, stdout, code } = await runInProcess("convert", previous, at(name), "--json", ...flags);
      expect(stderr).toBe("");
      expect(code).toBe(0);
      expect(lastJson(stdout)).toMatchObject({ queries: 2, judgments: 3, relevant: 3 });
      previous = at(name);
    }
    const back = (await readFile(at("back.jsonl"), "utf8")).trimEnd().split("\n");
    expect(back.map((line) => JSON.parse(line) as unknown)).toEqual([
      { id: "q1", query: "pen", relevant: { p1: 2, p2: 1 } },
      { id: "q2", query: "ink", relevant: ["i1"] },
    ]);
  });

  it("writes a run's rankings for trec_eval", async () => {
    const runDir = at("run");
    await train({ ...quick, ...makeParts(), task: makeTask(), steps: 2, evalEvery: 2, runDir });
    const { code, stderr } = await runInProcess(
      "convert",
      runDir,
      at("valid.run"),
      "--evaluation",
      "valid-step-000002",
    );
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const evaluation = JSON.parse(await readFile(join(runDir, "evaluations/valid-step-000002.json"), "utf8")) as {
      records: { example: string; hits: string[] | null }[];
    };
    const run = await readRun(at("valid.run"));
    for (const { example, hits } of evaluation.records) {
      if (hits && hits.length > 0) expect(run.get(example)?.map(({ id }) => id)).toEqual(hits);
    }
    const missing = await runInProcess("convert", runDir, at("x.run"));
    expect(missing.stderr).toMatch(/has no evaluation "test-tuned"; it has valid-step-000000, valid-step-000002/);
  });

  it("writes the same ids into judgments and rankings, whatever they hold", async () => {
    const ids = ["red pen", "red_pen", "red%20pen", "q1", "q\t2", "q2", "100%", "_"];
    const named = examples.map((example, i) => ({ ...example, id: ids[i] as string }));
    await writeFile(at("named.jsonl"), named.map((example) => `${JSON.stringify(example)}\n`).join(""));
    await runInProcess("convert", at("named.jsonl"), at("named.qrels"));
    const runDir = at("named-run");
    const task = makeTask({ data: { train: named, valid: named } });
    await train({ ...quick, ...makeParts(), task, steps: 1, evalEvery: 1, runDir });
    await runInProcess("convert", runDir, at("named.run"), "--evaluation", "valid-step-000001");
    const qrels = await readQrels(at("named.qrels"));
    expect([...qrels.values()].map((gains) => [...gains.keys()])).toEqual(named.map(({ relevant }) => relevant));
    const evaluation = JSON.parse(await readFile(join(runDir, "evaluations/valid-step-000001.json"), "utf8")) as {
      records: { example: string; hits: string[] | null }[];
    };
    const found = evaluation.records.filter(({ hits }) => hits && hits.length > 0);
    expect(found.length).toBeGreaterThan(0);
    const run = await readRun(at("named.run"));
    const judgedIds = [...qrels.keys()];
    for (const { example, hits } of found) {
      expect(run.get(judgedIds[ids.indexOf(example)] as string)?.map(({ id }) => id)).toEqual(hits);
    }
  });

  it("writes over nothing unless told to", async () => {
    await writeFile(at("precious.csv"), "mine");
    const refused = await runInProcess("convert", at("clicks.csv"), at("precious.csv"));
    expect(refused.stderr).toMatch(/exists already.*--force/);
    expect(await readFile(at("precious.csv"), "utf8")).toBe("mine");
    expect((await runInProcess("convert", at("clicks.csv"), at("precious.csv"), "--force")).code).toBe(0);
  });

  it.each([
    [["nowhere.csv", "o.jsonl"], /nowhere.csv/],
    [["clicks.csv", "out.xyz"], /doesn't say which format to write.*--to examples/],
    [["clicks.csv", "o2.jsonl", "--from", "cliks"], /"cliks" is none of .*Did you mean "clicks"/],
    [["clicks.csv", "o2.jsonl", "--to", "trec-run"], /"trec-run" is none of examples/],
    [["clicks.csv", "o2.jsonl", "--eta", "much"], /--eta: expected auto or a number from 0 to 4, got "much"/],
    [["clicks.csv", "o2.jsonl", "--query", "nope"], /no column "nope"/],
    [["clicks.csv", "o2.jsonl", "--min-clicks", "100"], /no item of 2 queries has 100 clicks/],
    [["odd.txt", "o2.jsonl"], /none of the known formats/],
    [["bare.qrels", "o2.jsonl"], /ids of queries and not their texts/],
    [["empty.csv", "o2.jsonl"], /is empty/],
    [["events.jsonl", "o2.jsonl", "--first-position", "2"], /expected 0 or 1/],
  ])("refuses %j", async (args, message) => {
    await writeFile(at("odd.txt"), "one two\nthree four\n");
    await writeFile(at("bare.qrels"), "q1 0 d1 1\nq1 0 d2 0\n");
    await writeFile(at("empty.csv"), "");
    await writeFile(
      at("events.jsonl"),
      '{"action_name":"click","user_query":"a","event_attributes":{"object":{"object_id":1}}}\n',
    );
    const [input, output, ...flags] = args as [string, string, ...string[]];
    const { stderr, code } = await runInProcess("convert", at(input), at(output), ...flags);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/unexpected/);
    expect(code).toBe(1);
  });
});
