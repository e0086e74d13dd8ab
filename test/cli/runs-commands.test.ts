/** `rec-r1 runs` and `rec-r1 show` on a real run of the tabular engine. */
import { appendFile, cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { train } from "../../src/rl/train.ts";
import { makeParts, makeTask, quick } from "../support/word-task.ts";
import { lastJson, runInProcess } from "./run-in-process.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-runs-"));
  const options = { ...quick, ...makeParts(), task: makeTask(), steps: 12 };
  await train({ ...options, runDir: join(folder, "runs/first"), launch: { engine: { model: "tabular" } } });
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const runs = (...path: string[]): string => join(folder, "runs", ...path);

describe("rec-r1 runs", () => {
  it("lists runs with their state and their best", async () => {
    await cp(runs("first"), runs("deep/er/second"), { recursive: true });
    await rm(runs("deep/er/second/best.json"));
    await writeFile(runs("deep/er/second/metrics.jsonl"), "");
    await writeFile(
      runs("deep/er/second/run.lock"),
      JSON.stringify({ pid: process.pid, host: hostname(), startedAt: null, token: "x" }),
    );
    const { stdout, code } = await runInProcess("runs", runs());
    expect(code).toBe(0);
    expect(stdout).toMatch(/2 runs in .*newest first/);
    expect(stdout).toMatch(/first +words +tabular +done .* 12\/12 +\d\.\d{3} +ndcg@10 \d\.\d{4} +\d+/);
    expect(stdout).toMatch(/deep\/er\/second +words +tabular +running .* 0\/12/);
    const listed = lastJson((await runInProcess("runs", runs(), "--json")).stdout);
    expect(listed.runs).toMatchObject([{ status: "done" }, { status: "running", best: null, reward: null, step: 0 }]);
    await rm(runs("deep/er/second/run.lock"));
    expect(lastJson((await runInProcess("runs", runs("deep"), "--json")).stdout).runs).toMatchObject([
      { status: "stopped" },
    ]);
  });

  it("names a damaged run and shows the others", async () => {
    await mkdir(runs("broken/rollouts"), { recursive: true });
    await writeFile(runs("broken/config.json"), "{");
    const { stdout, stderr, code } = await runInProcess("runs", runs());
    expect(stderr).toMatch(/broken.*is not JSON/);
    expect(stdout).toMatch(/first/);
    expect(code).toBe(0);
    await rm(runs("broken"), { recursive: true });
  });

  it("says what to do with an empty folder and with none", async () => {
    await mkdir(join(folder, "empty"));
    expect((await runInProcess("runs", join(folder, "empty"))).stdout).toMatch(/has no runs.*rec-r1 train/);
    const { stderr, code } = await runInProcess("runs", join(folder, "nowhere"));
    expect(stderr).toMatch(/There is no folder .*nowhere to list runs of\. Start one with: rec-r1 train/);
    expect(code).toBe(1);
  });
});

describe("rec-r1 show", () => {
  it("shows what was run, the options that were changed, curves, best and examples", async () => {
    const { stdout } = await runInProcess("show", runs("first"));
    expect(stdout).toMatch(/task +words \(8 train, 8 valid\)/);
    expect(stdout).toMatch(/status +done, step 12 of 12/);
    expect(stdout).toMatch(/learningRate +0\.3/);
    expect(stdout).not.toMatch(/weightDecay/);
    expect(stdout).toMatch(/ndcg@10 on validation, by step\n +\d\.\d{3} │/);
    expect(stdout).toMatch(/rollouts of step 12, best and worst/);
    expect((await runInProcess("show", runs("first"), "--all")).stdout).toMatch(/weightDecay +0/);
  });

  it("prints rollouts by step and by example", async () => {
    const step = await runInProcess("show", runs("first"), "--step", "3", "--limit", "2");
    expect(step.stdout).toMatch(/^step 3 {2}q\d #0 {2}reward -?\d\.\d{3} {2}advantage -?\d/);
    expect(step.stdout).toMatch(/62 more; see them with --limit 0/);
    const one = lastJson(
      (await runInProcess("show", runs("first"), "--example", "q2", "--json", "--limit", "0")).stdout,
    );
    expect(one.total).toBe(12 * 8);
    expect((one.rollouts as { example: string }[]).every(({ example }) => example === "q2")).toBe(true);
  });

  it.each([
    [["--step", "99"], /no rollouts of step 99; it has those of steps 1 to 12/],
    [["--step", "-1"], /--step: expected a whole number/],
    [["--example", "nobody"], /answers the example "nobody"/],
  ])("refuses %j", async (flags, message) => {
    const { stderr, code } = await runInProcess("show", runs("first"), ...flags);
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
  });

  it("lets no escape sequence of a rollout through", async () => {
    await cp(runs("first"), runs("hostile"), { recursive: true });
    const record = { step: 12, example: "q3", sample: 9, query: "\u001b[2J owned", hits: ["\u001b]0;owned\u0007"] };
    const line = { ...record, completion: "", reward: 5, advantage: 1, tokens: 1, logprob: -1, stop: "stop" };
    await appendFile(runs("hostile/rollouts/step-000012.jsonl"), `${JSON.stringify(line)}\n`);
    for (const args of [[], ["--step", "12", "--limit", "0"]]) {
      const { stdout } = await runInProcess("show", runs("hostile"), ...args);
      expect(stdout).toMatch(/owned/);
      expect(stdout).not.toMatch(/[\u001b\u0007]/);
    }
  });

  it("refuses a folder that is no run", async () => {
    expect((await runInProcess("show", folder)).stderr).toMatch(/is not a run folder/);
  });
});
