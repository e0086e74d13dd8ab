/** `rec-r1 compare`, `forget` and `gate` on a small run: what they write, what they refuse, and what they decide. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openRun } from "../../src/cli/open-run.ts";
import { runProcess, writeProject, type CliResult } from "./project.ts";
import { lastJson } from "./run-in-process.ts";

let folder: string;
const run = (...args: string[]): Promise<CliResult> => runProcess(folder, args);
const readRecords = async (name: string): Promise<Record<string, unknown>[]> =>
  (await readFile(join(folder, name), "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-compare-"));
  await writeProject(folder);
  const options = ["--data", ".", "--model", "model", "--threads", "1", "--steps", "60", "--eval-every", "20"];
  const trained = await run("train", "task.ts", ...options, "--full", "--learning-rate", "0.01", "--run", "run");
  expect(trained.code, trained.stderr).toBe(0);
}, 120_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("rec-r1 compare", () => {
  const given = ["task.ts", "--data", ".", "--run", "run", "--model", "model", "--threads", "1"];
  const systems = ["raw", "rm3", "rocchio", "spelling", "fusion", "prompting", "sft", "tuned"];

  it("compares every baseline, and prints the same again from what it kept", async () => {
    const { code, stdout, stderr } = await run(
      ...["compare", ...given, "--baselines", "all", "--sft", "best-of-n", "--sft-into", "sft", "--sft-minutes", "0.2"],
      ...[
        "--catalogue",
        "catalogue.jsonl",
        "--out",
        "compared",
        "--markdown",
        "table.md",
        "--latex",
        "table.tex",
        "--json",
      ],
    );
    expect(code, stderr).toBe(0);
    const comparison = lastJson(stdout) as {
      examples: unknown[];
      systems: { id: string; means: Record<string, number> }[];
      comparisons: { system: string; baseline: string; p: number; uncorrectedP: number }[];
    };
    expect(comparison.systems.map(({ id }) => id).sort()).toEqual([...systems].sort());
    for (const { p, uncorrectedP } of comparison.comparisons) {
      expect(p).toBeGreaterThanOrEqual(uncorrectedP);
      expect(p).toBeLessThanOrEqual(1);
    }
    expect(comparison.comparisons.some(({ system, baseline }) => system === "tuned" && baseline === "sft")).toBe(true);
    const markdown = await readFile(join(folder, "table.md"), "utf8");
    expect(markdown).toMatch(/^\|.* ndcg@10 .*\|$/m);
    expect(await readFile(join(folder, "table.tex"), "utf8")).toContain("\\begin{tabular}");

    const again = await run("compare", "--from", "compared", "--json");
    expect(again.code, again.stderr).toBe(0);
    expect(lastJson(again.stdout)).toMatchObject({ systems: comparison.systems });
    const other = await run("compare", "--from", "compared", "--measures", "recall_5", "--json");
    expect(other.code, other.stderr).toBe(0);
    expect(JSON.stringify(lastJson(other.stdout))).toContain("recall_5");
    const whole = await run("compare", "--from", "compared", "--measures", "map", "recall_5");
    expect(whole.stderr).toMatch(/^map: of the first 100 hits/);
    const deep = await run("compare", "--from", "compared", "--measures", "recall_500");
    expect(deep.stderr).toMatch(/recall_500 looks at 500 hits, and 100 were asked for/);
    expect(deep.code).toBe(1);
  }, 180_000);

  it("fine-tunes over a schedule that ends with its budget", async () => {
    const steps = (await readRecords("sft/metrics.jsonl")).filter(({ kind }) => kind === "step");
    const rates = steps.map(({ values }) => (values as { learningRate: number }).learningRate);
    const { config } = JSON.parse(await readFile(join(folder, "sft/config.json"), "utf8")) as {
      config: { warmupSteps: number; steps: number };
    };
    expect(config.steps).toBe(0);
    expect(config.warmupSteps).toBeLessThan(100_000);
    // How many steps fit is measured beforehand; a machine that got other work since does fewer.
    expect(steps.length).toBeGreaterThan(config.warmupSteps / 10);
    // A tenth of the schedule at least has passed by the line above.
    expect(rates.at(-1)).toBeLessThan(0.95 * Math.max(...rates));
  });

  it("takes the task of the run where none is given", async () => {
    const { code, stdout, stderr } = await run(
      ...["compare", "--run", "run", "--sft-run", "sft", "--baselines", "none", "--out", "again", "--json"],
    );
    expect(code, stderr).toBe(0);
    const compared = lastJson(stdout) as { task: string; systems: { id: string }[] };
    expect(compared.task).toBe("letters");
    expect(compared.systems.map(({ id }) => id).sort()).toEqual(["raw", "sft", "tuned"]);
  }, 60_000);

  it("reads a catalogue whose id has another name, guessed or given", async () => {
    const rows = (await readRecords("catalogue.jsonl")).map(({ id, title }) => ({ kind: "letter", sku: id, title }));
    await writeFile(join(folder, "sku.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const given = ["compare", "task.ts", "--data", ".", "--baselines", "rm3", "--json", "--catalogue", "sku.jsonl"];
    for (const more of [[], ["--id", "sku"]]) {
      const { code, stdout, stderr } = await run(...given, ...more, "--out", `sku${more.length}`);
      expect(code, stderr).toBe(0);
      expect((lastJson(stdout) as { systems: { id: string }[] }).systems.map(({ id }) => id)).toEqual(["raw", "rm3"]);
    }
    expect((await run(...given, "--id", "kind", "--out", "kinds")).stderr).toMatch(/sku\.jsonl line 2/);
  }, 60_000);

  it("scores what hits show alike the first time and from what was kept, with a catalogue, too", async () => {
    await writeFile(
      join(folder, "shown.ts"),
      (await readFile(join(folder, "task.ts"), "utf8"))
        .replace(
          "prompt:",
          `metrics: [{ name: "shown", score: ({ hits }) => (hits[0]?.payload?.title ? 1 : 0) }],\n    prompt:`,
        )
        .replaceAll("examples.jsonl", "letters.jsonl"),
    );
    const letters = (await readRecords("examples.jsonl")).map(({ relevant }) => ({
      query: (relevant as string[])[0],
      relevant,
    }));
    await writeFile(join(folder, "letters.jsonl"), letters.map((row) => `${JSON.stringify(row)}\n`).join(""));
    for (const time of ["asked", "kept"]) {
      const { code, stdout, stderr } = await run(
        ...["compare", "shown.ts", "--data", ".", "--baselines", "none", "--catalogue", "catalogue.jsonl"],
        ...["--out", "shown", "--json"],
      );
      expect(code, `${time}: ${stderr}`).toBe(0);
      const { systems } = lastJson(stdout) as { systems: { metrics: Record<string, { mean: number }> }[] };
      expect(systems.map(({ metrics }) => metrics.shown?.mean)).toEqual([1]);
    }
  }, 60_000);

  it("lets a run and the model beside it write as much as the command line says", async () => {
    const tokens = async (out: string, ...more: string[]): Promise<number[]> => {
      const given = ["compare", "--run", "run", "--baselines", "prompting", "--out", out, "--json"];
      const { code, stdout, stderr } = await run(...given, ...more);
      expect(code, stderr).toBe(0);
      const { systems } = lastJson(stdout) as { systems: { id: string; usage: { completionTokens: number } }[] };
      return systems.filter(({ id }) => id !== "raw").map(({ usage }) => usage.completionTokens);
    };
    for (const count of await tokens("long")) expect(count).toBeGreaterThan(18);
    expect(await tokens("short", "--max-tokens", "1")).toEqual([18, 18]);
  }, 60_000);

  it("keeps runs and models of the same name apart", async () => {
    for (const run of ["exp1/run", "exp2/run"]) await cp(join(folder, "run"), join(folder, run), { recursive: true });
    await cp(join(folder, "model"), join(folder, "model2"), { recursive: true });
    const path = join(folder, "exp2/run/config.json");
    const manifest = JSON.parse(await readFile(path, "utf8")) as { launch: { engine: { model: string } } };
    manifest.launch.engine.model = "model2";
    await writeFile(path, JSON.stringify(manifest));
    const { code, stdout, stderr } = await run(
      ...["compare", "--run", "exp1/run", "exp2/run", "--baselines", "prompting", "--out", "twins", "--json"],
    );
    expect(code, stderr).toBe(0);
    const compared = lastJson(stdout) as { systems: { id: string }[]; comparisons: { system: string }[] };
    const ids = compared.systems.map(({ id }) => id).sort();
    expect(ids).toEqual(["prompting:model", "prompting:model2", "raw", "tuned:exp1/run", "tuned:exp2/run"]);
    // Each policy against every other system, and both untrained models against the raw words.
    expect(compared.comparisons).toHaveLength(9);
    const answers = await readRecords("twins/answers.jsonl");
    expect(new Set(ids.map((id) => answers.filter(({ system }) => system === id).length)).size).toBe(1);
  }, 60_000);

  it("asks the recommender that the run was trained on, or the one that is named, and warns where they differ", async () => {
    const catalogue = await readFile(join(folder, "catalogue.jsonl"), "utf8");
    await writeFile(join(folder, "more.jsonl"), `${catalogue}{"id": "more", "title": "more"}\n`);
    const search = (file: string): string => JSON.stringify({ kind: "lancedb", catalogue: file, text: ["title"] });
    await writeFile(join(folder, "own.json"), search("catalogue.jsonl"));
    await writeFile(join(folder, "more.json"), search("more.jsonl"));
    await writeFile(
      join(folder, "bare.ts"),
      (await readFile(join(folder, "task.ts"), "utf8")).replace("export const recommender", "const recommender"),
    );
    await cp(join(folder, "run"), join(folder, "searched"), { recursive: true });
    const path = join(folder, "searched/config.json");
    const manifest = JSON.parse(await readFile(path, "utf8")) as { launch: Record<string, unknown> };
    manifest.launch.search = { recommender: join(folder, "own.json") };
    await writeFile(path, JSON.stringify(manifest));
    const common = ["compare", "bare.ts", "--data", ".", "--run", "searched", "--baselines", "none", "--json"];
    const own = await run(...common, "--out", "searched-own");
    expect(own.code, own.stderr).toBe(0);
    expect(own.stderr).not.toMatch(/trained on another/);
    const other = await run(...common, "--out", "searched-more", "--recommender", "more.json");
    expect(other.code, other.stderr).toBe(0);
    expect(other.stderr).toMatch(/warning: searched was trained on another recommender: lancedb/);
    const [before, after] = [own, other].map(({ stdout }) => lastJson(stdout)) as {
      recommender: { fingerprint: string };
      notes: string[];
    }[];
    expect(before?.recommender.fingerprint).not.toBe(after?.recommender.fingerprint);
    expect(after?.notes).toContainEqual(expect.stringMatching(/trained on another recommender/));
  }, 60_000);

  it("has a named recommender asked in the run's mode by every command that takes a run up", async () => {
    const path = join(folder, "searched/config.json");
    const manifest = JSON.parse(await readFile(path, "utf8")) as { config: Record<string, unknown> };
    manifest.config.mode = "compatible";
    await writeFile(path, JSON.stringify(manifest));
    const { openRecommender } = await openRun(join(folder, "searched"), {
      task: join(folder, "bare.ts"),
      data: folder,
    });
    const recommender = await openRecommender({ signal: new AbortController().signal, onWarning: () => {} });
    expect(await recommender.fingerprint()).toMatch(/^compatible:/);
    await recommender.close();
  });

  it("refuses what it can't compare", async () => {
    for (const [args, message] of [
      [["compare"], /Which task\?/],
      [["compare", "nowhere.ts", "--run", "run"], /nowhere\.ts/],
      [["compare", ...given, "--baselines", "rm4"], /rm4/],
      [["compare", ...given, "--sft", "missing.jsonl", "--sft-into", "other"], /missing\.jsonl/],
      [["compare", ...given, "--run", "./run"], /--run: the folder \.\/run is given twice/],
      [["compare", "--from", "run"], /run/],
      [["compare", "--run", "run", "--model", "other"], /--model other: run trained model, and .* fits no other model/],
      [["compare", "--run", "run", "--mode", "compatible"], /--mode compatible: run was trained in mode sound/],
    ] as const) {
      const { code, stderr, stdout } = await run(...args);
      expect(stderr).toMatch(message);
      expect(stderr).not.toMatch(/\n {4}at /);
      expect(stdout).toBe("");
      expect(code).toBe(1);
    }
  }, 120_000);
});

describe("rec-r1 forget and gate", () => {
  it("measure general ability before and after, and stop a regression", async () => {
    await writeFile(join(folder, "prompts.txt"), "aa bb\ncc dd\n");
    await writeFile(join(folder, "text.txt"), "aa bb");
    const short = await run("forget", "run", "--text", "text.txt");
    expect(short.stderr).toMatch(/The held-out text has 4 tokens/);
    expect(short.code).toBe(1);
    await writeFile(join(folder, "text.txt"), "aa bb cc dd ee ff ".repeat(20));
    const measured = await run(
      ...["forget", "run", "--prompts", "prompts.txt", "--text", "text.txt", "--max-tokens", "4"],
      ...["--out", "forget.json", "--json"],
    );
    expect(measured.code, measured.stderr).toBe(0);
    const { policies } = lastJson(measured.stdout) as {
      policies: { name: string; measures: Record<string, { value: number; base: number | null }> }[];
    };
    const [base, tuned] = policies.map(({ measures }) => measures["held-out perplexity"]?.value as number);
    expect(base).toBeGreaterThan(1);
    expect(tuned).not.toBe(base);
    const divergence = Object.entries(policies[1]?.measures ?? {}).filter(([name]) => name.startsWith("KL("));
    expect(divergence.map(([, { value }]) => value > 0)).toEqual([true, true]);

    const passed = await run("gate", "compared", "--json");
    expect(passed.code, passed.stdout + passed.stderr).toBe(0);
    const failed = await run("gate", "compared", "--system", "raw", "--reference-system", "tuned");
    expect(failed.stdout).toMatch(/FAIL {2}all .*regression/s);
    expect(failed.code).toBe(1);
    const floor = await run("gate", "compared", "--floor", "1.01");
    expect(floor.code).toBe(1);
    const kept = (tuned as number) > (base as number) ? 1 : 0;
    const ability = await run("gate", "compared", "--forget", "forget.json", "--keep-ability", "1");
    expect(ability.code, ability.stdout).toBe(kept);
  }, 60_000);
});
