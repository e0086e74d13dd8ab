/**
 * What may be believed of an answer: a recommender that lies (ids twice, NaN scores, a list too few) is found out here
 * and reported by name, and nothing of its answer becomes a reward.
 */
import { RecommenderError } from "../core/errors.ts";
import type { Hit, Query } from "./recommender.ts";

function describe(value: unknown): string {
  if (value === undefined || typeof value === "function" || typeof value === "symbol") return String(value);
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  let text: string;
  try {
    text = JSON.stringify(value);
  } catch {
    text = Object.prototype.toString.call(value);
  }
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

/** The first fault of a query's hits in words; undefined where there is none. */
function findFault(hits: unknown, topK: number): string | undefined {
  if (!Array.isArray(hits)) return `gave ${describe(hits)}; expected a list of hits`;
  if (hits.length > topK) return `gave ${hits.length} hits; asked for at most ${topK}`;
  const rankById = new Map<string, number>();
  let last = Infinity;
  for (const [i, hit] of (hits as unknown[]).entries()) {
    const rank = i + 1;
    if (typeof hit !== "object" || hit === null) return `hit ${rank} is ${describe(hit)}; expected {id, score}`;
    const { id, score } = hit as Partial<Record<"id" | "score", unknown>>;
    if (typeof id !== "string" || id === "") {
      return `hit ${rank} has the id ${describe(id)}; expected a string that isn't empty`;
    }
    if (typeof score !== "number" || !Number.isFinite(score)) {
      return `hit ${rank} ("${id}") has the score ${describe(score)}; expected a finite number`;
    }
    const earlier = rankById.get(id);
    if (earlier !== undefined) return `hits ${earlier} and ${rank} are both "${id}"; expected each item once`;
    if (score > last) return `hit ${rank} ("${id}") scores ${score}, more than ${last} before it; expected best first`;
    rankById.set(id, rank);
    last = score;
  }
  return undefined;
}

/**
 * Hits of one query, if they are what they must be: a list of at most `topK`, ids that are strings and differ, finite
 * scores, best first.
 * @param name The recommender's.
 * @throws RecommenderError `RECOMMENDER_BAD_ANSWER`, naming recommender, query and fault
 */
export function validateHits(name: string, query: Query, hits: unknown, topK: number): Hit[] {
  const fault = findFault(hits, topK);
  if (fault === undefined) return hits as Hit[];
  throw new RecommenderError("RECOMMENDER_BAD_ANSWER", `${name}: to the query ${describe(query.text)}: ${fault}.`, {
    details: { query: query.text },
  });
}

/** Whether hits of one query are what they must be. What isn't goes to the caller, who reports it, and is never kept. */
export function areValidHits(hits: unknown, topK: number): hits is Hit[] {
  return findFault(hits, topK) === undefined;
}

/**
 * The answers to `queries`, as many as there are queries; what each of them holds isn't looked at.
 * @throws RecommenderError `RECOMMENDER_BAD_ANSWER`
 */
export function checkAnswerCount(name: string, queries: readonly Query[], answers: unknown): unknown[] {
  if (Array.isArray(answers) && answers.length === queries.length) return answers;
  const got = Array.isArray(answers) ? `${answers.length} lists` : describe(answers);
  throw new RecommenderError(
    "RECOMMENDER_BAD_ANSWER",
    `${name}: gave ${got} to ${queries.length} queries; expected one list of hits for each query.`,
  );
}

/**
 * The answers to `queries`, one list each, all as {@link validateHits} wants them.
 * @throws RecommenderError `RECOMMENDER_BAD_ANSWER`
 */
export function validateAnswers(name: string, queries: readonly Query[], answers: unknown, topK: number): Hit[][] {
  const lists = checkAnswerCount(name, queries, answers);
  return queries.map((query, i) => validateHits(name, query, lists[i], topK));
}

/** @throws RecommenderError `RECOMMENDER_BAD_TOP_K` when `topK` isn't a whole number, 1 or more */
export function checkTopK(name: string, topK: unknown): void {
  if (typeof topK === "number" && Number.isInteger(topK) && topK >= 1) return;
  throw new RecommenderError("RECOMMENDER_BAD_TOP_K", `${name}: topK is ${describe(topK)}; expected 1 or more.`);
}
