/** A query with its judgments: what every format of judgments is read into and written from. */
import { writeFileAtomic } from "../../core/atomic-write.ts";
import { DataError } from "../../core/errors.ts";
import { gainsOf } from "../../ranking/judgments.ts";
import type { Example } from "../examples.ts";

export interface JudgedQuery {
  id: string;
  query: string;
  /** Gains by item id; 0 and below: judged, and not relevant. */
  gains: ReadonlyMap<string, number>;
}

export function toJudgedQuery({ id, query, relevant }: Example): JudgedQuery {
  return { id, query, gains: gainsOf(relevant) };
}

/** Queries of which something is relevant; a task can't learn from others. */
export function keepJudged(queries: readonly JudgedQuery[]): JudgedQuery[] {
  return queries.filter(({ gains }) => [...gains.values()].some((gain) => gain > 0));
}

/** The query with what is relevant to it alone: all that a task's metrics and rewards look at. */
export function withoutIrrelevant({ gains, ...rest }: JudgedQuery): JudgedQuery {
  return { ...rest, gains: new Map([...gains].filter(([, gain]) => gain > 0)) };
}

/** Examples of a task: graded gains, or a list of ids where all that is relevant has the gain 1. */
export function toExample({ id, query, gains }: JudgedQuery): Example {
  const isPlain = [...gains.values()].every((gain) => gain === 1);
  return { id, query, relevant: isPlain ? [...gains.keys()] : Object.fromEntries(gains) };
}

/** Examples as JSON Lines, whole or not at all. @returns how many were written: queries without anything relevant are left out */
export async function writeExamples(path: string, queries: readonly JudgedQuery[]): Promise<number> {
  const kept = keepJudged(queries);
  if (kept.length === 0) {
    throw new DataError("DATA_EMPTY", `Nothing to write to ${path}: no query has anything relevant.`);
  }
  await writeFileAtomic(path, kept.map((query) => `${JSON.stringify(toExample(query))}\n`).join(""));
  return kept.length;
}

/** Gains as whole grades from 0 to `grades`, relative to the highest of all. @param grades 1 or more */
export function gradeAll(queries: readonly JudgedQuery[], grades: number): JudgedQuery[] {
  let highest = 0;
  for (const { gains } of queries) for (const gain of gains.values()) highest = Math.max(highest, gain);
  return queries.map(({ gains, ...rest }) => ({ ...rest, gains: toGrades(gains, grades, highest) }));
}

/** Gains as whole grades from 0 to `grades`, where `highest` gets the top grade. */
export function toGrades(gains: ReadonlyMap<string, number>, grades: number, highest: number): Map<string, number> {
  return new Map(
    [...gains].map(([id, gain]) => [id, highest > 0 ? Math.max(0, Math.round((gain / highest) * grades)) : 0]),
  );
}

/** Gathers judgments row by row, queries in the order in which they come first. */
export class JudgmentCollector {
  private readonly byQuery = new Map<string, Map<string, number>>();

  /** @throws DataError where the item has another gain for this query already */
  add(query: string, item: string, gain: number, place: string): void {
    const gains = this.byQuery.get(query) ?? new Map<string, number>();
    const before = gains.get(item);
    if (before !== undefined && before !== gain) {
      throw new DataError(
        "DATA_DUPLICATE_ID",
        `${place}: "${item}" is judged ${gain} for "${query}", and ${before} before. Keep one of them.`,
      );
    }
    this.byQuery.set(query, gains.set(item, gain));
  }

  /** @throws DataError `DATA_EMPTY` */
  finish(path: string): JudgedQuery[] {
    if (this.byQuery.size === 0) {
      throw new DataError("DATA_EMPTY", `${path}: holds no judgment.`, { details: { path } });
    }
    return [...this.byQuery].map(([query, gains], i) => ({ id: `q${i + 1}`, query, gains }));
  }
}
