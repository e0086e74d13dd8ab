import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { train } from "../../src/rl/train.ts";
import { MlflowTracker, TensorBoardTracker, TrackerGroup } from "../../src/trackers/index.ts";
import type { Tracker } from "../../src/trackers/index.ts";
import { crc32c, frameRecord } from "../../src/trackers/tensorboard/event-file.ts";
import { startServer } from "../support/local-server.ts";
import type { Behaviour, LocalServer, Received } from "../support/local-server.ts";
import { makeParts, makeTask, quick } from "../support/word-task.ts";
import { readEvents } from "./read-events.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-trackers-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** A short real run that tells `trackers`. */
async function trainWith(
  trackers: readonly Tracker[],
  name: string,
  options: { steps?: number; resume?: boolean } = {},
) {
  const warnings: string[] = [];
  const group = new TrackerGroup(trackers, { onWarning: (message) => warnings.push(message), closeTimeoutMs: 3000 });
  const runDir = join(folder, name);
  const result = await train({
    ...quick,
    ...makeParts(),
    task: makeTask(),
    steps: 4,
    evalEvery: 2,
    checkpointEvery: 1,
    ...options,
    runDir,
    onEvent: group.onEvent,
  });
  await group.close("done");
  return { warnings, runDir, result };
}

describe("TensorBoard event files", () => {
  it("have the checksums of RFC 3720", () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
    const record = frameRecord(new Uint8Array([1, 2, 3]));
    record[13] = 9;
    expect(() => readEvents(record)).toThrow(/data checksum/);
  });

  it("hold a run's figures, also 0, by step, and a resumed run's after a restart", async () => {
    const { warnings, runDir } = await trainWith([new TensorBoardTracker()], "board");
    await trainWith([new TensorBoardTracker()], "board", { steps: 6, resume: true });
    const metrics = (await readFile(join(runDir, "metrics.jsonl"), "utf8"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { kind: string; step: number; values: Record<string, number> });
    const files = await readdir(join(runDir, "tensorboard"));
    expect(files.every((name) => /^events\.out\.tfevents\.\d{10}\./.test(name))).toBe(true);
    const events = (
      await Promise.all(files.map(async (name) => readEvents(await readFile(join(runDir, "tensorboard", name)))))
    ).flat();
    expect(warnings).toEqual([]);
    expect(events[0]?.fileVersion).toBe("brain.Event:2");
    expect(events.filter(({ restarts }) => restarts).map(({ step }) => step)).toEqual([5]);
    expect(events.find(({ texts }) => texts.config)?.texts.config).toMatch(/\| groupSize \| 8 \|/);
    const scalars = (tag: string) =>
      events.filter(({ scalars }) => tag in scalars).map(({ step, scalars }) => [step, scalars[tag]]);
    const expected = metrics
      .filter(({ kind }) => kind === "step")
      .map(({ step, values }) => [step, Math.fround(values.reward as number)]);
    expect(scalars("train/reward")).toEqual(expected);
    expect(expected).toHaveLength(6);
    expect(scalars("train/failed").map(([, value]) => value)).toEqual([0, 0, 0, 0, 0, 0]);
    expect(scalars("valid/ndcg@10").map(([step]) => step)).toEqual([0, 2, 4, 6]);
  });

  it("stop no run where they can't be written", async () => {
    await writeFile(join(folder, "a-file"), "");
    const { warnings, result } = await trainWith([new TensorBoardTracker({ dir: join(folder, "a-file", "x") })], "bad");
    expect(result.step).toBe(4);
    expect(warnings).toEqual([
      expect.stringMatching(/TensorBoard is left alone from now on, the run goes on: Could not/),
    ]);
  });
});

describe("MLflow", () => {
  let server: LocalServer | undefined;
  afterEach(async () => {
    await server?.close();
    server = undefined;
  });

  /** A server that keeps what MLflow would, and answers as it does. */
  async function startMlflow(fail: (request: Received, count: number) => Behaviour | undefined = () => undefined) {
    const kept = {
      experiments: [] as string[],
      params: {} as Record<string, string>,
      metrics: [] as [string, number, number][],
      status: "",
    };
    let count = 0;
    server = await startServer((request) => {
      const failure = fail(request, ++count);
      if (failure) return failure;
      const body = (request.body === "" ? {} : JSON.parse(request.body)) as Record<string, unknown>;
      const path = request.path.replace("/api/2.0/mlflow/", "");
      if (path.startsWith("experiments/get-by-name")) {
        return kept.experiments.length > 0
          ? { json: { experiment: { experiment_id: "7" } } }
          : { status: 404, json: { error_code: "RESOURCE_DOES_NOT_EXIST" } };
      }
      if (path === "experiments/create") {
        kept.experiments.push(body.name as string);
        return { json: { experiment_id: "7" } };
      }
      if (path === "runs/create") return { json: { run: { info: { run_id: "r1" } } } };
      if (path === "runs/log-batch") {
        const { metrics = [], params = [] } = body as {
          metrics?: { key: string; value: number; step: number }[];
          params?: { key: string; value: string }[];
        };
        if (metrics.length > 1000 || params.length > 100) return { status: 400, text: "too many" };
        for (const { key, value, step } of metrics) {
          if (typeof value !== "number" || /[^\w\-. :/]/.test(key)) return { status: 400, text: `bad metric ${key}` };
          kept.metrics.push([key, step, value]);
        }
        for (const { key, value } of params) kept.params[key] = value;
        return { json: {} };
      }
      if (path === "runs/update") {
        kept.status = body.status as string;
        return { json: {} };
      }
      return { status: 404, text: "no such endpoint" };
    });
    return { kept, url: server.url };
  }

  it("gets options, every step's figures and the end, and a resumed run goes on in the same one", async () => {
    const { kept, url } = await startMlflow();
    const environment = { MLFLOW_TRACKING_TOKEN: "secret" };
    const open = () => new MlflowTracker({ url: `${url}/`, experiment: "shop", environment });
    const { warnings, runDir } = await trainWith([open()], "mlflow");
    expect(warnings).toEqual([]);
    expect(kept.experiments).toEqual(["shop"]);
    expect(kept.params).toMatchObject({ groupSize: "8", loss: "grpo" });
    const steps = (key: string) => kept.metrics.filter(([name]) => name === key).map(([, step]) => step);
    expect(steps("train/reward")).toEqual([1, 2, 3, 4]);
    expect(steps("valid/ndcg_10")).toEqual([0, 2, 4]);
    expect(kept.status).toBe("FINISHED");
    expect(server?.received.every(({ headers }) => headers.authorization === "Bearer secret")).toBe(true);
    expect(await readFile(join(runDir, "mlflow.json"), "utf8")).not.toMatch(/secret/);
    const created = (): number => server?.received.filter(({ path }) => path.endsWith("runs/create")).length ?? 0;
    await trainWith([open()], "mlflow", { steps: 5, resume: true });
    expect(created()).toBe(1);
    expect(steps("train/reward")).toEqual([1, 2, 3, 4, 5]);
  });

  it("loses nothing over an outage of five requests in a row", async () => {
    let refused = 0;
    const { kept, url } = await startMlflow(({ path }, count) => {
      if (!path.endsWith("log-batch") || count <= 5 || refused === 5) return undefined;
      refused++;
      return { status: 503 };
    });
    const { warnings } = await trainWith([new MlflowTracker({ url, environment: {} })], "outage");
    expect(refused).toBe(5);
    expect(warnings).toEqual([]);
    expect(kept.metrics.filter(([name]) => name === "train/reward").map(([, step]) => step)).toEqual([1, 2, 3, 4]);
  });

  it.each<[string, (request: Received) => Behaviour | undefined, RegExp]>([
    ["refuses", () => ({ status: 401, text: "who are you\u001b[2J" }), /answered 401: who are you/],
    ["breaks connections", () => "reset", /can't be reached/],
    ["is something else", () => ({ text: "<html>" }), /something else than JSON/],
    ["never answers", () => "hang", /can't be reached/],
    ["refuses figures", ({ path }) => (path.endsWith("log-batch") ? { status: 403 } : undefined), /answered 403/],
  ])("that %s stops no run", async (what, fail, message) => {
    const { url } = await startMlflow(fail);
    const tracker = new MlflowTracker({ url, environment: {}, timeoutMs: 300 });
    const { warnings, result } = await trainWith([tracker], `bad ${what}`);
    expect(result.step).toBe(4);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^MLflow is left alone from now on, the run goes on: /);
    expect(warnings[0]).toMatch(message);
  });

  it("that is down stops no run", async () => {
    const { warnings } = await trainWith([new MlflowTracker({ url: "http://127.0.0.1:9", environment: {} })], "down");
    expect(warnings[0]).toMatch(/MLflow at http:\/\/127.0.0.1:9 \(experiments\/get-by-name\) can't be reached/);
  });

  it("is not waited for forever at the end", async () => {
    const { url } = await startMlflow(({ path }) => (path.endsWith("log-batch") ? "hang" : undefined));
    const { warnings, result } = await trainWith([new MlflowTracker({ url, environment: {} })], "slow");
    expect(result.step).toBe(4);
    expect(warnings).toEqual(["MLflow did not take all figures within 3 s."]);
  });

  it.each(["mlflow", "file:///tmp/mlruns", "http://user:password@127.0.0.1"])("refuses the address %s", (url) => {
    expect(() => new MlflowTracker({ url })).toThrow(/MLflow's address/);
  });

  it("leaves out what JSON has no number for", async () => {
    const { kept, url } = await startMlflow();
    const tracker = new MlflowTracker({ url, environment: {} });
    await tracker.start({ runDir: folder, config: {}, resumedAt: null });
    await tracker.log(1, { "train/loss": Number.NaN, "train/reward": 0 });
    expect(kept.metrics).toEqual([["train/reward", 1, 0]]);
  });
});

describe("TrackerGroup", () => {
  it("keeps the order, never waits, and drops what a stuck tracker can't take", async () => {
    const warnings: string[] = [];
    const told: number[] = [];
    let release = (): void => {};
    const stuck = new Promise<void>((resolve) => (release = resolve));
    const tracker: Tracker = {
      name: "slow",
      start: async () => stuck,
      log: async (step) => void told.push(step),
      close: async () => {},
    };
    const group = new TrackerGroup([tracker], { onWarning: (message) => warnings.push(message), maxWaiting: 3 });
    const config = {} as never;
    group.onEvent({ kind: "start", runDir: "x", config, totalSteps: 9, resumedAt: null });
    for (let step = 1; step <= 5; step++) {
      const record = { kind: "step" as const, step, phase: "rl" as const, values: { reward: 1 } };
      group.onEvent({ kind: "step", record, totalSteps: 9, seconds: 1, etaSeconds: 1 });
    }
    expect(warnings).toEqual([expect.stringMatching(/3 messages are waiting/)]);
    release();
    await group.close("done");
    expect(told).toEqual([]);
  });

  it("tells nothing of a run that never started", async () => {
    const closed: string[] = [];
    const tracker: Tracker = {
      name: "x",
      start: async () => {},
      log: async () => {},
      close: async (end) => void closed.push(end),
    };
    await new TrackerGroup([tracker], { onWarning: () => {} }).close("failed");
    expect(closed).toEqual([]);
  });
});
