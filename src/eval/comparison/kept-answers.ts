/**
 * A comparison's folder: `comparison.json`, every system's answers, the judgments and every ranking, so that metrics can
 * be computed later without engine or model, and queries can be asked of another recommender.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describeFileError, writeFileAtomic } from "../../core/atomic-write.ts";
import { ConfigError, DataError } from "../../core/errors.ts";
import { toJsonLine } from "../../core/json-lines.ts";
import { evaluateRun } from "../../ranking/evaluate-run.ts";
import type { Qrels, ScoredId } from "../../ranking/judgments.ts";
import type { FoundAnswer } from "../../rl/evaluation.ts";
import type { LoadedExample } from "../../rl/task.ts";
import { comparisonFormat } from "./measure.ts";
import type { AnsweredSystem, Comparison } from "./measure.ts";
import { judgedOf } from "./slices.ts";

/** One answer of one system. */
export interface KeptAnswer {
  system: string;
  example: string;
  sample: number;
  completion: string | null;
  query: string | null;
  /** The ranking, best first; null: nothing was searched, or the search failed. */
  ids: string[] | null;
  scores: number[] | null;
  failure?: string;
}

export interface KeptComparison {
  comparison: Comparison;
  answers: KeptAnswer[];
  /** Gains by example id. */
  qrels: Qrels;
}

const files = { comparison: "comparison.json", answers: "answers.jsonl", judgments: "judgments.json" } as const;

/** Writes a comparison and everything that it was computed from. @throws RecR1Error when the folder can't be written */
export async function keepComparison<E extends object>(
  dir: string,
  comparison: Comparison,
  systems: readonly AnsweredSystem<E>[],
  examples: readonly LoadedExample<E>[],
): Promise<void> {
  const answers = systems.flatMap(({ id, found }) => found.map((answer) => toKept(id, answer)));
  const gains = examples.map(({ id, example }) => [id, [...judgedOf(example)]]);
  await writeFileAtomic(join(dir, files.answers), answers.map(toJsonLine).join(""));
  await writeFileAtomic(join(dir, files.judgments), `${JSON.stringify(gains)}\n`);
  await writeFileAtomic(join(dir, files.comparison), `${JSON.stringify(comparison, null, 1)}\n`);
}

function toKept<E extends object>(
  system: string,
  { example, sample, completion, query, hits, failure }: FoundAnswer<E>,
): KeptAnswer {
  return {
    system,
    example: example.id,
    sample,
    completion,
    query,
    ids: hits?.map(({ id }) => id) ?? null,
    scores: hits?.map(({ score }) => score) ?? null,
    ...(failure === undefined ? {} : { failure }),
  };
}

/**
 * Reads what {@link keepComparison} wrote.
 * @throws DataError `BAD_COMPARISON`; RecR1Error `NOT_FOUND` …
 */
export async function readKeptComparison(dir: string): Promise<KeptComparison> {
  const comparison = await readComparison(join(dir, files.comparison));
  const answers = (await readText(join(dir, files.answers)))
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => parse<KeptAnswer>(line, join(dir, files.answers)));
  const gains = parse<[string, [string, number][]][]>(
    await readText(join(dir, files.judgments)),
    join(dir, files.judgments),
  );
  return { comparison, answers, qrels: new Map(gains.map(([id, items]) => [id, new Map(items)])) };
}

/** Reads a `comparison.json`. @throws as {@link readKeptComparison} */
export async function readComparison(path: string): Promise<Comparison> {
  const comparison = parse<Comparison>(await readText(path), path);
  if (comparison?.format === comparisonFormat && Array.isArray(comparison.systems)) return comparison;
  throw new DataError(
    "BAD_COMPARISON",
    `${path}: format ${JSON.stringify((comparison as { format?: unknown } | null)?.format) ?? "none"}; expected a comparison of format ${comparisonFormat}, as rec-r1 compare --out writes it.`,
    { details: { path } },
  );
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw describeFileError(error, "read", path);
  }
}

function parse<T>(text: string, path: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DataError("BAD_COMPARISON", `${path}: not JSON (${reason}).`, { cause, details: { path } });
  }
}

/** How deep the kept rankings go: what was asked for, or else the longest of them. */
export function depthOf({ comparison, answers }: KeptComparison): number {
  return comparison.topK ?? answers.reduce((most, { ids }) => Math.max(most, ids?.length ?? 0), 0);
}

/** Hits that a measure looks at; undefined where it looks at all. */
export function cutOf(measure: string): number | undefined {
  const [, cut] = /_([1-9]\d*)$/.exec(measure) ?? [];
  return cut === undefined ? undefined : Number(cut);
}

/** @throws ConfigError on an unknown measure, or one that looks further than the rankings go */
function checkMeasures(kept: KeptComparison, measures: readonly string[]): void {
  evaluateRun(new Map(), new Map(), measures);
  const depth = depthOf(kept);
  const deep = measures.find((measure) => (cutOf(measure) ?? 0) > depth);
  if (deep === undefined) return;
  throw new ConfigError(
    "MEASURE_TOO_DEEP",
    `${deep} looks at ${cutOf(deep)} hits, and ${depth} were asked for (the task's topK), so that it would be computed as if there were no others. Take a cut of ${depth} at most, or raise the task's topK and compare again.`,
    { details: { measure: deep, topK: depth } },
  );
}

/**
 * Any trec_eval measures of kept answers, by system: the mean over examples of the mean over an example's completions. An
 * answer without hits counts 0, a failed one is left out.
 * @param measures such as `ndcg_cut_10`, `recall_5`, `map`; those without a cut are of the hits that were asked for
 * @throws ConfigError on an unknown measure, or one with a cut beyond what was asked for
 */
export function recomputeMeasures(
  kept: KeptComparison,
  measures: readonly string[],
): { system: string; name: string; means: Record<string, number>; examples: number }[] {
  checkMeasures(kept, measures);
  const { comparison, answers, qrels } = kept;
  return comparison.systems.map(({ id, name }) => {
    const sums = new Map<string, { count: number; sums: Record<string, number> }>();
    for (const answer of answers) {
      if (answer.system !== id || answer.failure !== undefined) continue;
      const judged = qrels.get(answer.example);
      if (!judged || judged.size === 0) continue;
      // The order of hits is the ranking; trec_eval would order ties of their scores by itself.
      const run: ScoredId[] = (answer.ids ?? []).map((item, rank) => ({ id: item, score: -rank }));
      const one = evaluateRun(new Map([["q", judged]]), new Map([["q", run]]), measures, { unanswered: "zero" });
      const entry = sums.get(answer.example) ?? { count: 0, sums: {} };
      entry.count++;
      for (const measure of measures) entry.sums[measure] = (entry.sums[measure] ?? 0) + (one.means[measure] as number);
      sums.set(answer.example, entry);
    }
    const means = measures.map((measure) => {
      const values = [...sums.values()].map((entry) => (entry.sums[measure] as number) / entry.count);
      return [measure, values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length];
    });
    return { system: id, name, means: Object.fromEntries(means) as Record<string, number>, examples: sums.size };
  });
}
