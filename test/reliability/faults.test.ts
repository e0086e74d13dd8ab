/** What a machine does to a training: the disk fills up, a folder goes away, a limit is reached, the clock is set back. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { train } from "../../src/rl/train.ts";
import { readMetrics, readNewestRunCheckpoint } from "../../src/runs/run-folder.ts";
import { runProcess, writeProject } from "../cli/project.ts";
import type { CliResult } from "../cli/project.ts";
import { makeParts, makeTask, quick } from "../support/word-task.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-faults-"));
  await writeProject(folder);
  // The index is built once, so that what a test's limits hit is the training.
  expect(await trainInto("whole")).toMatchObject({ code: 0 });
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Processes start slowly where others are busy. */
const slow = { timeout: 180_000 };
/** So many that a training is still under way when what happens to it has happened. */
const steps = 40;
type Options = Parameters<typeof runProcess>[2];
const trainInto = (name: string, options: Options = {}, ...more: string[]): Promise<CliResult> =>
  runProcess(
    folder,
    [
      ...["train", "task.ts", "--data", folder, "--model", "model", "--threads", "1", "--run", join(folder, name)],
      ...["--steps", String(steps), "--checkpoint-every", "1", ...more],
    ],
    options,
  );

/** Metrics, rollouts and the last checkpoint's checksums. */
async function outcomeOf(name: string): Promise<Record<string, string>> {
  const runDir = join(folder, name);
  const outcome: Record<string, string> = { metrics: await readFile(join(runDir, "metrics.jsonl"), "utf8") };
  for (const file of await readdir(join(runDir, "rollouts"))) {
    const bytes = await readFile(join(runDir, "rollouts", file));
    outcome[file] = createHash("sha256").update(bytes).digest("hex");
  }
  const last = (await readdir(join(runDir, "checkpoints"))).sort().at(-1) as string;
  outcome[last] = await readFile(join(runDir, "checkpoints", last, "checksums.json"), "utf8");
  return outcome;
}

/** Resumes a run that was cut off, and expects what an undisturbed one gives; its last checkpoint has to be whole. */
async function expectWholeAfterResume(name: string): Promise<CliResult> {
  const damaged: string[] = [];
  const newest = await readNewestRunCheckpoint(join(folder, name), (error) => damaged.push(error.message));
  expect(damaged).toEqual([]);
  expect(newest?.step).toBeGreaterThan(0);
  const resumed = await trainInto(name, {}, "--resume");
  expect(resumed.stderr).toMatch(new RegExp(`resumed after step ${newest?.step}`));
  expect(resumed.code, resumed.stderr).toBe(0);
  expect(await outcomeOf(name)).toEqual(await outcomeOf("whole"));
  return resumed;
}

/** Does something to a process's world while it stands still. */
function whileStopped(change: (pid: number) => void): (pid: number) => void {
  return (pid) => {
    process.kill(pid, "SIGSTOP");
    try {
      change(pid);
    } finally {
      process.kill(pid, "SIGCONT");
    }
  };
}

const mount = (...args: string[]): void => {
  const { status, stderr } = spawnSync("mount", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`mount ${args.join(" ")}: ${stderr}`);
};

/** A small disk in memory at `name`; undefined, where this process may not mount one. */
async function mountDisk(name: string, size: string): Promise<string | undefined> {
  const dir = join(folder, name);
  await mkdir(dir);
  try {
    mount("-t", "tmpfs", "-o", `size=${size}`, "tmpfs", dir);
  } catch {
    return undefined;
  }
  onTestFinished(() => {
    spawnSync("umount", [dir]);
  });
  return dir;
}

/** Makes a disk read-only as soon as no file on it is open for writing. */
const makeReadOnly =
  (disk: string) =>
  (pid: number): void => {
    for (let attempt = 1; ; attempt++) {
      try {
        return whileStopped(() => mount("-o", "remount,ro", disk))(pid);
      } catch (error) {
        if (attempt === 100) throw error;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      }
    }
  };

const needsRoot = "a small disk can be mounted by root only";

describe("a disk", () => {
  it("that is full ends the run with its last checkpoint whole, and with space it goes on", slow, async (context) => {
    const disk = await mountDisk("full", "500k");
    if (!disk) return context.skip(needsRoot);
    const { code, stderr } = await trainInto("full/run");
    expect(stderr).toMatch(/the disk is full\. Free some space and try again\..*\[DISK_FULL\]/);
    expect(code).toBe(1);
    mount("-o", "remount,size=20m", disk);
    await expectWholeAfterResume("full/run");
  });

  it(
    "that can't be written refuses a run before anything is done, and ends one in the middle",
    slow,
    async (context) => {
      const disk = await mountDisk("read-only", "20m");
      if (!disk) return context.skip(needsRoot);
      const { code } = await trainInto("read-only/run", {
        interrupt: { on: /step +3\/40/, signal: makeReadOnly(disk) },
      });
      expect(code).toBe(1);
      const refused = await trainInto("read-only/other");
      expect(refused.stderr).toMatch(/read-only\/other: the file system is read-only\. Choose a folder.*\[READ_ONLY\]/);
      expect(refused.code).toBe(1);
      mount("-o", "remount,rw", disk);
      await expectWholeAfterResume("read-only/run");
    },
  );

  it("that denies its folder says whose permission is needed", async (context) => {
    if (process.getuid?.() === 0) return context.skip("root may write everywhere");
    await mkdir(join(folder, "denied"));
    await chmod(join(folder, "denied"), 0o555);
    const { stderr, code } = await trainInto("denied/run");
    expect(stderr).toMatch(/permission denied.*\[NO_PERMISSION\]/);
    expect(code).toBe(1);
  });
});

describe("a run folder", () => {
  it("that is removed ends the run, and isn't made again", slow, async () => {
    const { code, stderr } = await trainInto("removed", {
      interrupt: {
        on: /step +3\/40/,
        signal: whileStopped(() => rmSync(join(folder, "removed"), { recursive: true, force: true })),
      },
    });
    expect(stderr).toMatch(/removed.*no such file or folder.*\[NOT_FOUND\]/);
    expect(code).toBe(1);
    expect(await readdir(folder)).not.toContain("removed");
  });

  it("is refused to a second process, which the first one doesn't notice", slow, async () => {
    let second: Promise<CliResult> | undefined;
    const first = await trainInto("shared", {
      interrupt: {
        on: /step +1\/40/,
        signal: (pid) => {
          process.kill(pid, "SIGSTOP");
          second = trainInto("shared", {}, "--resume").finally(() => process.kill(pid, "SIGCONT"));
        },
      },
    });
    const { code, stderr } = (await second) as CliResult;
    expect(stderr).toMatch(/in use by process \d+.*\[RUN_IN_USE\]/);
    expect(code).toBe(1);
    expect(first.code).toBe(0);
    expect(await outcomeOf("shared")).toEqual(await outcomeOf("whole"));
  });
});

describe.runIf(process.platform === "linux")("a limit that is reached in mid-run", () => {
  /** Lowers a limit of a running process; throws where the machine has no `prlimit`. */
  const lower = (pid: number, limit: string): void => {
    const { status, stderr } = spawnSync("prlimit", ["--pid", String(pid), limit], { encoding: "utf8" });
    if (status !== 0) throw new Error(`prlimit: ${stderr}`);
  };
  const countFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

  it("on open files ends it with what to raise", slow, async () => {
    const { code, stderr } = await trainInto("files", {
      interrupt: {
        on: /step +3\/40/,
        signal: whileStopped((pid) => lower(pid, `--nofile=${Math.floor(countFiles(pid) / 2)}`)),
      },
    });
    expect(stderr).toMatch(/too many open files\. Raise the limit \(ulimit -n\)\..*\[TOO_MANY_FILES\]/);
    expect(code).toBe(1);
    await expectWholeAfterResume("files");
  });

  /** Address space in use and bytes of data, in bytes. */
  const memoryOf = (pid: number, name: "VmSize" | "VmData"): number =>
    1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);

  it("on memory, which may end Node on the spot, loses nothing", slow, async () => {
    const { code } = await trainInto("memory", {
      interrupt: {
        on: /step +3\/40/,
        signal: whileStopped((pid) => lower(pid, `--data=${Math.floor(memoryOf(pid, "VmData") / 2)}`)),
      },
    });
    // What the process has already may last to the end.
    if (code === 0) return expect(await outcomeOf("memory")).toEqual(await outcomeOf("whole"));
    const { stderr } = await expectWholeAfterResume("memory");
    // An error that could still be caught has code 1, and was told by the process itself.
    if (code !== 1) expect(stderr).toMatch(/Process \d+.*ended without a word: it was killed, ran out of memory/);
  });

  it("on memory that a step doesn't fit into is told before the first one", slow, async () => {
    const args = [
      ...["train", "task.ts", "--data", folder, "--model", "model", "--threads", "1", "--run", join(folder, "large")],
      ...["--steps", "1", "--group-size", "256", "--max-tokens", "100", "--eval-every", "0"],
    ];
    const { code, stderr } = await runProcess(folder, args, {
      interrupt: {
        on: /: 1 steps?/,
        signal: whileStopped((pid) => lower(pid, `--as=${memoryOf(pid, "VmSize") + 64 * 2 ** 20}`)),
      },
    });
    expect(stderr).toMatch(/There is not enough memory.*Use smaller batches.*\[ENGINE_MEMORY\]/s);
    expect(code).toBe(1);
    const resumed = await runProcess(folder, [...args, "--resume"]);
    expect(resumed.code, resumed.stderr).toBe(0);
  });
});

describe("a clock", () => {
  it("that is set back in mid-run changes nothing", async () => {
    const options = { task: makeTask(), ...quick, steps: 8, evalEvery: 4, checkpointEvery: 2, maxMinutes: 5 };
    const root = join(folder, "clock");
    await train({ ...options, ...makeParts(), runDir: join(root, "steady") });
    vi.useFakeTimers({ toFake: ["Date"], now: new Date("2030-01-01T00:00:00Z") });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    await train({
      ...options,
      ...makeParts(),
      runDir: join(root, "turned"),
      onEvent: ({ kind }) => {
        if (kind === "step") vi.setSystemTime(Date.now() - 3600_000);
      },
    });
    expect(await readMetrics(join(root, "turned"))).toEqual(await readMetrics(join(root, "steady")));
  });
});
