/** Which runs a folder holds, and each in a few figures: what lists and overviews are made of. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describeFileError } from "../core/atomic-write.ts";
import { RecR1Error } from "../core/errors.ts";
import type { BestRecord, RunManifest } from "./records.ts";
import { isRunInUse, readBest, readManifest, readMetrics, readTimings } from "./run-folder.ts";

/** `running`: a process is writing to it; `done`: all steps; `stopped`: fewer, and nobody goes on. */
export type RunStatus = "running" | "done" | "stopped";

export interface RunSummary {
  dir: string;
  task: string;
  model: string;
  /** ISO 8601, UTC. */
  createdAt: string;
  status: RunStatus;
  /** Steps done, warm-up included. */
  step: number;
  totalSteps: number;
  /** Mean reward of the last ten steps that have one; null before the first. */
  reward: number | null;
  /** Null before the first evaluation. */
  best: BestRecord | null;
  /** Time that steps took, evaluations left out. */
  seconds: number;
}

/** A folder that looks like a run and can't be read. */
export interface UnreadableRun {
  dir: string;
  problem: string;
}

/** Folders below the one that is searched, at most. */
const deepest = 3;

/** Steps whose rewards are averaged. */
const rewardSteps = 10;

/** Run folders in `dir` and up to three levels below it, by name; `dir` itself where it is one. */
export async function findRuns(dir: string): Promise<string[]> {
  const found: string[] = [];
  const visit = async (folder: string, depth: number): Promise<void> => {
    let entries;
    try {
      entries = await readdir(folder, { withFileTypes: true });
    } catch (error) {
      if (depth === 0) throw describeFileError(error, "list", folder);
      return;
    }
    const isRun =
      entries.some((entry) => entry.isFile() && entry.name === "config.json") &&
      entries.some((entry) => entry.isDirectory() && entry.name === "rollouts");
    if (isRun) {
      found.push(folder);
      return;
    }
    if (depth === deepest) return;
    const folders = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith("."));
    for (const { name } of folders.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (name !== "node_modules") await visit(join(folder, name), depth + 1);
    }
  };
  await visit(dir, 0);
  return found;
}

/** Steps that a run takes when nothing ends it early, warm-up included. */
export function totalStepsOf({ config }: RunManifest): number {
  return Number(config["warmupSteps"] ?? 0) + Number(config["steps"] ?? 0);
}

/**
 * A run in a few figures.
 * @throws CheckpointError, DataError when it can't be read
 */
export async function summariseRun(dir: string): Promise<RunSummary> {
  const manifest = await readManifest(dir);
  const [metrics, timings, best, inUse] = await Promise.all([
    readMetrics(dir),
    readTimings(dir),
    readBest(dir),
    isRunInUse(dir),
  ]);
  const steps = metrics.filter((record) => record.kind === "step");
  const rewards = steps
    .map(({ values }) => values["reward"])
    .filter((reward) => typeof reward === "number" && Number.isFinite(reward)) as number[];
  const last = rewards.slice(-rewardSteps);
  const step = steps.at(-1)?.step ?? 0;
  const totalSteps = totalStepsOf(manifest);
  return {
    dir,
    task: manifest.task,
    model: String(manifest.engine["model"] ?? manifest.engine["kind"] ?? ""),
    createdAt: manifest.createdAt,
    status: inUse ? "running" : step >= totalSteps ? "done" : "stopped",
    step,
    totalSteps,
    reward: last.length === 0 ? null : last.reduce((sum, reward) => sum + reward, 0) / last.length,
    best: best ?? null,
    seconds: timings.reduce((sum, { seconds }) => sum + (seconds["total"] ?? 0), 0),
  };
}

/** Every run in `dir`, newest first, and those that can't be read with the reason. */
export async function summariseRuns(dir: string): Promise<{ runs: RunSummary[]; unreadable: UnreadableRun[] }> {
  const runs: RunSummary[] = [];
  const unreadable: UnreadableRun[] = [];
  for (const run of await findRuns(dir)) {
    try {
      runs.push(await summariseRun(run));
    } catch (error) {
      if (!(error instanceof RecR1Error)) throw error;
      unreadable.push({ dir: run, problem: error.message });
    }
  }
  runs.sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
  return { runs, unreadable };
}
