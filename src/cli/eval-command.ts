/** `rec-r1 eval`: a run's policy against the raw words, the untrained policy and other runs, on the same queries. */
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { ConfigError } from "../core/errors.ts";
import { suggestion } from "../core/suggest.ts";
import { compareSystems, scoresByExample } from "../eval/compare.ts";
import { evaluatePolicy, evaluateRaw } from "../eval/evaluate.ts";
import type { EvaluateOptions } from "../eval/evaluate.ts";
import { askingOf, type Evaluation } from "../rl/evaluation.ts";
import { loadCheckedSplit } from "../rl/run-session.ts";
import { collectShown } from "../rl/shown.ts";
import { splitNames } from "../rl/task.ts";
import type { SplitName } from "../rl/task.ts";
import type { TrainConfig } from "../rl/train-config.ts";
import { addEvaluation, readManifest, writeShownOfSplit } from "../runs/run-folder.ts";
import { Closing } from "./closing.ts";
import { engineConfigSchema } from "./launch-config.ts";
import { loadPolicy } from "./load-policy.ts";
import { openEngine } from "./open-engine.ts";
import { openRun } from "./open-run.ts";
import { parseCount } from "./options.ts";
import { Reporter } from "./progress.ts";
import { labelRuns } from "./run-labels.ts";

interface EvalFlags {
  split: string;
  checkpoint: string;
  limit: string;
  samples: string;
  against: string[];
  task?: string;
  data?: string;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument("<run>", "run folder")
    .option("--split <name>", `split of the task: ${splitNames.join(", ")}`, "test")
    .option("--checkpoint <which>", "best (on validation), last, or the number of a step", "best")
    .option("--limit <number>", "only the first so many examples; 0: all", "0")
    .option("--samples <number>", "completions sampled for each example; 0: one greedy completion", "0")
    .option("--against <run...>", "other runs of the same task, each by its best checkpoint", [])
    .option("--task <file>", "task file, if it has moved since the run")
    .option("--data <folder>", "folder of the data, if it has moved since the run")
    .option("--json", "print the result as one JSON object on the last line")
    .action(async (runDir: string, flags: EvalFlags) => runEval(runDir, flags));
}

/** One system's evaluation, ready to be compared. */
interface System {
  id: string;
  name: string;
  evaluation: Evaluation;
  /** Of a policy: steps that it was trained for. */
  step?: number;
}

async function runEval(runDir: string, flags: EvalFlags): Promise<void> {
  const split = parseSplit(flags.split);
  const limit = parseCount(flags.limit, "--limit");
  const samples = parseCount(flags.samples, "--samples");
  await readManifest(runDir);
  for (const other of flags.against) await readManifest(other);
  const labels = labelRuns("--against", flags.against);
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const { signal } = interrupt;
  const closing = new Closing();
  try {
    const opened = await openRun(runDir, flags);
    const { task } = opened;
    const onWarning = (message: string): void => reporter.line(`warning: ${message}`);
    const recommender = closing.add(await opened.openRecommender({ signal, onWarning }));
    const all = await loadCheckedSplit(task, split, recommender, opened.config.maxMissingShare);
    const examples = limit > 0 ? all.slice(0, limit) : all;
    const shown = collectShown(task);
    const common = { task, recommender, split: examples, signal, onFound: shown.onFound };

    const systems: System[] = [{ id: "raw", name: "raw words", evaluation: await evaluateRaw(common) }];
    const run = { ...common, samples, reporter };
    systems.push(...(await evaluateRun(runDir, run, { checkpoint: flags.checkpoint, withUntrained: true })));
    for (const [i, other] of flags.against.entries()) {
      const label = labels[i] as string;
      systems.push(...(await evaluateRun(other, run, { checkpoint: "best", withUntrained: false, label })));
    }
    reporter.clear();
    const part = examples.length < all.length ? { limit } : {};
    for (const { id, evaluation, step } of systems.slice(0, 3)) {
      const policy = step === undefined ? {} : { step, ...(samples > 0 ? { samples } : {}) };
      await addEvaluation(runDir, `${split}-${id}`, { policy: id, split, ...policy, ...part, ...evaluation });
    }
    await writeShownOfSplit(runDir, split, await shown.records());
    const result = summarise(systems);
    process.stdout.write(
      flags.json
        ? `${JSON.stringify({ run: runDir, split, examples: examples.length, ...result })}\n`
        : formatResult(systems, { ...result, split, examples: examples.length }),
    );
  } finally {
    await closing.close();
    interrupt.dispose();
  }
}

interface RunOptions extends EvaluateOptions<object> {
  samples: number;
  reporter: Reporter;
  signal: AbortSignal;
}

/** Evaluates a run's policy, and before it was trained where that is asked for. */
async function evaluateRun(
  dir: string,
  { samples, reporter, ...options }: RunOptions,
  { checkpoint, withUntrained, label }: { checkpoint: string; withUntrained: boolean; label?: string },
): Promise<System[]> {
  const manifest = await readManifest(dir);
  const config = manifest.config as TrainConfig;
  const { signal } = options;
  const engine = await openEngine(engineConfigSchema.parse(manifest.launch.engine), {
    seed: config.seed,
    reporter,
    signal,
  });
  try {
    const evaluate = (name: string): Promise<Evaluation> =>
      evaluatePolicy({
        ...options,
        engine,
        ...askingOf(config),
        samples,
        onProgress: (done, total) => reporter.status(`${name}: ${done}/${total}`),
      });
    const systems: System[] = [];
    if (withUntrained) {
      systems.push({ id: "untrained", name: "untrained", evaluation: await evaluate("untrained"), step: 0 });
    }
    const step = await loadPolicy(engine, dir, checkpoint, reporter);
    const evaluation = await evaluate(`step ${step}`);
    if (withUntrained) systems.push({ id: "tuned", name: `tuned, step ${step}`, evaluation, step });
    else systems.push({ id: dir, name: `${label}, step ${step}`, evaluation, step });
    return systems;
  } finally {
    await engine.close();
  }
}

function summarise(systems: readonly System[]): ReturnType<typeof compareSystems> & {
  metric: string;
  means: Record<string, Record<string, number>>;
  counts: Record<string, Evaluation["counts"]>;
} {
  const { metric, records } = (systems[0] as System).evaluation;
  const ids = records.map(({ example }) => example);
  const scored = systems.map(({ id, name, evaluation }) => ({
    id,
    name,
    scores: scoresByExample(evaluation, metric, ids),
  }));
  const rest = systems.slice(2).map(({ id }) => id);
  const pairs = rest.flatMap((id) =>
    ["raw", "untrained", ...(id === "tuned" ? [] : ["tuned"])].map((baseline) => [id, baseline] as const),
  );
  const byId = <T>(pick: (evaluation: Evaluation) => T): Record<string, T> =>
    Object.fromEntries(systems.map(({ id, evaluation }) => [id, pick(evaluation)]));
  return {
    metric,
    means: byId(({ means }) => means),
    counts: byId(({ counts }) => counts),
    ...compareSystems(scored, pairs),
  };
}

function formatResult(
  all: readonly System[],
  result: ReturnType<typeof summarise> & { split: string; examples: number },
): string {
  const { metric, split, examples, systems, comparisons } = result;
  const width = Math.max(...systems.map(({ name }) => name.length));
  const lines = [`${metric} on ${split}, ${examples} examples`];
  systems.forEach(({ name, mean, low, high }, i) => {
    const { unparsed, empty, failed } = (all[i] as System).evaluation.counts;
    const counts = [
      unparsed > 0 ? `${unparsed} without a query` : "",
      empty > 0 ? `${empty} found nothing` : "",
      failed > 0 ? `${failed} failed` : "",
    ].filter((text) => text !== "");
    const interval = `95 % interval ${low.toFixed(4)} to ${high.toFixed(4)}`;
    lines.push(`  ${name.padEnd(width)}  ${mean.toFixed(4)}  ${[interval, ...counts].join("; ")}`);
  });
  const nameOf = (id: string): string => systems.find((system) => system.id === id)?.name ?? id;
  for (const { system, baseline, difference, p, wins, ties, losses } of comparisons) {
    const sign = difference < 0 ? "" : "+";
    lines.push(
      `${nameOf(system)} against ${nameOf(baseline)}: ${sign}${difference.toFixed(4)}, p = ${p.toPrecision(2)}; better on ${wins}, equal on ${ties}, worse on ${losses}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

function parseSplit(text: string): SplitName {
  const split = splitNames.find((name) => name === text);
  if (split) return split;
  throw new ConfigError("BAD_OPTION", `--split: there is no split "${text}".${suggestion(text, splitNames)}`);
}
