/** `rec-r1 dashboard` on a run that was trained: the pages' questions answered by the run's own model and recommender. */
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { Reporter } from "../../src/cli/progress.ts";
import { RunPlayground } from "../../src/cli/run-playground.ts";
import { readShown } from "../../src/runs/run-folder.ts";
import type { TryEvent } from "../../src/server/dashboard/wire.ts";
import { runProcess, writeProject } from "./project.ts";
import { runInProcess } from "./run-in-process.ts";

let folder = "";
let run = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-dashboard-cli-"));
  await writeProject(folder);
  run = join(folder, "runs", "first");
  const trained = await runInProcess(
    "train",
    join(folder, "task.ts"),
    ...["--data", folder, "--model", join(folder, "model"), "--run", run, "--steps", "2", "--threads", "1"],
  );
  expect(trained.code, trained.stderr).toBe(0);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const open = async (dir = run): Promise<RunPlayground> => {
  const reporter = new Reporter({ write: () => true });
  const signal = new AbortController().signal;
  const playground = await RunPlayground.open(dir, { reporter, signal, threads: 1 });
  onTestFinished(() => playground.close());
  return playground;
};

const ask = async (playground: RunPlayground, text: string): Promise<TryEvent[]> => {
  const events: TryEvent[] = [];
  for await (const event of playground.ask(text, new AbortController().signal)) events.push(event);
  return events;
};
const answers = (events: TryEvent[]) => events.filter((event) => event.kind === "answer");

describe("the playground of a run", () => {
  it("asks the raw words, the untrained and the tuned policy, again and again", async () => {
    const playground = await open();
    const first = await ask(playground, "b");
    expect(answers(first).map(({ policy }) => policy)).toEqual(["raw", "untrained", "tuned"]);
    expect(answers(first)[0]).toMatchObject({ query: "b", completion: null, hits: [{ id: "b", title: "b" }] });
    expect(answers(first)[2]?.step).toBeTypeOf("number");
    expect(first).toContainEqual({ kind: "status", message: "Loading the model" });
    const again = await ask(playground, "b");
    expect(again).not.toContainEqual({ kind: "status", message: "Loading the model" });
    const written = (events: TryEvent[]): unknown =>
      answers(events).map(({ query, completion }) => [query, completion]);
    expect(written(again)).toEqual(written(first));
  });

  it("asks the tuned policy that the run has by then", async () => {
    const training = join(folder, "runs", "training");
    await cp(run, training, { recursive: true });
    await rm(join(training, "best.json"), { force: true });
    await rm(join(training, "checkpoints"), { recursive: true });
    const playground = await open(training);
    const none = await ask(playground, "b");
    expect(answers(none).map(({ policy }) => policy)).toEqual(["raw", "untrained"]);
    expect(none.at(-1)).toEqual({ kind: "status", message: "This run has no checkpoint yet" });
    await cp(join(run, "checkpoints"), join(training, "checkpoints"), { recursive: true });
    expect(answers(await ask(playground, "b"))[2]).toMatchObject({ policy: "tuned", step: 2 });
    const untrained = { step: 0, metric: "ndcg@10", value: 1, checkpoint: null };
    await writeFile(join(training, "best.json"), JSON.stringify(untrained));
    const [, before, after] = answers(await ask(playground, "b"));
    expect(after).toMatchObject({ policy: "tuned", step: 0, completion: before?.completion });
  });

  it("credits words by the task's own metric, for an example of a split", async () => {
    const playground = await open();
    const { signal } = new AbortController();
    const example = (await readShown(run)).find((shown) => shown.kind === "example" && shown.text === "bb")?.id ?? "";
    const credit = await playground.credit({ split: "test", example, query: "b z" }, signal);
    expect(credit).toMatchObject({ query: "b z", metric: "ndcg@10" });
    const [wanted, other] = credit.terms;
    // The example wants the item that is titled by its letter alone.
    expect(credit.score).toBeGreaterThan(0);
    expect(Math.max(wanted?.credit ?? 0, other?.credit ?? 0)).toBeGreaterThan(0);
    const missing = playground.credit({ split: "test", example: "none", query: "b" }, signal);
    await expect(missing).rejects.toMatchObject({ code: "NO_EXAMPLE" });
  });
});

describe("the command", () => {
  it("says where it is, and ends on an interrupt", async () => {
    const ended = await runProcess(folder, ["dashboard", "runs", "--port", "0"], {
      interrupt: { on: /http:\/\/127\.0\.0\.1:/, signal: "SIGINT" },
    });
    expect(ended.stdout).toMatch(/^Runs of runs: http:\/\/127\.0\.0\.1:\d+\n/);
  });

  it("refuses what it can't do, with advice", async () => {
    const nowhere = await runInProcess("dashboard", join(folder, "nowhere"));
    expect(nowhere.code).not.toBe(0);
    expect(nowhere.stderr).toContain("rec-r1 train");
    const port = await runInProcess("dashboard", folder, "--port", "99999");
    expect(port.stderr).toContain("--port");
    const image = await runInProcess("dashboard", folder, "--images", "https://a.example/x; script-src *");
    expect(image.stderr).toContain("is no origin");
  });
});
