/** Reports of runs as far as they got, and as Markdown. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { renderReportMarkdown } from "../../src/eval/report/markdown.ts";
import { renderReport } from "../../src/eval/report/report.ts";
import { buildRunReport } from "../../src/eval/report/run-report.ts";
import { train } from "../../src/rl/train.ts";
import { addEvaluation, readEvaluation } from "../../src/runs/run-folder.ts";
import { lastJson, runInProcess } from "../cli/run-in-process.ts";
import { examples, makeParts, makeTask, quick } from "../support/word-task.ts";

let folder: string;
const at = (...path: string[]): string => join(folder, ...path);
const questions = async () =>
  examples.map(({ id, query, relevant }) => ({ id, query, relevant: relevant as string[] }));

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-run-report-"));
  await train({ ...quick, ...makeParts(), task: makeTask(), steps: 30, runDir: at("validated") });
  await cp(at("validated"), at("evaluated"), { recursive: true });
  for (const [policy, name] of [
    ["raw", "valid-step-000000"],
    ["untrained", "valid-step-000000"],
    ["tuned", "valid-step-000030"],
  ] as const) {
    const evaluation = await readEvaluation(at("validated"), name);
    if (!evaluation) throw new Error(name);
    await addEvaluation(at("evaluated"), `test-${policy}`, { ...evaluation, policy, split: "test" });
  }
  await train({ ...quick, ...makeParts(), task: makeTask(), steps: 2, evalEvery: 0, runDir: at("bare") });
  await train({ ...quick, ...makeParts(), task: makeTask(), steps: 0, evalEvery: 0, runDir: at("begun") });
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("buildRunReport", () => {
  it("compares raw, untrained and tuned where the split was evaluated", async () => {
    const data = await buildRunReport({ runDir: at("evaluated"), questions });
    expect(data.systems.map(({ id }) => id)).toEqual(["raw", "untrained", "tuned"]);
    expect(data.comparisons.map(({ baseline }) => baseline)).toEqual(["raw", "untrained"]);
    expect(data.notice).toBeUndefined();
    expect(data.examples).toHaveLength(8);
    expect(data.costs?.find(({ name }) => name === "Completions sampled")?.value).toBe("1,920");
    expect(data.timings.some(({ name }) => name === "Sampling")).toBe(true);
    const page = renderReport(data);
    expect(page).toMatch(/The tuned model/);
    expect(page).toMatch(/Tokens sampled/);
  });

  it("names the step that figures are of, and says where they are not of all examples", async () => {
    await cp(at("evaluated"), at("limited"), { recursive: true });
    const evaluation = await readEvaluation(at("limited"), "test-tuned");
    if (!evaluation) throw new Error("test-tuned");
    const part = { ...evaluation, step: 20, limit: 3, samples: 2, records: evaluation.records.slice(0, 3) };
    await addEvaluation(at("limited"), "test-tuned", part);
    for (const policy of ["raw", "untrained"]) {
      const all = await readEvaluation(at("limited"), `test-${policy}`);
      if (all) await addEvaluation(at("limited"), `test-${policy}`, { ...all, records: all.records.slice(0, 3) });
    }
    const data = await buildRunReport({ runDir: at("limited"), questions });
    expect(data.systems.map(({ name }) => name)).toContain("Tuned model, step 20");
    expect(data.notice).toMatch(/of 3 of 8 examples of the test split, not of all\. rec-r1 eval .* measures all\./);
    expect(data.notice).toMatch(/means over 2 sampled completions/);
    const unknown = await buildRunReport({ runDir: at("limited"), questions: async () => [] });
    expect(unknown.notice).toMatch(/of 3 examples of the test split, not of all/);
  });

  it("takes validation where nothing else was evaluated, and says that it flatters", async () => {
    const data = await buildRunReport({ runDir: at("validated"), questions });
    expect(data.systems.map(({ id }) => id)).toEqual(["untrained", "tuned"]);
    expect(data.notice).toMatch(/Not evaluated on the test split yet.*flatters.*rec-r1 eval/);
    expect(renderReport(data)).toContain("flatters");
    expect(data.curve?.references).toEqual([{ label: "untrained", value: data.systems[0]?.mean }]);
  });

  it.each(["bare", "begun"])("shows a run that is %s, without any evaluation", async (name) => {
    const data = await buildRunReport({ runDir: at(name), questions });
    expect(data.systems).toEqual([]);
    expect(data.notice).toMatch(/Nothing was evaluated yet/);
    const page = renderReport(data);
    expect(page).toContain("How to reproduce");
    expect(page).not.toContain('id="systems"');
    expect(renderReportMarkdown(data)).toMatch(/^# words: /);
  });

  it("counts what failed and leaves it out", async () => {
    await cp(at("evaluated"), at("failed"), { recursive: true });
    const evaluation = await readEvaluation(at("failed"), "test-tuned");
    const records = evaluation?.records.map((record, i) =>
      i === 0 ? { ...record, scores: null, hits: null, failure: "down" } : record,
    );
    await addEvaluation(at("failed"), "test-tuned", {
      ...(evaluation as NonNullable<typeof evaluation>),
      records: records ?? [],
    });
    const data = await buildRunReport({ runDir: at("failed"), questions });
    expect(data.systems.at(-1)).toMatchObject({ queries: 7, failed: 1 });
    const all = (records ?? []).map((record) => ({ ...record, scores: null, hits: null, failure: "down" }));
    await addEvaluation(at("failed"), "test-tuned", {
      ...(evaluation as NonNullable<typeof evaluation>),
      records: all,
    });
    expect((await buildRunReport({ runDir: at("failed"), questions })).systems.map(({ id }) => id)).toEqual([
      "raw",
      "untrained",
    ]);
  });
});

describe("the report as Markdown", () => {
  it("has the figures, the examples and how to reproduce, and lets nothing become markup", async () => {
    const data = await buildRunReport({
      runDir: at("evaluated"),
      questions: async () => (await questions()).map((question) => ({ ...question, query: "<b>|`x`|</b>\n# head" })),
      reproduce: ["rec-r1 train 'a ``` b'"],
    });
    const text = renderReportMarkdown(data);
    expect(text).toMatch(/\| Tuned model, step 30 +\| +0\.\d{3}|\| Tuned model, step 30 \| [01]\.\d{3} \|/);
    expect(text).toMatch(/## How to reproduce\n\n````+sh\nrec-r1 train 'a ``` b'\n````+/);
    expect(text).toContain("\\<b\\>\\|\\`x\\`\\|\\</b\\>");
    expect(text).not.toMatch(/^# head/m);
  });
});

describe("rec-r1 report", () => {
  it("writes both files, and shows items by their titles", async () => {
    await writeFile(
      at("catalogue.jsonl"),
      examples
        .map(
          ({ relevant }) =>
            `${JSON.stringify({ id: (relevant as string[])[0], title: `the ${(relevant as string[])[0]}` })}\n`,
        )
        .join(""),
    );
    const { stdout, stderr, code } = await runInProcess(
      "report",
      at("evaluated"),
      "--catalogue",
      at("catalogue.jsonl"),
      "--json",
    );
    expect(code).toBe(0);
    // The run was started from code, so its examples can't be loaded again.
    expect(stderr).toMatch(/does not say which task file/);
    const { html, markdown } = lastJson(stdout) as { html: string; markdown: string };
    expect(html).toBe(at("evaluated/report.html"));
    expect(await readFile(html, "utf8")).toMatch(/^<!doctype html>/);
    expect(await readFile(markdown, "utf8")).toMatch(
      /rec-r1 train TASK --run .*--prompts-per-step 8.*--learning-rate 0\.3/,
    );
  });

  it("reproduces a run with the recommender that it was trained on", async () => {
    await cp(at("bare"), at("searched"), { recursive: true });
    const path = at("searched/config.json");
    const manifest = JSON.parse(await readFile(path, "utf8")) as { launch: Record<string, unknown> };
    manifest.launch.search = { recommender: "/data/my search.json" };
    await writeFile(path, JSON.stringify(manifest));
    const { code } = await runInProcess("report", at("searched"));
    expect(code).toBe(0);
    expect(await readFile(at("searched/report.md"), "utf8")).toMatch(
      /rec-r1 train TASK --run .* --recommender '\/data\/my search\.json'/,
    );
  });

  it.each([
    [["nowhere"], /is not a run folder/],
    [["bare", "--catalogue", "missing.jsonl"], /missing.jsonl/],
  ])("refuses %j", async ([run, ...flags], message) => {
    const { stderr, code } = await runInProcess("report", at(run as string), ...flags);
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
  });
});
