/** `rec-r1 train`: trains a policy on a task file, in a run folder. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import type { ConfigLayer } from "../core/config.ts";
import { AbortError, CheckpointError } from "../core/errors.ts";
import { quoteForShell } from "../core/shell-quote.ts";
import type { Engine } from "../engines/engine.ts";
import { requireSoundBaseline } from "../eval/doctor/diagnosis.ts";
import { examineTask } from "../eval/doctor/examine.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import type { Task } from "../rl/task.ts";
import { train } from "../rl/train.ts";
import type { RunManifest } from "../runs/records.ts";
import { readManifest } from "../runs/run-folder.ts";
import { MlflowTracker, TensorBoardTracker, TrackerGroup } from "../trackers/index.ts";
import { Closing } from "./closing.ts";
import { launchConfigSchema, resolveLaunchConfig } from "./launch-config.ts";
import type { TrackerConfig } from "./launch-config.ts";
import { loadTask } from "./load-task.ts";
import { openEngine } from "./open-engine.ts";
import { addSchemaOptions, fileLayer, flagLayer } from "./options.ts";
import { drawCurve, Reporter } from "./progress.ts";
import { TrainPrinter } from "./train-printer.ts";
import { openTaskRecommender } from "./task-recommender.ts";

interface TrainFlags {
  run?: string;
  resume?: boolean;
  config?: string;
  data?: string;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument(
      "<task>",
      "task file (.ts or .js), or a preset: product-search, next-item, re-ranking (options: NAME:key=value,…)",
    )
    .option("--run <folder>", "run folder (default: runs/ and the task's name)")
    .option("--resume", "go on with the run in the run folder")
    .option("--config <file>", "JSON file of the options below, in camelCase")
    .option("--data <folder>", "handed to the task file, for those that read their data from a folder")
    .option("--json", "print the result as one JSON object on the last line")
    .addHelpText(
      "after",
      `
Examples:
  rec-r1 train task.ts --run runs/first --steps 40        Ctrl-C stops it, --resume goes on to the same result
  rec-r1 train task.ts --run runs/first --resume
  rec-r1 train task.ts --run runs/second --learning-rate 3e-4 --group-size 16 --max-minutes 30
  rec-r1 show runs/first                                  curves and rollouts; rec-r1 dashboard: in a browser

What a task file says in its "config" goes before these defaults, a flag before both. See docs/tutorial.md and, where the
reward stays flat, docs/troubleshooting.md.`,
    )
    .action(async (task: string, flags: TrainFlags) => runTrain(task, flags, command));
  addSchemaOptions(command, launchConfigSchema);
}

async function runTrain(file: string, flags: TrainFlags, command: Command): Promise<void> {
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const { signal } = interrupt;
  const closing = new Closing();
  let runDir: string | undefined;
  let hasBegun = false;
  let trackers: TrackerGroup | undefined;
  try {
    const given = [
      ...(flags.config === undefined ? [] : [await fileLayer(flags.config)]),
      flagLayer(command, launchConfigSchema),
    ];
    // Wrong options show before anything is loaded.
    resolveLaunchConfig(given);
    const data = flags.data ?? (flags.resume && flags.run !== undefined ? await storedData(flags.run) : undefined);
    const loaded = await loadTask(file, { data });
    const { task } = loaded;
    runDir = flags.run ?? `runs/${task.name.replace(/[^\w.-]+/g, "-")}`;
    const own = [
      { source: `task "${task.name}"`, values: task.config },
      { source: loaded.path, values: loaded.config },
    ];
    const before = flags.resume ? await storedLayer(runDir) : [];
    const config = resolveLaunchConfig([...own, ...before, ...given]);
    const onWarning = (message: string): void => reporter.line(`warning: ${message}`);
    trackers = openTrackers(config.trackers, onWarning);
    const told = trackers;
    const recommender = closing.add(
      await openTaskRecommender(loaded.openRecommender, config.search, { signal, onWarning }),
    );
    const { seed, klCoef } = config.train;
    const engine = closing.add(await openEngine(config.engine, { seed, reporter, signal, keepReference: klCoef > 0 }));
    if (config.doctor && !flags.resume) await examineFirst({ task, recommender, engine, config, reporter, signal });
    const printer = new TrainPrinter(reporter);
    const result = await train({
      ...config.train,
      task,
      recommender,
      engine,
      runDir,
      resume: flags.resume ?? false,
      signal,
      onEvent: (event) => {
        hasBegun ||= event.kind === "start";
        printer.onEvent(event);
        told.onEvent(event);
      },
      launch: {
        taskFile: loaded.path,
        data: data === undefined ? null : resolve(data),
        engine: config.engine,
        search: config.search,
        trackers: config.trackers,
      },
    });
    await trackers.close("done");
    reporter.clear();
    if (printer.curve.length > 1 && !flags.json) process.stdout.write(`${drawCurve(printer.curve)}\n`);
    const next = `rec-r1 eval ${quoteForShell(runDir)} --split test`;
    process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : `Compare it on the test split: ${next}\n`);
  } catch (error) {
    reporter.clear();
    await trackers?.close(error instanceof AbortError ? "stopped" : "failed");
    if (runDir === undefined) throw error;
    const goOn = `rec-r1 train ${quoteForShell(file)} --run ${quoteForShell(runDir)} --resume`;
    if (error instanceof AbortError) {
      throw new AbortError(hasBegun || flags.resume ? `Stopped. Go on with: ${goOn}` : "Stopped before the run began.");
    }
    if (hasBegun) reporter.line(`The run is kept up to its last checkpoint. Go on with: ${goOn}`);
    throw error;
  } finally {
    await closing.close();
    interrupt.dispose();
  }
}

/** @throws ConfigError on an address that can't be MLflow's */
function openTrackers(
  { tensorboard, mlflow, mlflowExperiment }: TrackerConfig,
  onWarning: (message: string) => void,
): TrackerGroup {
  const trackers = [
    ...(tensorboard ? [new TensorBoardTracker()] : []),
    ...(mlflow === undefined ? [] : [new MlflowTracker({ url: mlflow, experiment: mlflowExperiment })]),
  ];
  return new TrackerGroup(trackers, { onWarning });
}

/**
 * Has the doctor look at the baseline before anything is trained against it; warnings are shown.
 * @throws DataError `BROKEN_BASELINE`
 */
async function examineFirst({
  task,
  recommender,
  engine,
  config,
  reporter,
  signal,
}: {
  task: Task<object>;
  recommender: Recommender;
  engine: Engine;
  config: ReturnType<typeof resolveLaunchConfig>;
  reporter: Reporter;
  signal: AbortSignal;
}): Promise<void> {
  const { maxTokens, maxMissingShare, seed } = config.train;
  reporter.status("examining the baseline");
  const diagnosis = await examineTask({
    ...{ task, recommender, tokenizer: engine, maxTokens, maxMissingShare, seed, signal },
  });
  requireSoundBaseline(
    diagnosis,
    "See rec-r1 doctor for the evidence. Mend it, or train all the same with --no-doctor.",
  );
  for (const { check, status, message } of diagnosis.outcomes) {
    if (status === "warning") reporter.line(`warning: ${check}: ${message}`);
  }
}

/** The settings that a run began with; none where the folder holds no run yet. */
async function storedLayer(runDir: string): Promise<ConfigLayer[]> {
  const manifest = await storedManifest(runDir);
  if (!manifest) return [];
  const { config, launch } = manifest;
  const { engine, search, trackers } = launch as Record<string, object | undefined>;
  const others = { ...engine, ...search, ...trackers };
  return [{ source: `${runDir}/config.json`, values: { ...config, ...others } }];
}

/** The data folder that a run began with, as an absolute path. */
async function storedData(runDir: string): Promise<string | undefined> {
  const data = (await storedManifest(runDir))?.launch.data;
  return typeof data === "string" ? data : undefined;
}

async function storedManifest(runDir: string): Promise<RunManifest | undefined> {
  try {
    return await readManifest(runDir);
  } catch (error) {
    if (error instanceof CheckpointError && error.code === "RUN_MISSING") return undefined;
    throw error;
  }
}
