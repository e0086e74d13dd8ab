/**
 * A run's report from what its folder holds, as far as it got: with an evaluation of a split the systems side by side;
 * before one, validation before and after training; before that, the curve alone.
 */
import { quoteForShell } from "../../core/shell-quote.ts";
import { findSubstitutions } from "../substitutions.ts";
import { compareSystems, scoresByExample } from "../compare.ts";
import type { EvaluationFile, MetricsRecord, RunManifest, TimingRecord } from "../../runs/records.ts";
import { stepName } from "../../runs/checkpoints.ts";
import {
  listEvaluations,
  readBest,
  readEvaluation,
  readManifest,
  readMetrics,
  readTimings,
} from "../../runs/run-folder.ts";
import { collectCurve, collectExamples } from "./from-run.ts";
import type { ReportQuestion } from "./from-run.ts";
import { formatDuration, groupDigits } from "./html.ts";
import type { ReportCurvePoint, ReportData, ReportItem } from "./report-data.ts";

export interface RunReportOptions {
  runDir: string;
  /** Split whose evaluations are shown. Default `test`. */
  split?: string;
  /** The examples of a split, by its name; none where the task can't be loaded. */
  questions: (split: string) => Promise<readonly ReportQuestion[]>;
  /** How an item is shown. Default: by its id. */
  show?: (id: string) => ReportItem;
  title?: string;
  subtitle?: readonly string[];
  /** Name of the metric for people. Default: as the run calls it. */
  metric?: string;
  metricHelp?: string;
  /** Commands that make the run again. Default: `rec-r1 train` with the options that differ from the defaults. */
  reproduce?: readonly string[];
  /** Time of things that the run doesn't record, in seconds. */
  timings?: ReportData["timings"];
  when?: Date;
}

interface NamedEvaluation {
  id: string;
  name: string;
  phrase: string;
  evaluation: EvaluationFile;
}

/** Gathers a run's report. @throws CheckpointError, DataError when the folder can't be read */
export async function buildRunReport(options: RunReportOptions): Promise<ReportData> {
  const { runDir, split = "test", questions: askFor, show = (id) => ({ id, title: id }) } = options;
  const manifest = await readManifest(runDir);
  const [metrics, timings] = [await readMetrics(runDir), await readTimings(runDir)];
  const { evaluations, shownSplit, notice } = await chooseEvaluations(runDir, split);
  const metric = evaluations[0]?.evaluation.metric ?? metricOf(metrics);
  const ids = [...new Set(evaluations.flatMap(({ evaluation }) => evaluation.records.map(({ example }) => example)))];
  const baseline = evaluations.find(({ id }) => id === "raw") ?? evaluations[0];
  const focus = evaluations.find(({ id }) => id === "tuned") ?? evaluations.at(-1);
  const compared = compareSystems(
    evaluations.map(({ evaluation, ...system }) => ({
      ...system,
      scores: scoresByExample(evaluation, metric, ids),
    })),
    focus ? evaluations.filter((other) => other !== focus).map(({ id }) => [focus.id, id] as const) : [],
  );
  const questions = evaluations.length > 0 ? await askFor(shownSplit) : [];
  const notices = [notice, describePart(evaluations, ids.length, { shownSplit, questions, runDir })].filter(
    (text) => text !== undefined,
  );
  const asked = new Map(questions.map(({ id, query }) => [id, query]));
  const metricName = options.metric ?? metric;
  const first = pointsOf(metrics, metric)[0];
  return {
    title: options.title ?? `${manifest.task}: ${runDir.split(/[/\\]/).filter(Boolean).at(-1) ?? runDir}`,
    when: options.when ?? new Date(),
    subtitle: options.subtitle ?? describeRun(manifest, metrics),
    ...(notices.length > 0 ? { notice: notices.join(" ") } : {}),
    metric: metricName,
    metricHelp: options.metricHelp ?? helpFor(metric),
    systems: compared.systems,
    comparisons: compared.comparisons,
    focus: focus?.id ?? "",
    baseline: baseline?.id ?? "",
    curve: {
      metricLabel: `${metricName} on ${describeValidation(manifest)}`,
      rewardLabel: "Mean reward of sampled queries",
      points: collectCurve(metrics, timings, { metric, reward: "reward" }),
      references: first?.step === 0 ? [{ label: "untrained", value: first.validMetric as number }] : [],
    },
    examples: collectExamples(
      questions.filter(({ id }) => ids.includes(id)),
      evaluations.map(({ id, evaluation }) => ({ system: id, records: evaluation.records })),
      metric,
      show,
    ),
    learned: findSubstitutions(
      (focus?.evaluation.records ?? [])
        .filter(({ example }) => asked.has(example))
        .map(({ example, query }) => ({ query: asked.get(example) as string, written: query })),
    ),
    settings: {
      ...manifest.config,
      engine: manifest.engine,
      recommender: manifest.recommender,
      data: manifest.data,
      versions: manifest.versions,
    },
    reproduce: options.reproduce ?? [],
    timings: [...sumTimings(timings), ...(options.timings ?? [])],
    costs: sumCosts(metrics, timings),
  };
}

/** The evaluations to show: those of the split; else validation's before and after training. */
async function chooseEvaluations(
  runDir: string,
  split: string,
): Promise<{ evaluations: NamedEvaluation[]; shownSplit: string; notice?: string }> {
  const known = await listEvaluations(runDir);
  const read = async (file: string, id: string, name: string, phrase: string): Promise<NamedEvaluation[]> => {
    const evaluation = known.includes(file) ? await readEvaluation(runDir, file) : undefined;
    // One on which everything failed can't be compared.
    const isUsable = evaluation?.records.some(({ scores }) => scores !== null);
    return evaluation && isUsable ? [{ id, name, phrase, evaluation }] : [];
  };
  const asked = [
    ...(await read(`${split}-raw`, "raw", "Raw words", "the raw words")),
    ...(await read(`${split}-untrained`, "untrained", "Untrained model", "the untrained model")),
    ...(await read(`${split}-tuned`, "tuned", "Tuned model", "the tuned model")).map(nameStep),
  ];
  if (asked.length > 0) return { evaluations: asked, shownSplit: split };
  const best = await readBest(runDir);
  const last = best && best.step > 0 ? best.step : undefined;
  const valid = [
    ...(await read(`valid-${stepName(0)}`, "untrained", "Untrained model", "the untrained model")),
    ...(last === undefined
      ? []
      : await read(`valid-${stepName(last)}`, "tuned", `Tuned model, step ${last}`, `the tuned model of step ${last}`)),
  ];
  const advice = `rec-r1 eval ${quoteForShell(runDir)} --split ${split} compares raw words, untrained and tuned.`;
  const notice =
    valid.length > 0
      ? `Not evaluated on the ${split} split yet. These are figures on validation, which also picked the best step and so flatters it. ${advice}`
      : `Nothing was evaluated yet. ${advice}`;
  return { evaluations: valid, shownSplit: "valid", notice };
}

/** The tuned model by the step that its figures are of. */
function nameStep({ evaluation, ...system }: NamedEvaluation): NamedEvaluation {
  const { step } = evaluation;
  if (step === undefined) return { ...system, evaluation };
  return { ...system, name: `${system.name}, step ${step}`, phrase: `${system.phrase} of step ${step}`, evaluation };
}

/** What a reader must know where figures are not those of one greedy answer to every example. */
function describePart(
  evaluations: readonly NamedEvaluation[],
  measured: number,
  { shownSplit, questions, runDir }: { shownSplit: string; questions: readonly ReportQuestion[]; runDir: string },
): string | undefined {
  // How many validation queries there are is said above the curve; a limit on them is a setting of the run.
  if (shownSplit === "valid") return undefined;
  const isPart = evaluations.some(({ evaluation }) => evaluation.limit !== undefined) || measured < questions.length;
  const all = questions.length > 0 ? ` of ${groupDigits(questions.length)}` : "";
  const samples = evaluations.find(({ evaluation }) => evaluation.samples !== undefined)?.evaluation.samples;
  const parts = [
    ...(isPart
      ? [
          `Figures are of ${groupDigits(measured)}${all} examples of the ${shownSplit} split, not of all. rec-r1 eval ${quoteForShell(runDir)} --split ${shownSplit} measures all.`,
        ]
      : []),
    ...(samples === undefined ? [] : [`Models' figures are means over ${samples} sampled completions for each query.`]),
  ];
  return parts.length > 0 ? parts.join(" ") : undefined;
}

/** The metric that validation names first. */
function metricOf(metrics: readonly MetricsRecord[]): string {
  const evaluation = metrics.find((record) => record.kind === "evaluation");
  return Object.keys(evaluation?.values ?? {})[0] ?? "metric";
}

function pointsOf(metrics: readonly MetricsRecord[], metric: string): ReportCurvePoint[] {
  return collectCurve(metrics, [], { metric, reward: "reward" }).filter(({ validMetric }) => validMetric !== undefined);
}

function describeRun(manifest: RunManifest, metrics: readonly MetricsRecord[]): string[] {
  const { engine, recommender, data, config } = manifest;
  const steps = metrics.filter((record) => record.kind === "step");
  const warmups = steps.filter(({ phase }) => phase === "warmup").length;
  const examples = Object.entries(data).map(([split, { examples: count }]) => `${groupDigits(count)} ${split}`);
  const learning = `${steps.length - warmups} steps of reinforcement learning (${String(config["loss"])}, ${String(config["promptsPerStep"])} prompts of ${String(config["groupSize"])} completions)`;
  return [
    `The model (${String(engine["model"] ?? engine["kind"] ?? "unknown")}) writes queries for ${recommender.name}, which stays as it is; examples: ${examples.join(", ")}.`,
    warmups > 0 ? `${warmups} supervised steps, then ${learning}.` : `${learning}.`,
  ];
}

function describeValidation({ config, data }: RunManifest): string {
  const limit = Number(config["evalLimit"] ?? 0);
  const count = data["valid"]?.examples ?? 0;
  return `${groupDigits(limit > 0 ? Math.min(limit, count) : count)} validation queries`;
}

/** How to read the usual metrics, for newcomers. */
function helpFor(metric: string): string {
  const [name = "", k] = metric.toLowerCase().split("@");
  const among = k === undefined ? "the hits" : `the first ${k} hits`;
  const texts: Record<string, string> = {
    ndcg: `1: everything relevant is in the best order among ${among}; 0: nothing relevant is among them.`,
    recall: `The share of what is relevant that is among ${among}.`,
    mrr: `1: the first hit is relevant; 0.5: the second; 0: none among ${among}.`,
    success: `The share of queries with something relevant among ${among}.`,
  };
  return texts[name] ?? "Higher is better.";
}

const partNames: Record<string, string> = {
  sample: "Sampling",
  search: "Searching",
  learn: "Learning",
  reference: "Reference's log-probs",
  wait: "Waiting for rollouts",
};

/** Seconds of the steps by part; what no part accounts for is named, too. */
function sumTimings(timings: readonly TimingRecord[]): { name: string; seconds: number }[] {
  const sums = new Map<string, number>();
  for (const { seconds } of timings) {
    for (const [part, value] of Object.entries(seconds)) sums.set(part, (sums.get(part) ?? 0) + value);
  }
  const total = sums.get("total") ?? 0;
  sums.delete("total");
  const parts = [...sums].map(([part, seconds]) => ({ name: partNames[part] ?? part, seconds }));
  const rest = total - parts.reduce((sum, { seconds }) => sum + seconds, 0);
  return rest > 0.005 * total ? [...parts, { name: "The rest of the steps", seconds: rest }] : parts;
}

/** What the run used: completions, tokens, searches. */
function sumCosts(
  metrics: readonly MetricsRecord[],
  timings: readonly TimingRecord[],
): { name: string; value: string }[] {
  let [completions, tokens, failed] = [0, 0, 0];
  for (const record of metrics) {
    if (record.kind !== "step" || record.phase !== "rl") continue;
    const { rollouts = 0, completionTokens = 0, failed: lost = 0 } = record.values;
    completions += rollouts;
    tokens += rollouts * completionTokens;
    failed += lost;
  }
  let [queries, asked] = [0, 0];
  for (const { cache } of timings) {
    queries += cache?.queries ?? 0;
    asked += cache?.asked ?? 0;
  }
  const seconds = timings.reduce((sum, timing) => sum + (timing.seconds["total"] ?? 0), 0);
  return [
    { name: "Completions sampled", value: groupDigits(completions) },
    { name: "Tokens sampled", value: groupDigits(Math.round(tokens)) },
    { name: "Queries in them", value: groupDigits(queries) },
    { name: "Queries that the recommender was asked", value: groupDigits(asked) },
    ...(failed > 0 ? [{ name: "Completions dropped: the recommender failed", value: groupDigits(failed) }] : []),
    ...(timings.length > 0 ? [{ name: "Time of a step", value: formatDuration(seconds / timings.length) }] : []),
  ];
}
