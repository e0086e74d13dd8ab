/**
 * A run on disk: what was run, its metrics, rollouts, evaluations and checkpoints. One process writes at a time. After
 * {@link RunFolder.rewindTo} the folder is as it was when that step ended, so that a resumed run ends like one that
 * was never interrupted. What the records mean is in `records.ts`.
 */
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import {
  describeFileError,
  isTemporaryName,
  makeFolder,
  removeLeftovers,
  writeFileAtomic,
} from "../core/atomic-write.ts";
import { CheckpointError } from "../core/errors.ts";
import { appendJsonLines, cutTornLine, readJsonLog, toJsonLine } from "../core/json-lines.ts";
import { readLivingOwner } from "../core/process-lock.ts";
import type { LockOwner } from "../core/process-lock.ts";
import {
  listCheckpoints,
  pruneCheckpoints,
  readCheckpoint,
  readNewestCheckpoint,
  stepName,
  stepOfName,
  writeCheckpoint,
} from "./checkpoints.ts";
import type { Checkpoint, PruneOptions } from "./checkpoints.ts";
import type {
  BestRecord,
  EvaluationFile,
  MetricsRecord,
  RolloutRecord,
  RunManifest,
  ShownRecord,
  TimingRecord,
} from "./records.ts";
import { runFormat } from "./records.ts";
import { acquireRunLock } from "./run-lock.ts";
import type { RunLock } from "./run-lock.ts";

/** Names of files and folders in a run folder. */
const names = {
  config: "config.json",
  metrics: "metrics.jsonl",
  timings: "timings.jsonl",
  rollouts: "rollouts",
  evaluations: "evaluations",
  shown: "shown",
  checkpoints: "checkpoints",
  best: "best.json",
  warmup: "warmup.jsonl",
  lock: "run.lock",
} as const;

export class RunFolder {
  readonly dir: string;
  private readonly lock: RunLock;

  private constructor(dir: string, lock: RunLock) {
    this.dir = dir;
    this.lock = lock;
  }

  /**
   * Opens `dir` for writing. A new run needs an absent or empty folder; with `resume` it may hold a run already.
   * @returns the folder, what is run in it, and the process that died in the middle of it, if any
   * @throws CheckpointError `RUN_EXISTS`, `RUN_IN_USE`, `RUN_FOREIGN`; RecR1Error `NO_PERMISSION` …
   */
  static async open(
    dir: string,
    { resume }: { resume: boolean },
  ): Promise<{ folder: RunFolder; manifest: RunManifest | undefined; dead: LockOwner | undefined }> {
    await makeFolder(dirname(resolve(dir)));
    // What users asked and a model answered is nobody else's; a folder that is there keeps its mode.
    await mkdir(dir, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw describeFileError(error, "make the run folder", dir);
    });
    const lock = await acquireRunLock(join(dir, names.lock));
    try {
      const manifest = await readManifestIfPresent(dir);
      if (manifest && !resume) throw runExists(dir);
      if (!manifest) await refuseForeignFiles(dir);
      await removeLeftovers(dir);
      return { folder: new RunFolder(dir, lock), manifest, dead: lock.dead };
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /**
   * Says what is run, and makes the folders of everything else. From then on no folder is made again, so that a run
   * whose folder was removed ends instead of going on in half a folder.
   */
  async writeManifest(manifest: RunManifest): Promise<void> {
    await this.writeJson(names.config, manifest);
    for (const folder of [names.rollouts, names.evaluations, names.shown, names.checkpoints]) {
      await mkdir(join(this.dir, folder), { recursive: true });
    }
  }

  async appendMetrics(record: MetricsRecord): Promise<void> {
    await appendJsonLines(join(this.dir, names.metrics), [record]);
  }

  async appendTiming(record: TimingRecord): Promise<void> {
    await appendJsonLines(join(this.dir, names.timings), [record]);
  }

  async writeRollouts(step: number, records: readonly RolloutRecord[]): Promise<void> {
    const path = join(this.dir, names.rollouts, `${stepName(step)}.jsonl`);
    await writeFileAtomic(path, records.map(toJsonLine).join(""), { makeFolders: false });
  }

  /** Adds to what readers are shown in place of ids. */
  async appendShown(records: readonly ShownRecord[]): Promise<void> {
    await appendJsonLines(join(this.dir, names.shown, "run.jsonl"), records);
  }

  /** @param name the file's name without `.json`, such as `valid-step-000010` */
  async writeEvaluation(name: string, evaluation: EvaluationFile): Promise<void> {
    await this.writeJson(join(names.evaluations, `${name}.json`), evaluation);
  }

  async writeBest(best: BestRecord): Promise<void> {
    await this.writeJson(names.best, best);
  }

  /** Keeps the supervised texts that a run begins with. */
  async writeWarmup(texts: readonly object[]): Promise<void> {
    await writeFileAtomic(join(this.dir, names.warmup), texts.map(toJsonLine).join(""), { makeFolders: false });
  }

  /** The texts that were kept; undefined when there are none yet. */
  async readWarmup<Text>(): Promise<Text[] | undefined> {
    const texts: Text[] = [];
    try {
      for await (const text of readJsonLog<Text>(join(this.dir, names.warmup))) texts.push(text);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
    return texts;
  }

  /** Keeps data that explain a failure, under `name` in the run folder. */
  async writeJson(name: string, value: unknown): Promise<void> {
    await writeFileAtomic(join(this.dir, name), `${JSON.stringify(value, null, 2)}\n`, { makeFolders: false });
  }

  async saveCheckpoint(step: number, state: unknown, saveEngine: (dir: string) => Promise<void>): Promise<void> {
    await writeCheckpoint(join(this.dir, names.checkpoints), step, state, saveEngine);
  }

  async pruneCheckpoints(options: PruneOptions): Promise<void> {
    await pruneCheckpoints(join(this.dir, names.checkpoints), options);
  }

  /** The newest whole checkpoint. @param onDamaged told of newer ones that were passed over */
  async newestCheckpoint<State>(onDamaged: (error: CheckpointError) => void): Promise<Checkpoint<State> | undefined> {
    return readNewestCheckpoint<State>(join(this.dir, names.checkpoints), onDamaged);
  }

  /**
   * Forgets everything later than `step`: metrics, timings, rollouts, evaluations of training, checkpoints.
   * @param step steps done; -1 forgets everything
   * @param best what was best by then; null: nothing was evaluated yet
   * @param evaluated whether the evaluation after `step` is to be kept
   */
  async rewindTo({
    step,
    best,
    evaluated,
  }: {
    step: number;
    best: BestRecord | null;
    evaluated: boolean;
  }): Promise<void> {
    await keepRecords<MetricsRecord>(
      join(this.dir, names.metrics),
      (record) => record.step < step || (record.step === step && (record.kind === "step" || evaluated)),
    );
    await keepRecords<TimingRecord>(join(this.dir, names.timings), (record) => record.step <= step);
    await cutTornLine(join(this.dir, names.shown, "run.jsonl"));
    const isLater = (name: string): boolean => {
      const found = /(step-\d{6,})(\.jsonl?)?$/.exec(name);
      return found !== null && (stepOfName(found[1] as string) as number) > step;
    };
    for (const folder of [names.rollouts, names.evaluations, names.checkpoints]) {
      const path = join(this.dir, folder);
      for (const name of await readdir(path).catch(() => [])) {
        if (isLater(name) || isTemporaryName(name)) await rm(join(path, name), { recursive: true, force: true });
      }
    }
    if (best) await this.writeBest(best);
    else await rm(join(this.dir, names.best), { force: true });
  }

  /** Lets other processes write to the folder. */
  async close(): Promise<void> {
    await this.lock.release();
  }
}

/** Rewrites a log with the records to keep, and without a torn last line. */
async function keepRecords<T>(path: string, keep: (record: T) => boolean): Promise<void> {
  const kept: string[] = [];
  try {
    for await (const record of readJsonLog<T>(path)) if (keep(record)) kept.push(toJsonLine(record));
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  await writeFileAtomic(path, kept.join(""));
}

function isMissing(error: unknown): boolean {
  return (error as { code?: string }).code === "NOT_FOUND" || (error as { code?: string }).code === "ENOENT";
}

async function readManifestIfPresent(dir: string): Promise<RunManifest | undefined> {
  try {
    return await readManifest(dir);
  } catch (error) {
    if (error instanceof CheckpointError && error.code === "RUN_MISSING") return undefined;
    throw error;
  }
}

/**
 * What a run folder says was run.
 * @throws CheckpointError `RUN_MISSING`, `RUN_DAMAGED` or `RUN_FORMAT`
 */
export async function readManifest(dir: string): Promise<RunManifest> {
  const path = join(dir, names.config);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "ENOENT" && code !== "ENOTDIR") throw describeFileError(error, "read", path);
    throw new CheckpointError("RUN_MISSING", `${dir} is not a run folder: it has no ${names.config}.`, {
      cause: error,
      details: { dir },
    });
  }
  let manifest: RunManifest;
  try {
    manifest = JSON.parse(text) as RunManifest;
  } catch (error) {
    throw new CheckpointError("RUN_DAMAGED", `${path} is not JSON.`, { cause: error, details: { path } });
  }
  if (manifest?.format !== runFormat) {
    const got = JSON.stringify(manifest?.format) ?? "nothing";
    throw new CheckpointError("RUN_FORMAT", `${path}: format ${got}, this version reads format ${runFormat}.`, {
      details: { path },
    });
  }
  return manifest;
}

/** Metrics of a run, oldest first; empty where it has none yet. */
export async function readMetrics(dir: string): Promise<MetricsRecord[]> {
  return readLogIfPresent<MetricsRecord>(join(dir, names.metrics));
}

/** Durations of a run's steps; empty where it has none yet. */
export async function readTimings(dir: string): Promise<TimingRecord[]> {
  return readLogIfPresent<TimingRecord>(join(dir, names.timings));
}

/** Rollouts of one step; empty where they were not recorded. */
export async function readRollouts(dir: string, step: number): Promise<RolloutRecord[]> {
  return readLogIfPresent<RolloutRecord>(join(dir, names.rollouts, `${stepName(step)}.jsonl`));
}

/** Evaluations that a run has by their names (`valid-step-000010`, `test-tuned`), in order; empty where it has none. */
export async function listEvaluations(dir: string): Promise<string[]> {
  const files = await readdir(join(dir, names.evaluations)).catch(() => []);
  return files
    .filter((file) => file.endsWith(".json"))
    .map((file) => file.slice(0, -".json".length))
    .sort();
}

/** One evaluation of a run; undefined where it has none of that name. @throws CheckpointError `RUN_DAMAGED` */
export async function readEvaluation(dir: string, name: string): Promise<EvaluationFile | undefined> {
  const path = join(dir, names.evaluations, `${name}.json`);
  try {
    return JSON.parse(await readFile(path, "utf8")) as EvaluationFile;
  } catch (error) {
    if (isMissing(error)) return undefined;
    if (error instanceof SyntaxError) {
      throw new CheckpointError("RUN_DAMAGED", `${path} is not JSON.`, { cause: error, details: { path } });
    }
    throw describeFileError(error, "read", path);
  }
}

/** Steps whose rollouts were recorded, ascending. */
export async function listRolloutSteps(dir: string): Promise<number[]> {
  const files = await readdir(join(dir, names.rollouts)).catch(() => []);
  return files
    .map((file) => stepOfName(file.replace(/\.jsonl$/, "")))
    .filter((step) => step !== undefined)
    .sort((a, b) => a - b);
}

/** Whether a living process is writing to a run. */
export async function isRunInUse(dir: string): Promise<boolean> {
  return (await readLivingOwner(join(dir, names.lock))) !== undefined;
}

/** What was best on validation so far; undefined before the first evaluation. */
export async function readBest(dir: string): Promise<BestRecord | undefined> {
  try {
    return JSON.parse(await readFile(join(dir, names.best), "utf8")) as BestRecord;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw describeFileError(error, "read", join(dir, names.best));
  }
}

/** Steps that a run has checkpoints of, ascending, whether these are whole or not. */
export async function listRunCheckpoints(dir: string): Promise<number[]> {
  return listCheckpoints(join(dir, names.checkpoints));
}

/** The checkpoint of one step of a run, verified. @throws CheckpointError */
export async function readRunCheckpoint<State>(dir: string, step: number): Promise<Checkpoint<State>> {
  return readCheckpoint<State>(join(dir, names.checkpoints), step);
}

/** The newest whole checkpoint of a run. @param onDamaged told of newer ones that were passed over */
export async function readNewestRunCheckpoint<State>(
  dir: string,
  onDamaged: (error: CheckpointError) => void,
): Promise<Checkpoint<State> | undefined> {
  return readNewestCheckpoint<State>(join(dir, names.checkpoints), onDamaged);
}

/** Writes an evaluation into a run folder without taking its lock: its name is no other writer's. */
export async function addEvaluation(dir: string, name: string, evaluation: EvaluationFile): Promise<string> {
  const path = join(dir, names.evaluations, `${name}.json`);
  await writeFileAtomic(path, `${JSON.stringify(evaluation, null, 2)}\n`);
  return path;
}

/** What the run itself recorded to be shown in place of ids; empty where it has nothing. */
export async function readShown(dir: string): Promise<ShownRecord[]> {
  return readLogIfPresent<ShownRecord>(join(dir, names.shown, "run.jsonl"));
}

/** Writes what readers are shown in place of the ids of a split's evaluation, without taking the folder's lock. */
export async function writeShownOfSplit(dir: string, split: string, records: readonly ShownRecord[]): Promise<void> {
  await writeFileAtomic(join(dir, names.shown, `eval-${split}.jsonl`), records.map(toJsonLine).join(""));
}

async function readLogIfPresent<T>(path: string): Promise<T[]> {
  const records: T[] = [];
  try {
    for await (const record of readJsonLog<T>(path)) records.push(record);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  return records;
}

async function refuseForeignFiles(dir: string): Promise<void> {
  const foreign = (await readdir(dir)).find((name) => !name.startsWith(names.lock) && !isTemporaryName(name));
  if (foreign === undefined) return;
  throw new CheckpointError(
    "RUN_FOREIGN",
    `${dir} has files but no ${names.config} ("${foreign}", for one), so it is not a run folder. Choose an empty or absent folder.`,
    { details: { dir } },
  );
}

function runExists(dir: string): CheckpointError {
  return new CheckpointError(
    "RUN_EXISTS",
    `The run folder ${dir} exists already. Continue it with --resume (resume: true), or choose another folder.`,
    { details: { dir } },
  );
}
