/**
 * Rewards made of several objectives: metrics, costs, business rules. Each is a plain function with a weight, and each
 * is kept as a part of the reward, so that every one has a curve of its own (`part/NAME`).
 */
import { TaskError } from "../core/errors.ts";
import { ndcg, recall } from "../ranking/metrics.ts";
import type { Hit } from "../recommenders/recommender.ts";
import { relevantOf } from "./task.ts";
import type { AnswerCosts, Scored } from "./task.ts";

/** An answer that has a query. */
export interface Found<E> {
  example: E;
  query: string;
  hits: readonly Hit[];
  completion: string;
  costs: AnswerCosts;
}

export interface Objective<E> {
  /** Its share of the reward; below 0 for a cost. */
  weight: number;
  value(answer: Found<E>): number | Promise<number>;
}

export interface ObjectivesOptions {
  /** Reward of an answer without a query, in which no objective has a value. Default -0.5. */
  withoutQuery?: number;
}

/**
 * A task's reward: Σ weight × value. The parts are the values, before their weights.
 * @throws TaskError `BAD_REWARD` (in training) naming the objective whose value is no finite number
 */
export function combineObjectives<E extends object>(
  objectives: Readonly<Record<string, Objective<E>>>,
  { withoutQuery = -0.5 }: ObjectivesOptions = {},
): (scored: Scored<E>) => Promise<{ reward: number; parts: Record<string, number> }> {
  return async ({ example, query, hits, completion, costs = { tokens: 0, searches: 1, searchMs: 0 } }) => {
    if (query === null || hits === null) return { reward: withoutQuery, parts: {} };
    const parts: Record<string, number> = {};
    let reward = 0;
    for (const [name, { weight, value }] of Object.entries(objectives)) {
      const got = await value({ example, query, hits, completion, costs });
      if (!Number.isFinite(got)) {
        throw new TaskError("BAD_REWARD", `The objective "${name}" is ${String(got)}; expected a finite number.`);
      }
      parts[name] = got;
      reward += weight * got;
    }
    return { reward, parts };
  };
}

/** NDCG@k of `example.relevant`. */
export function ndcgObjective<E extends object>(k: number, weight = 1): Objective<E> {
  return { weight, value: ({ example, hits }) => ndcg(hits, relevantOf(example), { k }) };
}

/** Recall@k of `example.relevant`. */
export function recallObjective<E extends object>(k: number, weight = 1): Objective<E> {
  return { weight, value: ({ example, hits }) => recall(hits, relevantOf(example), { k }) };
}

/** What a completion costs, in tokens. @param weight per token, below 0 */
export function tokenCost<E extends object>(weight: number): Objective<E> {
  return { weight, value: ({ costs }) => costs.tokens };
}

/** What a query costs, in words. @param weight per word, below 0 */
export function wordCost<E extends object>(weight: number): Objective<E> {
  return { weight, value: ({ query }) => query.split(/\s+/).filter((word) => word !== "").length };
}

/**
 * What a search costs, in milliseconds. Measured times differ from run to run, and so do rewards made of them.
 * @param weight per millisecond, below 0
 */
export function latencyCost<E extends object>(weight: number): Objective<E> {
  return { weight, value: ({ costs }) => costs.searchMs };
}

/** A business rule: the share of the first `k` hits that keep it (in stock, own brand …); 1 where nothing was found. */
export function ruleObjective<E extends object>(
  keeps: (hit: Hit, example: E) => boolean,
  { k, weight }: { k: number; weight: number },
): Objective<E> {
  return {
    weight,
    value: ({ hits, example }) => {
      const first = hits.slice(0, k);
      return first.length === 0 ? 1 : first.filter((hit) => keeps(hit, example)).length / first.length;
    },
  };
}
