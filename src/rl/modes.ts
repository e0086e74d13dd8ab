/**
 * Two ways to measure. `sound`, the default: every word is searched for, a relevant id counts once. `compatible`: what
 * the published code of Rec-R1 (arXiv 2503.24289) does, bug for bug and each by its name, so that its figures can be
 * compared with; nobody should want it for anything else.
 */
import { readExamples, parseExample } from "../datasets/examples.ts";
import type { Hit, Recommender } from "../recommenders/recommender.ts";
import { isCached } from "../recommenders/cached.ts";
import { checkAnswerCount } from "../recommenders/validate.ts";
import type { RankedId } from "../ranking/metrics.ts";
import type { DataSource, Metric, SplitName, Task } from "./task.ts";

export const modes = ["sound", "compatible"] as const;
export type Mode = (typeof modes)[number];

/** What `compatible` does otherwise, by name. */
export const compatibleQuirks: Readonly<Record<string, string>> = {
  "first-word-lost":
    "the searcher sends `(contents:{query})` through an analyzer that takes the text for plain, so that a first word of letters becomes `contents:word`, one token that no item has",
  "duplicate-targets":
    "a relevant id that is listed twice counts twice in the ideal DCG, which no ranking can then reach",
};

/**
 * A query as the published searcher's analyzer sees it. Unicode's word rules (UAX #29) join letters over a colon, so a
 * query that begins with a letter loses its first word; one that begins with a digit or a quote doesn't.
 */
export function loseFirstWord(query: string): string {
  return query.replace(/^\p{L}[\p{L}\p{N}_]*(?:['’.:·]\p{L}[\p{L}\p{N}_]*)*/u, "");
}

/** The recommender as a mode asks it; one with a memory stays one. */
export function recommenderInMode(inner: Recommender, mode: Mode): Recommender {
  if (mode === "sound") return inner;
  const asked: Recommender = {
    name: inner.name,
    async search(queries, options) {
      const texts = queries.map(({ text }) => loseFirstWord(text));
      const asked = texts.filter((text) => text.trim() !== "").map((text) => ({ text }));
      const found = asked.length > 0 ? checkAnswerCount(inner.name, asked, await inner.search(asked, options)) : [];
      let next = 0;
      return texts.map((text) => (text.trim() === "" ? [] : (found[next++] as Hit[])));
    },
    fingerprint: async () => `compatible:${await inner.fingerprint()}`,
    ...(inner.has ? { has: (id: string) => (inner.has as (id: string) => Promise<boolean>)(id) } : {}),
    close: () => inner.close(),
  };
  if (!isCached(inner)) return asked;
  const memory = { calls: inner.calls, clear: () => inner.clear() };
  return Object.defineProperty({ ...asked, ...memory }, "stats", { get: () => inner.stats, enumerable: true });
}

/**
 * NDCG as the published code computes it: gain 1 for an id among the targets, and an ideal of as many ones as there are
 * targets, repetitions counted.
 * @param targets relevant ids as they are listed; graded gains are taken as ids with a gain above 0
 */
export function ndcgAsPublished(
  hits: readonly RankedId[],
  targets: readonly string[] | Readonly<Record<string, number>>,
  { k }: { k: number },
): number {
  const list = Array.isArray(targets)
    ? (targets as readonly string[])
    : Object.entries(targets as Readonly<Record<string, number>>).flatMap(([id, gain]) => (gain > 0 ? [id] : []));
  const wanted = new Set(list);
  const discount = (rank: number): number => 1 / Math.log2(rank + 2);
  const got = hits.slice(0, k).reduce((sum, { id }, rank) => sum + (wanted.has(id) ? discount(rank) : 0), 0);
  const ideal = Array.from({ length: Math.min(k, list.length) }, (_, rank) => discount(rank));
  return got === 0 ? 0 : got / ideal.reduce((sum, gain) => sum + gain, 0);
}

/**
 * The task as a mode measures it. In `compatible`, metrics called `ndcg@K` are computed as published, and files are read
 * with the repetitions in their `relevant` (the presets keep those of the authors' files as `targets`); the task's reward stays its own.
 */
export function taskInMode<E extends object>(task: Task<E>, mode: Mode): Task<E> {
  if (mode === "sound") return task;
  const data = Object.fromEntries(
    Object.entries(task.data).map(([split, source]) => [split, keepRepetitions(source as DataSource<E>)]),
  ) as Record<SplitName, DataSource<E>>;
  return { ...task, data, metrics: task.metrics.map(asPublished) };
}

function asPublished<E extends object>(metric: Metric<E>): Metric<E> {
  const k = Number(/^ndcg@(\d+)$/.exec(metric.name)?.[1]);
  if (!Number.isFinite(k)) return metric;
  return {
    name: metric.name,
    score: ({ example, hits }) => {
      type Targets = Parameters<typeof ndcgAsPublished>[1];
      const { targets, relevant } = example as { targets?: Targets; relevant?: Targets };
      const listed = targets ?? relevant;
      return listed === undefined ? metric.score({ example, hits }) : ndcgAsPublished(hits, listed, { k });
    },
  };
}

function keepRepetitions<E>(source: DataSource<E>): DataSource<E> {
  if (typeof source !== "string") return source;
  return async () => {
    const examples = await readExamples(source, {
      parse: (row, place) => {
        const example = parseExample(row, place);
        return Array.isArray(row.relevant) ? { ...example, relevant: row.relevant.map(String) } : example;
      },
    });
    return examples as unknown as readonly E[];
  };
}
