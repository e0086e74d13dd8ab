/**
 * `rec-r1 demo`: icon search, end to end. A real language model learns to query a real search engine; before and after
 * are measured on held-out queries, and a report shows them.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import { listenForInterrupt } from "../../core/abort.ts";
import { resolveConfig } from "../../core/config.ts";
import { AbortError } from "../../core/errors.ts";
import { type IconExample, loadIcons } from "../../datasets/icons.ts";
import type { Engine } from "../../engines/engine.ts";
import { evaluatePolicy, evaluateRaw } from "../../eval/evaluate.ts";
import type { Recommender } from "../../recommenders/recommender.ts";
import type { Evaluation, FoundAnswer } from "../../rl/evaluation.ts";
import { collectShown } from "../../rl/shown.ts";
import type { LoadedExample, Task } from "../../rl/task.ts";
import { loadSplit } from "../../rl/task.ts";
import { train } from "../../rl/train.ts";
import type { TrainConfig, TrainConfigInput } from "../../rl/train-config.ts";
import { addEvaluation, readManifest, readRunCheckpoint, writeShownOfSplit } from "../../runs/run-folder.ts";
import { Closing } from "../closing.ts";
import { engineConfigSchema } from "../launch-config.ts";
import { openEngine } from "../open-engine.ts";
import { addSchemaOptions, flagLayer } from "../options.ts";
import { drawCurve, formatSeconds, Reporter } from "../progress.ts";
import { TrainPrinter } from "../train-printer.ts";
import { compareDemo, formatComparison, writeDemoReport } from "./demo-report.ts";
import { iconTask, openIconSearch } from "./icon-task.ts";

const demoSchema = z.object({
  minutes: z.number().positive().default(18).describe("time for everything after the install, in minutes"),
  seed: z.number().int().default(0).describe("same seed and number of steps, same policy"),
  steps: z.number().int().min(0).default(400).describe("reinforcement-learning steps at most"),
  model: engineConfigSchema.shape.model,
  threads: engineConfigSchema.shape.threads,
});

/** What was found to work for the icons within minutes; docs/log.md tells what did not. */
const trainDefaults = {
  warmupSteps: 140,
  warmupBatch: 64,
  warmupLearningRate: 2e-3,
  warmupSchedule: "linear",
  promptsPerStep: 24,
  groupSize: 16,
  maxTokens: 8,
  temperature: 1,
  learningRate: 2e-4,
  schedule: "linear",
  rampSteps: 5,
  evalEvery: 35,
  evalLimit: 200,
  checkpointEvery: 25,
} satisfies TrainConfigInput;

/** Time kept back for what comes after the last evaluation on the test split, in seconds. */
const reportSeconds = 15;

interface DemoFlags {
  run: string;
  resume?: boolean;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .option("--run <folder>", "run folder", join("runs", "demo"))
    .option("--resume", "go on with the run in the run folder")
    .option("--json", "print the result as one JSON object on the last line")
    .action(async (flags: DemoFlags) => runDemo(flags, command));
  addSchemaOptions(command, demoSchema);
}

async function runDemo(flags: DemoFlags, command: Command): Promise<void> {
  const startedAt = performance.now();
  const elapsedSeconds = (): number => (performance.now() - startedAt) / 1000;
  const config = resolveConfig(demoSchema, [flagLayer(command, demoSchema)]);
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const { signal } = interrupt;
  const closing = new Closing();
  const runDir = freeRunDir(flags);
  try {
    const icons = await loadIcons();
    reporter.line(
      `${icons.catalogue.length} icons, of which only the names are indexed; ${icons.train.length} queries to learn from, ` +
        `${icons.test.length} held out`,
    );
    const recommender = closing.add(await openIconSearch(icons, signal));
    const seed = flags.resume ? await storedSeed(runDir, config.seed) : config.seed;
    const engineConfig = engineConfigSchema.parse({ model: config.model, threads: config.threads });
    const engine = closing.add(await openEngine(engineConfig, { seed, reporter, signal }));
    const task = iconTask(icons);
    const test = (await loadSplit(task, "test")) as LoadedExample<IconExample>[];
    const shown = collectShown(task);
    const bench: Bench = { task, recommender, engine, test, reporter, signal, onFound: shown.onFound };

    const raw = await evaluateRaw({ task, recommender, split: test, signal, onFound: shown.onFound });
    reporter.line(`the users' own words: NDCG@10 ${meanOf(raw)}`);
    const beforeUntrained = elapsedSeconds();
    const untrained = await evaluate(bench, "untrained model");
    const evaluationSeconds = elapsedSeconds() - beforeUntrained;
    reporter.line(
      `the untrained model: NDCG@10 ${meanOf(untrained)}; measuring it took ${formatSeconds(evaluationSeconds)}`,
    );

    const printer = new TrainPrinter(reporter);
    const keptBack = 1.3 * evaluationSeconds + reportSeconds;
    const trained = await train({
      ...trainDefaults,
      task,
      recommender,
      engine,
      runDir,
      seed,
      steps: config.steps,
      maxMinutes: Math.max(0.1, config.minutes - (elapsedSeconds() + keptBack) / 60),
      resume: flags.resume ?? false,
      signal,
      onEvent: printer.onEvent,
      launch: { demo: true, engine: engineConfig },
    });
    reporter.clear();
    if (printer.curve.length > 1) process.stderr.write(`NDCG@10 on validation, by step\n${drawCurve(printer.curve)}\n`);

    const step = trained.best && trained.best.step > 0 ? trained.best.step : trained.step;
    if (step !== trained.step) await engine.loadState((await readRunCheckpoint(runDir, step)).engineDir);
    const tuned = await evaluate(bench, "tuned model");
    const measured = { raw, untrained: { step: 0, ...untrained }, tuned: { step, ...tuned } };
    for (const [policy, evaluation] of Object.entries(measured)) {
      await addEvaluation(runDir, `test-${policy}`, { policy, split: "test", ...evaluation });
    }
    await writeShownOfSplit(runDir, "test", await shown.records());
    const comparison = compareDemo({ raw, untrained, tuned });
    const minutes = elapsedSeconds() / 60;
    const report = await writeDemoReport({
      path: join(runDir, "report.html"),
      runDir,
      icons,
      test,
      evaluations: { raw, untrained, tuned },
      minutes,
      reproduce: ["npm ci", `npm run demo -- --seed ${seed} --minutes ${config.minutes}`],
    });
    reporter.clear();
    process.stdout.write(formatComparison(comparison));
    process.stdout.write(`Report: ${report}\n`);
    if (flags.json) {
      const p = Math.max(...comparison.comparisons.map((pair) => pair.p));
      const [rawMean, untrainedMean, tunedMean] = comparison.systems.map(({ mean }) => mean);
      const result = { raw: rawMean, untrained: untrainedMean, tuned: tunedMean, p, minutes, report, run: runDir };
      process.stdout.write(
        `${JSON.stringify({ ...result, steps: trained.step, comparisons: comparison.comparisons })}\n`,
      );
    }
  } catch (error) {
    reporter.clear();
    if (error instanceof AbortError && existsSync(join(runDir, "config.json"))) {
      throw new AbortError(`Stopped. Go on with: rec-r1 demo --run ${runDir} --resume`);
    }
    throw error;
  } finally {
    await closing.close();
    interrupt.dispose();
  }
}

interface Bench {
  task: Task<IconExample>;
  recommender: Recommender;
  engine: Engine;
  test: readonly LoadedExample<IconExample>[];
  reporter: Reporter;
  signal: AbortSignal;
  onFound: (found: readonly FoundAnswer<IconExample>[]) => void;
}

function evaluate(
  { task, recommender, engine, test, reporter, signal, onFound }: Bench,
  name: string,
): Promise<Evaluation> {
  return evaluatePolicy({
    task,
    recommender,
    engine,
    split: test,
    maxTokens: trainDefaults.maxTokens,
    signal,
    onFound,
    onProgress: (done, total) => reporter.status(`${name}: ${done}/${total} test queries`),
  });
}

const meanOf = ({ means, metric }: Evaluation): string => (means[metric] ?? 0).toFixed(4);

/** The folder asked for; a demo that is started again without saying where gets the next free one. */
function freeRunDir({ run, resume }: DemoFlags): string {
  if (resume || run !== join("runs", "demo") || !existsSync(run)) return run;
  let number = 2;
  while (existsSync(`${run}-${number}`)) number++;
  return `${run}-${number}`;
}

/** The seed that a run in the folder began with; `fallback` where there is none. */
async function storedSeed(runDir: string, fallback: number): Promise<number> {
  if (!existsSync(resolve(runDir, "config.json"))) return fallback;
  const { config } = await readManifest(runDir);
  return (config as TrainConfig).seed;
}
