/** Before and after: the evaluations that `rec-r1 eval` wrote, query by query, side by side. */
import { quoteForShell } from "../../core/shell-quote.ts";
import { bootstrapDifference } from "../../eval/significance.ts";
import { explainLoss } from "../../eval/suspects.ts";
import { stepName } from "../../runs/checkpoints.ts";
import type { BestRecord, EvaluationFile, EvaluationRecord } from "../../runs/records.ts";
import { listRunFolder, openRunFile, readRunJson, type RunFiles } from "./run-files.ts";
import type { ShownIndex } from "./shown-index.ts";
import {
  policyNames,
  type NotEvaluated,
  type ComparedQuery,
  type ComparisonPage,
  type PolicyAnswer,
  type PolicyName,
} from "./wire.ts";

/** How queries are put in order: by what was gained, by what was lost, or by the user's words. */
export const comparisonOrders = ["gain", "loss", "text"] as const;
/** Which queries are shown. */
export const comparisonFilters = ["all", "better", "worse", "equal"] as const;

export interface ComparisonOptions {
  split: string | undefined;
  baseline: PolicyName | undefined;
  order: (typeof comparisonOrders)[number];
  filter: (typeof comparisonFilters)[number];
  text: string | undefined;
  example: string | undefined;
  offset: number;
  limit: number;
}

/** One policy's answer to one example; of several completions the first, with their mean score. */
interface Answer {
  record: EvaluationRecord;
  score: number | null;
}

interface Comparison {
  key: string;
  split: string;
  metric: string;
  answers: Partial<Record<PolicyName, Map<string, Answer>>>;
  means: Partial<Record<PolicyName, number>>;
  /** By baseline, made when it is first asked for. */
  differences: Map<PolicyName, ComparisonPage["difference"]>;
}

/** Evaluations whose differences count as none. */
const sameScore = 1e-9;
const intervalIterations = 2_000;

export class BeforeAfter {
  private readonly run: RunFiles;
  private readonly shown: ShownIndex;
  private current: Comparison | undefined;

  constructor(run: RunFiles, shown: ShownIndex) {
    this.run = run;
    this.shown = shown;
  }

  /** Names of the files that hold a split's policies, by split. */
  async splits(): Promise<Map<string, Partial<Record<PolicyName, string>>>> {
    const names = new Set((await listRunFolder(this.run, "evaluations")).map((name) => name.replace(/\.json$/, "")));
    const splits = new Map<string, Partial<Record<PolicyName, string>>>();
    for (const name of names) {
      const [, split = "", policy = ""] = /^([\w.]+)-(raw|untrained|tuned)$/.exec(name) ?? [];
      if (split !== "") splits.set(split, { ...splits.get(split), [policy as PolicyName]: name });
    }
    const best = await readRunJson<BestRecord>(this.run, "best.json");
    const [untrained, tuned] = [`valid-${stepName(0)}`, `valid-${stepName(best?.step ?? 0)}`];
    if (!splits.has("valid") && best && best.step > 0 && names.has(untrained) && names.has(tuned)) {
      splits.set("valid", { untrained, tuned });
    }
    return new Map([...splits].sort(([a], [b]) => Number(b === "test") - Number(a === "test") || a.localeCompare(b)));
  }

  /** A page of queries. */
  async page(options: ComparisonOptions): Promise<ComparisonPage | NotEvaluated> {
    const splits = await this.splits();
    const split = options.split ?? [...splits.keys()][0];
    const files = split === undefined ? undefined : splits.get(split);
    if (split === undefined || !files?.tuned) {
      return { missing: `Nothing to compare yet. Evaluate the run with: rec-r1 eval ${quoteForShell(this.run.dir)}` };
    }
    const comparison = await this.load(split, files);
    const baselines = policyNames.filter((name) => name !== "tuned" && comparison.answers[name]);
    const baseline = options.baseline && baselines.includes(options.baseline) ? options.baseline : baselines[0];
    if (!baseline) return { missing: "There is no evaluation to compare the tuned policy's with." };
    const gains = this.gains(comparison, baseline);
    const texts = await this.texts(comparison, [...gains.keys()]);
    const matching = [...gains.keys()].filter(
      (example) =>
        isInFilter(gains.get(example) ?? null, options.filter) &&
        (options.example === undefined || example === options.example) &&
        (!options.text || this.mentions(comparison, example, texts.get(example) ?? "", options.text.toLowerCase())),
    );
    matching.sort(comparator(options.order, gains, texts));
    const page = matching.slice(options.offset, options.offset + options.limit);
    const all = [...gains.values()].filter((gain) => gain !== null);
    return {
      split,
      splits: [...splits.keys()],
      baseline,
      baselines,
      metric: comparison.metric,
      means: comparison.means,
      difference: this.difference(comparison, baseline, all),
      better: all.filter((gain) => gain > sameScore).length,
      worse: all.filter((gain) => gain < -sameScore).length,
      equal: all.filter((gain) => Math.abs(gain) <= sameScore).length,
      total: matching.length,
      queries: await Promise.all(
        page.map((example) => this.view(comparison, example, baseline, gains.get(example) ?? null)),
      ),
    };
  }

  /** Every answer of the tuned policy on a split, for what looks at all of them. */
  async tunedAnswers(): Promise<
    { name: string; metric: string; records: EvaluationRecord[]; untrained: EvaluationRecord[] } | undefined
  > {
    const [[split, files] = []] = await this.splits();
    if (split === undefined || !files?.tuned) return undefined;
    const { metric, answers } = await this.load(split, files);
    const recordsOf = (name: PolicyName): EvaluationRecord[] =>
      [...(answers[name]?.values() ?? [])].map(({ record }) => record);
    return { name: split, metric, records: recordsOf("tuned"), untrained: recordsOf("untrained") };
  }

  private async load(split: string, files: Partial<Record<PolicyName, string>>): Promise<Comparison> {
    const key = JSON.stringify([split, files, await this.stamps(Object.values(files))]);
    if (this.current?.key === key) return this.current;
    const comparison: Comparison = { key, split, metric: "", answers: {}, means: {}, differences: new Map() };
    for (const policy of policyNames) {
      const name = files[policy];
      const evaluation =
        name === undefined ? undefined : await readRunJson<EvaluationFile>(this.run, "evaluations", `${name}.json`);
      if (!evaluation) continue;
      comparison.metric ||= evaluation.metric;
      comparison.answers[policy] = collectAnswers(evaluation.records, comparison.metric);
      const mean = evaluation.means[comparison.metric];
      if (mean !== undefined) comparison.means[policy] = mean;
    }
    this.current = comparison;
    return comparison;
  }

  private async stamps(names: readonly string[]): Promise<string[]> {
    return Promise.all(
      names.map(async (name) => {
        const file = await openRunFile(this.run, "evaluations", `${name}.json`);
        if (!file) return "";
        const { size, mtimeMs, ino } = await file.stat();
        await file.close();
        return `${size} ${mtimeMs} ${ino}`;
      }),
    );
  }

  private gains({ answers }: Comparison, baseline: PolicyName): Map<string, number | null> {
    const gains = new Map<string, number | null>();
    for (const [example, { score }] of answers.tuned ?? []) {
      const before = answers[baseline]?.get(example)?.score ?? null;
      gains.set(example, score === null || before === null ? null : score - before);
    }
    return gains;
  }

  private difference(
    comparison: Comparison,
    baseline: PolicyName,
    gains: readonly number[],
  ): ComparisonPage["difference"] {
    const known = comparison.differences.get(baseline);
    if (known !== undefined || gains.length === 0) return known ?? null;
    const zeros = gains.map(() => 0);
    const { mean, low, high } = bootstrapDifference(gains, zeros, { iterations: intervalIterations });
    comparison.differences.set(baseline, { mean, low, high });
    return { mean, low, high };
  }

  /** The users' words: as recorded, else what the raw system searched for. */
  private async texts({ answers }: Comparison, examples: readonly string[]): Promise<Map<string, string>> {
    const shown = await this.shown.examples(examples);
    return new Map(
      examples.map((example, i) => [example, shown[i]?.text ?? answers.raw?.get(example)?.record.query ?? ""]),
    );
  }

  private mentions({ answers }: Comparison, example: string, text: string, wanted: string): boolean {
    if (text.toLowerCase().includes(wanted)) return true;
    return policyNames.some((name) => answers[name]?.get(example)?.record.query?.toLowerCase().includes(wanted));
  }

  private async view(
    { answers }: Comparison,
    example: string,
    baseline: PolicyName,
    gain: number | null,
  ): Promise<ComparedQuery> {
    const [shown] = await this.shown.examples([example]);
    const relevant = new Set(shown?.relevant ?? []);
    const viewed: ComparedQuery["answers"] = {};
    for (const name of policyNames) {
      const answer = answers[name]?.get(example);
      if (answer) viewed[name] = await this.viewAnswer(answer, relevant);
    }
    const text = shown?.text ?? answers.raw?.get(example)?.record.query ?? null;
    const plain = (answer: PolicyAnswer | undefined): Parameters<typeof explainLoss>[1] => ({
      query: answer?.query ?? null,
      hits: answer?.hits.map(({ id }) => id) ?? [],
      score: answer?.score ?? null,
    });
    return {
      example,
      text,
      relevant: await this.shown.hits(shown?.relevant ?? [], relevant),
      answers: viewed,
      gain,
      reasons:
        gain !== null && gain < -sameScore
          ? explainLoss({ input: text, relevant }, plain(viewed[baseline]), plain(viewed.tuned))
          : [],
    };
  }

  private async viewAnswer({ record, score }: Answer, relevant: ReadonlySet<string>): Promise<PolicyAnswer> {
    const { query, completion, hits } = record;
    return { query, completion, hits: await this.shown.hits(hits ?? [], relevant), score };
  }
}

function collectAnswers(records: readonly EvaluationRecord[], metric: string): Map<string, Answer> {
  const sums = new Map<string, { answer: Answer; sum: number; count: number }>();
  for (const record of records) {
    const entry = sums.get(record.example) ?? { answer: { record, score: null }, sum: 0, count: 0 };
    sums.set(record.example, entry);
    const score = record.scores?.[metric];
    if (score === undefined) continue;
    entry.sum += score;
    entry.count++;
    entry.answer.score = entry.sum / entry.count;
  }
  return new Map([...sums].map(([example, { answer }]) => [example, answer]));
}

function isInFilter(gain: number | null, filter: ComparisonOptions["filter"]): boolean {
  if (filter === "all") return true;
  if (gain === null) return false;
  if (filter === "better") return gain > sameScore;
  return filter === "worse" ? gain < -sameScore : Math.abs(gain) <= sameScore;
}

function comparator(
  order: ComparisonOptions["order"],
  gains: ReadonlyMap<string, number | null>,
  texts: ReadonlyMap<string, string>,
): (a: string, b: string) => number {
  const textOf = (example: string): string => texts.get(example) ?? "";
  if (order === "text") return (a, b) => textOf(a).localeCompare(textOf(b), "en");
  const sign = order === "gain" ? -1 : 1;
  // Queries on which one of them failed come last either way.
  const gainOf = (example: string): number => {
    const gain = gains.get(example) ?? null;
    return gain === null ? Infinity : gain * sign;
  };
  const rank = (a: number, b: number): number => (a === b ? 0 : a - b);
  return (a, b) => rank(gainOf(a), gainOf(b)) || textOf(a).localeCompare(textOf(b), "en");
}
