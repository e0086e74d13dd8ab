import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readEvaluation } from "../../src/runs/run-folder.ts";
import { runProcess, writeProject } from "./project.ts";
import { lastJson, runInProcess as run } from "./run-in-process.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-cli-"));
  await writeProject(folder);
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const inProject = (name: string): string => join(folder, name);
const trainArgs = (runDir: string, ...more: string[]): string[] => [
  ...["train", inProject("task.ts"), "--data", folder, "--model", inProject("model"), "--threads", "1"],
  ...["--run", inProject(runDir), ...more],
];

/** What must be equal for equal runs. */
async function resultsOf(runDir: string): Promise<Record<string, string>> {
  const files: Record<string, string> = { metrics: await readFile(join(runDir, "metrics.jsonl"), "utf8") };
  for (const name of ["rollouts", "evaluations"]) {
    for (const file of await readdir(join(runDir, name))) {
      files[file] = await readFile(join(runDir, name, file), "utf8");
    }
  }
  const last = (await readdir(join(runDir, "checkpoints"))).sort().at(-1) as string;
  files.weights = `${last} ${await readFile(join(runDir, "checkpoints", last, "checksums.json"), "utf8")}`;
  return files;
}

describe("rec-r1 train and eval", () => {
  it("trains from a task file outside the package, and compares raw, untrained and tuned", async () => {
    const trained = await run(...trainArgs("run", "--steps", "4", "--json"));
    expect(trained.stderr).toMatch(/step 4\/4/);
    expect(trained.code).toBe(0);
    expect(lastJson(trained.stdout)).toMatchObject({ step: 4, reason: "steps", best: { metric: "ndcg@10" } });

    const evaluated = await run("eval", inProject("run"), "--split", "test", "--json", "--checkpoint", "last");
    expect(evaluated.stderr).not.toMatch(/error/i);
    const result = lastJson(evaluated.stdout);
    expect(result).toMatchObject({ metric: "ndcg@10", examples: 18, means: { raw: { "ndcg@10": 0 } } });
    expect(Object.keys(result.means as object)).toEqual(["raw", "untrained", "tuned"]);
    expect(result.comparisons).toHaveLength(2);
    expect(await readdir(inProject("run/evaluations"))).toEqual(
      expect.arrayContaining(["test-raw.json", "test-untrained.json", "test-tuned.json"]),
    );
    const kept = async (name: string): Promise<object> => readEvaluation(inProject("run"), name) as Promise<object>;
    expect(await kept("test-tuned")).toMatchObject({ step: 4 });
    expect(await kept("test-untrained")).toMatchObject({ step: 0 });
    for (const name of ["test-raw", "test-tuned"]) {
      expect(await kept(name)).not.toHaveProperty("limit");
      expect(await kept(name)).not.toHaveProperty("samples");
    }
    const table = await run("eval", inProject("run"), "--limit", "3", "--against", inProject("run"));
    expect(table.stdout).toMatch(/ndcg@10 on test, 3 examples\n {2}raw words +0\.0000/);
    expect(await kept("test-raw")).toMatchObject({ limit: 3 });
    expect(table.stdout).toMatch(/tuned, step \d against untrained: .*p = /);
  });

  it("learns on a random model with the embedded search engine", async () => {
    const options = ["--steps", "80", "--eval-every", "0", "--full", "--learning-rate", "0.01"];
    const { stderr, stdout, code } = await run(...trainArgs("learns", ...options));
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/rec-r1 eval/);
    const rewards = (await readFile(inProject("learns/metrics.jsonl"), "utf8"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { kind: string; values: { reward: number } })
      .filter(({ kind }) => kind === "step")
      .map(({ values }) => values.reward);
    const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(mean(rewards.slice(-20))).toBeGreaterThan(mean(rewards.slice(0, 20)) + 0.1);
  });

  describe("stopped in mid-step", () => {
    const args = (name: string, ...more: string[]): string[] =>
      trainArgs(name, "--steps", "6", "--checkpoint-every", "1", ...more);
    beforeAll(async () => {
      expect((await runProcess(folder, args("whole"))).code).toBe(0);
    });

    it.each(["SIGINT", "SIGKILL"] as const)("by %s resumes to the same result", async (signal) => {
      const name = `stopped-${signal}`;
      const stopped = await runProcess(folder, args(name), { interrupt: { on: /step 3\/6/, signal } });
      if (signal === "SIGINT") {
        expect(stopped.code).toBe(130);
        expect(stopped.stderr).toMatch(/Go on with: rec-r1 train .*--resume/);
      } else expect(stopped.code).toBeNull();
      const resumed = await runProcess(folder, ["train", "task.ts", "--run", inProject(name), "--resume"]);
      expect(resumed.stderr).toMatch(/resumed after step [2345]/);
      expect(await resultsOf(inProject(name))).toEqual(await resultsOf(inProject("whole")));
    });

    it("by nobody who has stopped reading what it says", async () => {
      const { code } = await runProcess(folder, args("unread"), { hangUpOn: /step 1\/6/ });
      expect(code).toBe(0);
      expect(await resultsOf(inProject("unread"))).toEqual(await resultsOf(inProject("whole")));
    });
  });
});

describe("rec-r1's errors", () => {
  it.each([
    [["train", "task.ts", "--grup-size", "3"], /unknown option '--grup-size'[^]*--group-size/],
    [["trian"], /unknown command 'trian'[^]*train/],
    [["train"], /missing required argument 'task'/],
    [["train", "nowhere/task.ts"], /There is no task file .*nowhere/],
    [["train", "x.ts", "--steps", "ten"], /--steps \(from flag\): .*got "ten"/],
    [["train", "x.ts", "--loss", "grop"], /--loss \(from flag\)/],
    [["train", "x.ts", "--recipe", "smal"], /Unknown recipe "smal". Did you mean "small"/],
    [["train", "x.ts", "--config", "/nowhere.json"], /Could not read the config file \/nowhere.json/],
    [["eval", "/nowhere"], /is not a run folder/],
    [["eval", "/nowhere", "--split", "tset"], /no split "tset". Did you mean "test"/],
    [["eval", "/nowhere", "--limit", "-1"], /--limit: expected a whole number/],
    [["index", "/nowhere.jsonl", "--text", "title"], /nowhere.jsonl/],
    [["model", "pull", "gpt-9"], /"gpt-9" is not a known model/],
  ])("%j", async (args, message) => {
    const { code, stderr, stdout } = await run(...args);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n {4}at /);
    expect(stdout).toBe("");
    expect(code).toBe(1);
  });

  it("shows what a file holds without its control characters", async () => {
    await writeFile(inProject("hostile.jsonl"), "a\u001b]0;owned\u0007\u001b[2J\u009b31m\u202e not JSON\n");
    const { stderr } = await run("index", inProject("hostile.jsonl"), "--text", "title");
    expect(stderr).toMatch(/hostile\.jsonl line 1: not JSON/);
    expect(stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  });

  it("names a wrong key in a config file, with the nearest", async () => {
    await writeFile(inProject("bad.json"), '{"groupsize": 4}');
    const { stderr } = await run(...trainArgs("never", "--config", inProject("bad.json")));
    expect(stderr).toMatch(/Unknown key in .*bad.json: "groupsize". Did you mean "groupSize"/);
    await writeFile(inProject("bad.json"), "[1]");
    expect((await run(...trainArgs("never", "--config", inProject("bad.json")))).stderr).toMatch(
      /not an object; expected/,
    );
  });

  it("refuses a run that exists, naming --resume, and shows the stack only when asked", async () => {
    await run(...trainArgs("exists", "--steps", "0", "--eval-every", "0"));
    const again = await run(...trainArgs("exists"));
    expect(again.stderr).toMatch(/exists already. Continue it with --resume.*\[RUN_EXISTS\]/);
    const debug = await run("--debug", ...trainArgs("exists"));
    expect(debug.stderr).toMatch(/\n {4}at /);
  });

  it.each([
    ["export default 7;", /default export must be defineTask/],
    ['import "rec-r1/engines/nothing";', /could not be loaded/],
    ["export default {", /could not be loaded/],
    ['import { defineTask } from "rec-r1"; export default defineTask({ name: "x" });', /defineTask: `data` must be/],
    [
      'import { defineTask } from "rec-r1"; export default defineTask({ name: "x", data: { train: [] }, prompt: () => "x", reward: () => 0 });',
      /must export `recommender`/,
    ],
  ])("reports a task file that is %s", async (content, message) => {
    // A module is loaded once in a process, so every case has a file of its own.
    const file = inProject(`bad-task-${content.length}.ts`);
    await writeFile(file, content);
    const { stderr, code } = await run("train", file);
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
  });
});

describe("rec-r1 help and index", () => {
  it("loads no native library for help", async () => {
    const preload = inProject("report.cjs");
    await writeFile(
      preload,
      'process.on("exit", () => process.stderr.write(process.report.getReport().sharedObjects.join("\\n")));',
    );
    for (const args of [["--help"], ["train", "--help"], ["eval", "--help"]]) {
      const { stdout, stderr, code } = await runProcess(folder, args, { nodeOptions: `--require ${preload}` });
      expect(code).toBe(0);
      expect(stdout).toMatch(/Usage: rec-r1/);
      expect(stderr).toMatch(/libc/);
      expect(stderr).not.toMatch(/onnxruntime|lancedb|\.node$/m);
    }
  });

  it("shows help and version", async () => {
    const { stdout, code } = await run("--help");
    expect(code).toBe(0);
    expect(stdout).toMatch(/\n {2}train .*[^]*\n {2}eval /);
    const train = await run("train", "--help");
    expect(train.stdout).toMatch(/--prompts-per-step <number> +different prompts in a step \(default: 16\)/);
    expect((await run("--version")).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it("builds an index and answers a query", async () => {
    const args = ["index", inProject("catalogue.jsonl"), "--text", "title", "--index-dir", inProject("index")];
    const { stdout, stderr } = await run(...args, "--query", "q", "a \u001b[31mthe", "--json");
    expect(stderr).toBe("");
    expect(lastJson(stdout)).toMatchObject({ items: 18, results: [{ query: "q", hits: [{ id: "q" }] }, { hits: [] }] });
    expect((await run(...args, "--query", "q")).stdout).toMatch(/18 items[^]*q\n .*q {2}q\n/);
  });
});
