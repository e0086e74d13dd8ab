/** A run folder taken up again: the task, recommender and engine that it was started with. */
import { ConfigError } from "../core/errors.ts";
import type { Engine } from "../engines/engine.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import { recommenderInMode, taskInMode } from "../rl/modes.ts";
import type { Task } from "../rl/task.ts";
import type { TrainConfig } from "../rl/train-config.ts";
import type { RunManifest } from "../runs/records.ts";
import { readManifest } from "../runs/run-folder.ts";
import { engineConfigSchema } from "./launch-config.ts";
import type { EngineConfig } from "./launch-config.ts";
import { loadTask, type LoadedTask } from "./load-task.ts";
import { openEngine } from "./open-engine.ts";
import type { Reporter } from "./progress.ts";
import { openTaskRecommender, searchConfigSchema } from "./task-recommender.ts";

/** What flags may say otherwise than the run does. */
export interface RunPlaces {
  /** Task file, if it has moved. */
  task?: string;
  /** Folder of the data, if it has moved. */
  data?: string | undefined;
}

export interface OpenedRun {
  dir: string;
  manifest: RunManifest;
  config: TrainConfig;
  engineConfig: EngineConfig;
  task: Task<object>;
  /**
   * Opens the run's recommender behind a cache of its answers.
   * @param options.cacheDir whether answers are kept on disk where the run did so. Default true.
   */
  openRecommender(options: {
    signal: AbortSignal;
    onWarning: (message: string) => void;
    cacheDir?: boolean;
  }): Promise<Recommender>;
  /** Opens the run's model as it was before training. */
  openEngine(options: { reporter: Reporter; signal: AbortSignal; threads?: number }): Promise<Engine>;
}

/**
 * Reads a run folder and loads its task.
 * @throws CheckpointError where `dir` is no run folder; ConfigError `NO_TASK_FILE`; TaskError
 */
export async function openRun(dir: string, places: RunPlaces = {}): Promise<OpenedRun> {
  const manifest = await readManifest(dir);
  const config = manifest.config as TrainConfig;
  const engineConfig = engineConfigSchema.parse(manifest.launch.engine ?? {});
  const { task, openRecommender } = await loadRunTask(dir, manifest, places);
  return {
    dir,
    manifest,
    config,
    engineConfig,
    task: taskInMode(task, config.mode),
    openRecommender: async ({ cacheDir: isKept = true, ...options }) => {
      const { cacheDir, ...search } = searchConfigSchema.parse(manifest.launch.search ?? {});
      const kept = isKept && cacheDir !== undefined ? { ...search, cacheDir } : search;
      return recommenderInMode(await openTaskRecommender(openRecommender, kept, options), config.mode);
    },
    openEngine: ({ threads, ...options }) =>
      openEngine(threads === undefined ? engineConfig : { ...engineConfig, threads }, {
        seed: config.seed,
        ...options,
      }),
  };
}

/**
 * The task that a run was started with; a run of `rec-r1 demo`, which has no task file, gets the demo's.
 * @throws ConfigError `NO_TASK_FILE`; TaskError
 */
export async function loadRunTask(
  dir: string,
  { launch }: RunManifest,
  { task: movedTask, data: movedData }: RunPlaces,
): Promise<LoadedTask> {
  if (launch.demo === true && movedTask === undefined) return (await import("./demo/icon-task.ts")).loadIconTask();
  const taskFile = movedTask ?? launch.taskFile;
  if (typeof taskFile !== "string") {
    throw new ConfigError(
      "NO_TASK_FILE",
      `${dir} does not say which task file it was started with. Give it: --task FILE.`,
    );
  }
  return loadTask(taskFile, { data: movedData ?? dataOf(launch) });
}

/** The folder of data that a run was started with. */
export function dataOf({ data }: RunManifest["launch"]): string | undefined {
  return typeof data === "string" ? data : undefined;
}
