/**
 * What is relevant to a query, and what an engine answered. Ids live in Maps, so that an item called `constructor` or
 * `__proto__` is an item like any other.
 */
import { DataError } from "../core/errors.ts";

/** Relevant ids of one query: a list (every one has gain 1) or graded gains by id; 0 and below is not relevant. */
export type Relevance = readonly string[] | Readonly<Record<string, number>> | ReadonlyMap<string, number>;

/** An id with the score that the engine gave it. */
export interface ScoredId {
  id: string;
  score: number;
}

/** Judgments of many queries (qrels): query id → item id → gain. */
export type Qrels = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Answers to many queries: query id → scored ids, in any order. */
export type Run = ReadonlyMap<string, readonly ScoredId[]>;

/**
 * Gains by item id; an id that a list names twice counts once.
 * @throws DataError when a gain isn't a finite number.
 */
export function gainsOf(relevant: Relevance): ReadonlyMap<string, number> {
  if (relevant instanceof Map) {
    for (const [id, gain] of relevant as ReadonlyMap<string, unknown>) checkGain(id, gain);
    return relevant as ReadonlyMap<string, number>;
  }
  if (Array.isArray(relevant)) return new Map((relevant as readonly string[]).map((id) => [id, 1]));
  const gains = new Map<string, number>();
  for (const [id, gain] of Object.entries(relevant as Readonly<Record<string, unknown>>)) {
    checkGain(id, gain);
    gains.set(id, gain);
  }
  return gains;
}

function checkGain(id: string, gain: unknown): asserts gain is number {
  if (typeof gain === "number" && Number.isFinite(gain)) return;
  throw new DataError(
    "DATA_BAD_GAIN",
    `The gain of "${id}" is ${JSON.stringify(gain) ?? String(gain)}; expected a finite number (1 for relevant, 0 for not).`,
    { details: { id } },
  );
}

/** Ids with a gain above 0. */
export function relevantIds(relevant: Relevance): string[] {
  return [...gainsOf(relevant)].filter(([, gain]) => gain > 0).map(([id]) => id);
}
