/** Starts a run or takes it up again: data, run folder, checks that it is still the same run, the state to go on from. */
import { ConfigError } from "../core/errors.ts";
import { packageVersion } from "../core/version.ts";
import { checkRelevant, type MissingRelevant } from "../datasets/examples.ts";
import { countDropped, describeDropped, reportOf } from "../datasets/load-report.ts";
import type { Engine } from "../engines/engine.ts";
import type { Relevance } from "../ranking/judgments.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import { RunFolder } from "../runs/run-folder.ts";
import type { BestRecord, RunManifest } from "../runs/records.ts";
import { runFormat } from "../runs/records.ts";
import type { OnTrainEvent } from "./events.ts";
import { fingerprintExamples, loadSplit } from "./task.ts";
import type { LoadedExample, SplitName, Task } from "./task.ts";
import { resumableKeys } from "./train-config.ts";
import type { TrainConfig } from "./train-config.ts";

/** What a checkpoint holds beside the engine's state: with it, the rest of the run is determined. */
export interface TrainState {
  /** Steps done. */
  step: number;
  /** Position in the order of training examples. */
  cursor: number;
  best: BestRecord | null;
  /** Steps done when it was last evaluated; -1: never. */
  evaluatedAt: number;
  evaluationsSinceBest: number;
  /** Steps in a row that were skipped because gradients weren't finite. */
  skippedInRow: number;
}

export interface Session<E extends object> {
  folder: RunFolder;
  train: LoadedExample<E>[];
  /** The examples evaluated in between; empty: none. */
  valid: LoadedExample<E>[];
  state: TrainState;
  /** Steps that were done when the run was taken up again; null: a new run. */
  resumedAt: number | null;
  /** The recommender's, as the run began. */
  fingerprint: string;
}

export interface SessionOptions<E extends object> {
  task: Task<E>;
  recommender: Recommender;
  engine: Engine;
  runDir: string;
  config: TrainConfig;
  resume: boolean;
  launch: Record<string, unknown>;
  onEvent: OnTrainEvent;
}

/**
 * Opens the run folder for a new run, or restores engine and state from its newest whole checkpoint.
 * @throws ConfigError `RESUME_DIFFERS` when options, data or recommender changed; DataError; CheckpointError
 */
export async function openSession<E extends object>(options: SessionOptions<E>): Promise<Session<E>> {
  const { task, recommender, engine, runDir, config, resume, onEvent } = options;
  const { folder, manifest, dead } = await RunFolder.open(runDir, { resume });
  try {
    if (dead) {
      const message = `Process ${dead.pid}, which worked on ${runDir}, ended without a word: it was killed, ran out of memory, or the machine went down. What it did after its last checkpoint is done again.`;
      onEvent({ kind: "warning", message });
    }
    const load = (split: SplitName): Promise<LoadedExample<E>[]> =>
      loadCheckedSplit(task, split, recommender, config.maxMissingShare, (missing) =>
        onEvent({ kind: "warning", message: describeMissing(split, missing) }),
      );
    const train = await load("train");
    const validAll = config.evalEvery > 0 && task.data.valid ? await load("valid") : [];
    const valid = config.evalLimit > 0 ? validAll.slice(0, config.evalLimit) : validAll;
    for (const examples of [train, validAll]) warnOfDropped(examples, onEvent);
    if (config.evalEvery > 0 && valid.length === 0) {
      onEvent({
        kind: "warning",
        message: `Task "${task.name}" has no "valid" split, so nothing picks a best checkpoint.`,
      });
    }
    const fresh = await describeRun(options, { train, valid: validAll });
    const { fingerprint } = fresh.recommender;
    if (!manifest) {
      await folder.writeManifest(fresh);
      return { folder, train, valid, state: initialState(), resumedAt: null, fingerprint };
    }
    refuseDifferences(manifest, fresh, runDir, onEvent);
    const { steps, schedule } = config;
    if (schedule !== "constant" && manifest.config.steps !== steps) {
      const message = `The run began with steps = ${String(manifest.config.steps)} and goes on with ${steps}: the learning rate, whose schedule is ${schedule}, goes on as if it had been so from the beginning.`;
      onEvent({ kind: "warning", message });
    }
    const checkpoint = await folder.newestCheckpoint<TrainState>((damaged) =>
      onEvent({ kind: "warning", message: `${damaged.message} The one before it is used.` }),
    );
    const state = checkpoint?.state ?? initialState();
    if (checkpoint) await engine.loadState(checkpoint.engineDir);
    await folder.rewindTo({
      step: checkpoint ? state.step : -1,
      best: state.best,
      evaluated: state.evaluatedAt === state.step,
    });
    await folder.writeManifest({ ...fresh, createdAt: manifest.createdAt });
    return { folder, train, valid, state, resumedAt: state.step, fingerprint };
  } catch (error) {
    await folder.close();
    throw error;
  }
}

/** Says which rows of the data were left out for a fault, so that a run doesn't quietly train on less. */
function warnOfDropped(examples: readonly unknown[], onEvent: OnTrainEvent): void {
  const report = reportOf(examples);
  if (!report || report.dropped.length === 0) return;
  const message = `${report.path}: ${countDropped(report)} of ${report.rows} rows were dropped:\n${describeDropped(report)}`;
  onEvent({ kind: "warning", message });
}

function describeMissing(split: SplitName, { missing, relevant, unreachable, examples }: MissingRelevant): string {
  return `${split}: ${missing.length} of ${relevant} relevant ids aren't in the catalogue, as maxMissingShare allows; nothing that is relevant can be found for ${unreachable} of ${examples} examples.`;
}

function initialState(): TrainState {
  return { step: 0, cursor: 0, best: null, evaluatedAt: -1, evaluationsSinceBest: 0, skippedInRow: 0 };
}

/**
 * A split whose relevant ids were looked up in the catalogue, where the recommender can tell.
 * @param onMissing called when ids are missing and their share is allowed
 * @throws DataError `DATA_RELEVANT_NOT_IN_CATALOGUE` …; ConfigError `NO_SPLIT`
 */
export async function loadCheckedSplit<E extends object>(
  task: Task<E>,
  split: SplitName,
  recommender: Recommender,
  maxMissingShare: number,
  onMissing: (missing: MissingRelevant) => void = () => {},
): Promise<LoadedExample<E>[]> {
  const examples = await loadSplit(task, split);
  if (!examples) {
    throw new ConfigError("NO_SPLIT", `Task "${task.name}" has no "${split}" split. Give it \`data.${split}\`.`);
  }
  if (recommender.has) {
    const judged = examples
      .map(({ example }) => example as { id: string; relevant?: Relevance })
      .filter((example): example is { id: string; relevant: Relevance } => example.relevant !== undefined);
    const found = await checkRelevant(judged, (id) => recommender.has?.(id) ?? true, { maxMissingShare });
    if (found.missing.length > 0) onMissing(found);
  }
  return examples;
}

async function describeRun<E extends object>(
  { task, recommender, engine, config, launch }: SessionOptions<E>,
  splits: Record<string, LoadedExample<E>[]>,
): Promise<RunManifest> {
  const data = Object.entries(splits).map(([split, examples]) => [
    split,
    { examples: examples.length, sha256: fingerprintExamples(examples) },
  ]);
  return {
    format: runFormat,
    createdAt: new Date().toISOString(),
    task: task.name,
    config,
    engine: { ...engine.description },
    recommender: { name: recommender.name, fingerprint: await recommender.fingerprint() },
    data: Object.fromEntries(data) as RunManifest["data"],
    versions: { "rec-r1": packageVersion(), node: process.versions.node },
    launch,
  };
}

/** Refuses to go on with a run whose steps would no longer be those it began with. */
function refuseDifferences(before: RunManifest, now: RunManifest, runDir: string, onEvent: OnTrainEvent): void {
  const differences: string[] = [];
  const compare = (what: string, a: unknown, b: unknown): void => {
    const [was, is] = [JSON.stringify(a), JSON.stringify(b)];
    if (was !== is) differences.push(`${what} was ${was ?? "unset"}, now ${is ?? "unset"}`);
  };
  compare("task", before.task, now.task);
  for (const key of Object.keys({ ...before.config, ...now.config })) {
    if (!(resumableKeys as readonly string[]).includes(key)) compare(key, before.config[key], now.config[key]);
  }
  for (const split of Object.keys({ ...before.data, ...now.data })) {
    compare(`data.${split}`, before.data[split], now.data[split]);
  }
  compare("recommender", before.recommender, now.recommender);
  if (differences.length > 0) {
    throw new ConfigError(
      "RESUME_DIFFERS",
      `The run ${runDir} can't be resumed, since it would no longer be the same run: ${differences.join("; ")}. Restore what changed, or start a new run folder.`,
      { details: { differences } },
    );
  }
  if (JSON.stringify(before.engine) !== JSON.stringify(now.engine)) {
    onEvent({ kind: "warning", message: `The engine describes itself differently than when ${runDir} began.` });
  }
}
