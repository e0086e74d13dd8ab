/** Asks the systems of a comparison one after the other, so that there is only one model in memory at a time. */
import { ConfigError } from "../../core/errors.ts";
import type { Engine } from "../../engines/engine.ts";
import { prepareClassical } from "../../eval/baselines/classical.ts";
import type { ClassicalName } from "../../eval/baselines/classical.ts";
import type { Collection } from "../../eval/baselines/collection.ts";
import { collectBestOfN, fineTune, readRewrites } from "../../eval/baselines/supervised.ts";
import type { AnsweredSystem } from "../../eval/comparison/measure.ts";
import { answerWithQueries, addUsage, modelSystem, noUsage, rawSystem } from "../../eval/comparison/system.ts";
import type { ComparedSystem, Usage } from "../../eval/comparison/system.ts";
import type { Recommender } from "../../recommenders/recommender.ts";
import { askingOf } from "../../rl/evaluation.ts";
import { loadCheckedSplit } from "../../rl/run-session.ts";
import type { LoadedExample, Task } from "../../rl/task.ts";
import type { TrainConfig, TrainConfigInput } from "../../rl/train-config.ts";
import type { RunManifest } from "../../runs/records.ts";
import { readManifest, readTimings } from "../../runs/run-folder.ts";
import { engineConfigSchema } from "../launch-config.ts";
import type { EngineConfig } from "../launch-config.ts";
import { loadPolicy } from "../load-policy.ts";
import { openEngine } from "../open-engine.ts";
import { TrainPrinter } from "../train-printer.ts";
import { createEta, type Reporter } from "../progress.ts";
import { labelRuns } from "../run-labels.ts";
import type { TaskExtras } from "./task-extras.ts";

export interface AnswerSystemsOptions {
  task: Task<object>;
  recommender: Recommender;
  examples: readonly LoadedExample<object>[];
  valid: readonly LoadedExample<object>[];
  collection: Collection;
  classical: readonly ClassicalName[];
  extras: TaskExtras;
  /** Names of the task file's `baselines` and `models` to be asked. */
  chosen: readonly string[];
  /** Whether the untrained model is asked, too. */
  prompting: boolean;
  /** Run folders, each by its best checkpoint on validation. */
  runs: readonly string[];
  /** Run folders that were fine-tuned with supervision. */
  supervised: readonly string[];
  /** Supervised fine-tuning to be done now. */
  fineTuning?: FineTuning;
  /** For the untrained model where no run is given. */
  engine: EngineConfig;
  config: TrainConfig;
  /** What goes before the runs' own options. */
  overrides?: RunOverrides;
  /** Completions for each example; 0: one greedy. */
  samples: number;
  reporter: Reporter;
  signal: AbortSignal;
}

/** Options of a run that a comparison may say otherwise: the longest completion, and how fast it is written. */
export interface RunOverrides {
  maxTokens?: number;
  threads?: number;
}

export interface FineTuning {
  /** `best-of-n`, a file of rewrites, or the name of one of the task file's models. */
  source: string;
  runDir: string;
  n: number;
  /** Minutes that it may take, sampling included; undefined: what the first run took. */
  minutes: number | undefined;
}

export async function answerSystems(
  options: AnswerSystemsOptions,
): Promise<{ systems: AnsweredSystem<object>[]; notes: string[] }> {
  const { task, recommender, examples, valid, extras, chosen, runs, fineTuning, reporter, signal } = options;
  const supervised = [...options.supervised, ...(fineTuning ? [fineTuning.runDir] : [])];
  const labelled = (option: string, dirs: readonly string[]): string[] =>
    dirs.length > 1 ? labelRuns(option, dirs) : dirs.map(() => "");
  const labels = {
    supervised: labelled(fineTuning ? "--sft-run and --sft-into" : "--sft-run", supervised),
    runs: labelled("--run", runs),
  };
  const systems: AnsweredSystem<object>[] = [];
  const notes: string[] = [];
  const ask = async (system: ComparedSystem<object>): Promise<void> => {
    reporter.status(`${system.name}: ${examples.length} examples`);
    const answers = await system.answer(examples, signal);
    const { answer: _, ...about } = system;
    systems.push({ ...about, ...answers });
    reporter.line(`${system.name}: answered in ${answers.usage.seconds.toFixed(1)} s`);
  };

  await ask(rawSystem({ task, recommender }));
  if (options.classical.length > 0 && valid.length > 0) {
    const prepared = await prepareClassical({
      ...{ task, recommender, valid, signal },
      collection: options.collection,
      names: options.classical,
      variants: extras.variants,
      onProgress: (text) => reporter.status(text),
    });
    try {
      for (const system of prepared.systems) await ask(system);
      notes.push(...prepared.notes);
    } finally {
      await prepared.close();
    }
  } else if (options.classical.length > 0)
    notes.push("Classical baselines need a valid split to choose their settings on.");

  for (const name of chosen.filter((key) => Object.hasOwn(extras.baselines, key))) {
    const baseline = await (extras.baselines[name] as TaskExtras["baselines"][string])();
    const other = { task, recommender: baseline.recommender };
    try {
      await ask({
        id: name,
        name: baseline.name ?? name,
        family: "recommender",
        settings: { recommender: baseline.recommender.name },
        answer: (list, abort) => answerWithQueries(other, list, baseline.query, abort),
      });
    } finally {
      await baseline.recommender.close();
    }
  }
  for (const name of chosen.filter((key) => Object.hasOwn(extras.models, key))) {
    const model = await (extras.models[name] as TaskExtras["models"][string])();
    try {
      await ask(
        modelSystem(
          {
            id: name,
            name: model.name ?? `prompting ${name}`,
            family: "prompting",
            settings: { ...model.engine.description },
          },
          { ...asking(options, options.config, model.engine), ...(model.prices ? { prices: model.prices } : {}) },
        ),
      );
    } finally {
      await model.engine.close();
    }
  }

  const usage = fineTuning ? await supervise(options, fineTuning, notes) : noUsage;
  const withEngines = await Promise.all(
    [
      ...supervised.map((dir, i) => ({ dir, label: labels.supervised[i] as string, isSupervised: true })),
      ...runs.map((dir, i) => ({ dir, label: labels.runs[i] as string, isSupervised: false })),
    ].map(async (run) => {
      const { config, engineConfig } = optionsOfRun(await readManifest(run.dir), options.overrides);
      return { ...run, config, engineConfig };
    }),
  );
  const models = new Set(withEngines.map(({ engineConfig }) => engineConfig.model));
  if (options.prompting && withEngines.length === 0) {
    const engine = await openEngine(options.engine, { seed: options.config.seed, reporter, signal });
    try {
      await ask(untrained(options, options.config, engine));
    } finally {
      await engine.close();
    }
  }
  const prompted = new Set<string>();
  for (const { dir, label, isSupervised, config, engineConfig } of withEngines) {
    const engine = await openEngine(engineConfig, { seed: config.seed, reporter, signal });
    try {
      const { model } = engineConfig;
      if (options.prompting && !prompted.has(model)) {
        prompted.add(model);
        await ask(untrained(options, config, engine, models.size > 1 ? model : ""));
      }
      const step = await loadPolicy(engine, dir, "best", reporter);
      const isFresh = isSupervised && dir === fineTuning?.runDir;
      const preparation = addUsage({ ...noUsage, seconds: await wallSeconds(dir) }, isFresh ? usage : noUsage);
      const { lengthCost, lengthFreeWords, seed, maxTokens } = config;
      await ask(
        modelSystem(
          {
            id: `${isSupervised ? "sft" : "tuned"}${label && `:${label}`}`,
            name: `${isSupervised ? "supervised" : "tuned policy"}${label && ` ${label}`}, step ${step}`,
            family: isSupervised ? "supervised" : "policy",
            settings: {
              ...{ run: dir, step, seed, maxTokens },
              ...(lengthCost > 0 ? { lengthCost, lengthFreeWords } : {}),
            },
            preparation,
          },
          asking(options, config, engine),
        ),
      );
    } finally {
      await engine.close();
    }
  }
  return { systems, notes };
}

/** A run's options, with what goes before them. */
export function optionsOfRun(
  { config, launch }: Pick<RunManifest, "config" | "launch">,
  { maxTokens, threads }: RunOverrides = {},
): { config: TrainConfig; engineConfig: EngineConfig } {
  return {
    config: { ...(config as TrainConfig), ...(maxTokens === undefined ? {} : { maxTokens }) },
    engineConfig: { ...engineConfigSchema.parse(launch.engine), ...(threads === undefined ? {} : { threads }) },
  };
}

/** @param label tells it from other untrained models */
function untrained(
  options: AnswerSystemsOptions,
  config: TrainConfig,
  engine: Engine,
  label = "",
): ComparedSystem<object> {
  return modelSystem(
    {
      id: `prompting${label && `:${label}`}`,
      name: `prompting${label && ` ${label}`}, untrained`,
      family: "prompting",
      settings: { model: String(engine.description.model ?? "") },
    },
    asking(options, config, engine),
  );
}

/** How a model is asked: as in its run, as far as nothing goes before that. */
function asking(
  { task, recommender, samples, reporter }: AnswerSystemsOptions,
  config: TrainConfig,
  engine: Engine,
): Parameters<typeof modelSystem<object>>[1] {
  const eta = createEta();
  const onProgress = (done: number, total: number): void =>
    reporter.status(`asking a model: ${done}/${total}${eta(done, total)}`);
  return { task, recommender, engine, ...askingOf(config), samples, onProgress };
}

/**
 * Seconds that a run took: its steps, and what came between two of them (evaluations, checkpoints) up to ten minutes;
 * longer gaps are pauses.
 */
export async function wallSeconds(dir: string): Promise<number> {
  let [sum, before] = [0, Number.NaN];
  for (const { endedAt, seconds } of await readTimings(dir)) {
    const end = Date.parse(endedAt) / 1000;
    const total = seconds.total ?? 0;
    const gap = Math.max(0, end - before - total);
    sum += total + (gap <= 600 ? gap : 0);
    before = end;
  }
  return sum;
}

/** Fine-tunes with supervision, under the settings and within the time of the first run. */
async function supervise(
  options: AnswerSystemsOptions,
  { source, runDir, n, minutes }: FineTuning,
  notes: string[],
): Promise<Usage> {
  const { task, recommender, extras, reporter, signal, runs } = options;
  const manifest = runs[0] === undefined ? undefined : await readManifest(runs[0]);
  const { config, engineConfig } = manifest
    ? optionsOfRun(manifest, options.overrides)
    : { config: options.config, engineConfig: options.engine };
  const budgetSeconds = minutes === undefined ? (runs[0] === undefined ? 0 : await wallSeconds(runs[0])) : minutes * 60;
  if (!(budgetSeconds > 0)) {
    throw new ConfigError(
      "NO_BUDGET",
      "Supervised fine-tuning needs a budget: give --sft-minutes, or a --run whose time it may take.",
    );
  }
  const train = await loadCheckedSplit(task, "train", recommender, config.maxMissingShare);
  const { maxTokens, maxPromptTokens, temperature, seed } = config;
  const limits = { maxTokens, maxPromptTokens, temperature, seed };
  const collect = { task, recommender, examples: train, ...limits, signal };
  const eta = createEta();
  const onProgress = (done: number, total: number): void =>
    reporter.status(`rewrites: ${done}/${total} examples${eta(done, total)}`);
  const engine = await openEngine(engineConfig, { seed, reporter, signal });
  try {
    let usage: Usage = noUsage;
    let rewrites;
    if (source === "best-of-n") {
      const own = await collectBestOfN({ ...collect, engine, n, budgetSeconds: budgetSeconds / 2, onProgress });
      ({ usage, rewrites } = own);
      notes.push(
        `sft: ${rewrites.length} rewrites, the best of ${n} each, from ${own.asked} of ${train.length} examples; half of the time at most went into sampling.`,
      );
    } else if (Object.hasOwn(extras.models, source)) {
      const teacher = await (extras.models[source] as TaskExtras["models"][string])();
      try {
        const { prices } = teacher;
        const taught = await collectBestOfN({
          ...collect,
          engine: teacher.engine,
          n: 1,
          onProgress,
          ...(prices ? { prices } : {}),
        });
        ({ usage, rewrites } = taught);
        notes.push(`sft: ${rewrites.length} rewrites by the teacher ${source}; its time is not taken from the budget.`);
      } finally {
        await teacher.engine.close();
      }
    } else {
      rewrites = await readRewrites(source, task, train);
      notes.push(`sft: ${rewrites.length} rewrites from ${source}.`);
    }
    const spent = source === "best-of-n" ? usage.seconds : 0;
    const { recipe: _, ...settings } = config;
    await fineTune({
      ...{ task, recommender, engine, examples: train, rewrites, runDir, signal },
      budgetSeconds: Math.max(1, budgetSeconds - spent),
      config: { ...settings, mode: "sound", lengthCost: 0 } as TrainConfigInput,
      launch: { ...(manifest?.launch ?? {}), engine: engineConfig, supervised: source },
      onEvent: new TrainPrinter(reporter).onEvent,
    });
    return usage;
  } finally {
    await engine.close();
  }
}
