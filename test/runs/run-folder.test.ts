import { spawn } from "node:child_process";
import { appendFile, chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RunFolder, readBest, readManifest, readMetrics, readRollouts, readShown } from "../../src/runs/run-folder.ts";
import { listCheckpoints, readCheckpoint, readNewestCheckpoint, writeCheckpoint } from "../../src/runs/checkpoints.ts";
import type { BestRecord, RolloutRecord, RunManifest } from "../../src/runs/records.ts";
import { acquireRunLock } from "../../src/runs/run-lock.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "rec-r1-runs-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

const manifest: RunManifest = {
  format: 1,
  createdAt: "2026-01-01T00:00:00.000Z",
  task: "t",
  config: { steps: 3 },
  engine: {},
  recommender: { name: "r", fingerprint: "f" },
  data: {},
  versions: { "rec-r1": "0", node: "0" },
  launch: {},
};

const saveText = (text: string) => async (dir: string) => {
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "weights.bin"), text);
};

describe("RunFolder", () => {
  it.skipIf(process.platform === "win32")("is its owner's alone; one that is there keeps its mode", async () => {
    const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;
    await (await RunFolder.open(join(root, "runs/new"), { resume: false })).folder.close();
    expect(await modeOf(join(root, "runs/new"))).toBe(0o700);
    await mkdir(join(root, "shared"));
    await chmod(join(root, "shared"), 0o775);
    await (await RunFolder.open(join(root, "shared"), { resume: false })).folder.close();
    expect(await modeOf(join(root, "shared"))).toBe(0o775);
  });

  it("refuses a run that exists, a folder of something else, and a second writer", async () => {
    const dir = join(root, "run");
    const { folder } = await RunFolder.open(dir, { resume: false });
    await folder.writeManifest(manifest);
    await expect(RunFolder.open(dir, { resume: true })).rejects.toMatchObject({ code: "RUN_IN_USE" });
    await folder.close();
    await expect(RunFolder.open(dir, { resume: false })).rejects.toThrow(/exists already.*--resume/);
    const again = await RunFolder.open(dir, { resume: true });
    expect(again.manifest).toEqual(manifest);
    await again.folder.close();

    const foreign = join(root, "foreign");
    await mkdir(foreign);
    await writeFile(join(foreign, "thesis.txt"), "");
    await expect(RunFolder.open(foreign, { resume: true })).rejects.toThrow(/not a run folder/);
    expect(await readdir(foreign)).toEqual(["thesis.txt"]);
  });

  it("says when a folder holds no run, a broken or a newer one", async () => {
    await expect(readManifest(root)).rejects.toMatchObject({ code: "RUN_MISSING" });
    await writeFile(join(root, "config.json"), "{");
    await expect(readManifest(root)).rejects.toMatchObject({ code: "RUN_DAMAGED" });
    await writeFile(join(root, "config.json"), '{"format": 2}');
    await expect(readManifest(root)).rejects.toThrow(/format 2, this version reads format 1/);
  });

  it("forgets what came after the step it is rewound to", async () => {
    const dir = join(root, "run");
    const { folder } = await RunFolder.open(dir, { resume: false });
    await folder.writeManifest(manifest);
    const best: BestRecord = { step: 1, metric: "m", value: 0.5, checkpoint: "step-000001" };
    for (const step of [1, 2, 3]) {
      await folder.writeRollouts(step, [{ step } as RolloutRecord]);
      await folder.appendMetrics({ kind: "step", step, phase: "rl", values: {} });
      const counts = { queries: 1, failed: 0, unparsed: 0, empty: 0 };
      await folder.appendMetrics({ kind: "evaluation", step, split: "valid", values: {}, counts });
      const evaluation = { policy: "p", split: "valid", metric: "m", means: {}, counts, records: [] };
      await folder.writeEvaluation(`valid-step-00000${step}`, evaluation);
      await folder.saveCheckpoint(step, { step }, saveText(String(step)));
    }
    await folder.writeBest({ ...best, step: 3 });
    await writeFile(join(dir, "metrics.jsonl"), `${await readFile(join(dir, "metrics.jsonl"), "utf8")}{"kind":"st`);
    const shown = { kind: "item", id: "a", title: "A" } as const;
    await folder.appendShown([shown]);
    await appendFile(join(dir, "shown", "run.jsonl"), '{"kind":"it');
    await folder.rewindTo({ step: 2, best, evaluated: false });
    await folder.appendShown([shown]);
    expect(await readShown(dir)).toEqual([shown, shown]);
    expect((await readMetrics(dir)).map(({ kind, step }) => `${kind} ${step}`)).toEqual([
      "step 1",
      "evaluation 1",
      "step 2",
    ]);
    expect(await readRollouts(dir, 2)).toHaveLength(1);
    expect(await readRollouts(dir, 3)).toEqual([]);
    expect(await readdir(join(dir, "evaluations"))).toEqual(["valid-step-000001.json", "valid-step-000002.json"]);
    expect(await listCheckpoints(join(dir, "checkpoints"))).toEqual([1, 2]);
    expect(await readBest(dir)).toEqual(best);
    await folder.rewindTo({ step: -1, best: null, evaluated: false });
    expect(await readMetrics(dir)).toEqual([]);
    expect(await readBest(dir)).toBeUndefined();
    await folder.close();
  });
});

describe("checkpoints", () => {
  it("are whole or absent", async () => {
    await writeCheckpoint(root, 1, { step: 1 }, saveText("one"));
    const failing = async (dir: string): Promise<void> => {
      await saveText("half")(dir);
      throw Object.assign(new Error("no space"), { code: "ENOSPC" });
    };
    await expect(writeCheckpoint(root, 2, {}, failing)).rejects.toMatchObject({ code: "DISK_FULL" });
    expect(await readdir(root)).toEqual(["step-000001"]);
    const { state, engineDir } = await readCheckpoint<{ step: number }>(root, 1);
    expect(state).toEqual({ step: 1 });
    expect(await readFile(join(engineDir, "weights.bin"), "utf8")).toBe("one");
  });

  it.each([
    ["a flipped byte", "engine/weights.bin", "onE", /checksum of engine\/weights.bin differs/],
    ["a truncated file", "engine/weights.bin", "on", /has 2 bytes, expected 3/],
    ["broken checksums", "checksums.json", "{", /checksums.json can't be read/],
    ["a changed state", "trainer.json", '{\n  "step": 9\n}\n', /checksum of trainer.json differs/],
  ])("with %s are passed over for the one before", async (_, file, content, message) => {
    for (const step of [1, 2]) await writeCheckpoint(root, step, { step }, saveText("one"));
    await writeFile(join(root, "step-000002", file), content);
    await expect(readCheckpoint(root, 2)).rejects.toThrow(message);
    const messages: string[] = [];
    const newest = await readNewestCheckpoint(root, (error) => messages.push(error.message));
    expect(newest?.step).toBe(1);
    expect(messages).toHaveLength(1);
  });

  it("with a missing file are passed over, too", async () => {
    await writeCheckpoint(root, 1, {}, saveText("one"));
    await rm(join(root, "step-000001/engine/weights.bin"));
    await expect(readCheckpoint(root, 1)).rejects.toThrow(/weights.bin is missing/);
    expect(await readNewestCheckpoint(root, () => {})).toBeUndefined();
  });
});

describe("run lock", () => {
  const startProcess = async (): Promise<{ pid: number; end: () => Promise<void> }> => {
    const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
    await new Promise((resolve) => child.once("spawn", resolve));
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    return { pid: child.pid as number, end: async () => (child.kill("SIGKILL"), ended) };
  };

  it("is refused while its process lives and taken over when it is gone", async () => {
    const path = join(root, "run.lock");
    const { pid, end } = await startProcess();
    await writeFile(path, JSON.stringify({ pid, host: hostname(), startedAt: null, token: "x" }));
    await expect(acquireRunLock(path)).rejects.toThrow(new RegExp(`process ${pid}`));
    await end();
    const lock = await acquireRunLock(path);
    await lock.release();
    expect(await readdir(root)).toEqual([]);
  });

  it.runIf(process.platform === "linux")("is taken over when its pid now belongs to another process", async () => {
    const path = join(root, "run.lock");
    const { pid, end } = await startProcess();
    await writeFile(path, JSON.stringify({ pid, host: hostname(), startedAt: "1", token: "x" }));
    await (await acquireRunLock(path)).release();
    await end();
  });

  it("of another machine is left alone, and a torn one is taken over", async () => {
    const path = join(root, "run.lock");
    await writeFile(path, JSON.stringify({ pid: 1, host: "elsewhere", startedAt: null, token: "x" }));
    await expect(acquireRunLock(path)).rejects.toThrow(/elsewhere.*delete the lock file/);
    await writeFile(path, '{"pid": 12');
    await (await acquireRunLock(path)).release();
  });

  it("is taken over when another process died while it took it over", async () => {
    const path = join(root, "run.lock");
    const dead = JSON.stringify({ pid: 2 ** 30, host: hostname(), startedAt: null, token: "x" });
    await writeFile(path, dead);
    await writeFile(`${path}.takeover`, dead);
    await (await acquireRunLock(path)).release();
    expect(await readdir(root)).toEqual([]);
  });

  it("clears away what killed processes left beside it, and nothing of living ones", async () => {
    const path = join(root, "run.lock");
    const ofProcess = (pid: number): string => JSON.stringify({ pid, host: hostname(), startedAt: null, token: "x" });
    await writeFile(`${path}.tmp-${2 ** 30}-0123abcd`, ofProcess(2 ** 30));
    await writeFile(`${path}.takeover.tmp-${2 ** 30}-0123abcd`, ofProcess(2 ** 30));
    await writeFile(`${path}.tmp-${2 ** 30}-4567abcd`, '{"pid": 12');
    await utimes(`${path}.tmp-${2 ** 30}-4567abcd`, new Date(2020, 0), new Date(2020, 0));
    const kept = [
      `run.lock.tmp-${process.pid}-0123abcd`,
      `run.lock.tmp-${2 ** 30}-89ababcd`,
      `weights.tmp-${2 ** 30}-0123abcd`,
    ];
    await writeFile(join(root, kept[0] as string), ofProcess(process.pid));
    // One that names nobody yet and was written just now.
    await writeFile(join(root, kept[1] as string), "");
    await writeFile(join(root, kept[2] as string), "");
    await (await acquireRunLock(path)).release();
    expect((await readdir(root)).sort()).toEqual(kept.sort());
  });

  it.each(["a dead process's", "no"])("goes to one of many who want it at once, from %s lock", async (before) => {
    const path = join(root, "run.lock");
    const dead = { pid: 2 ** 30, host: hostname(), startedAt: null, token: "x" };
    if (before !== "no") await writeFile(path, JSON.stringify(dead));
    const attempts = await Promise.allSettled(Array.from({ length: 20 }, () => acquireRunLock(path)));
    expect(attempts.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });
});
