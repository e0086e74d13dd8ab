/**
 * The recommender of a run: with a memory of its answers, watched for changes, and with figures of how it answers.
 */
import { RecommenderError } from "../core/errors.ts";
import { cached, isCached } from "../recommenders/cached.ts";
import type { CachedRecommender } from "../recommenders/cached.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import type { CacheRecord } from "../runs/records.ts";
import type { Group } from "./rollout.ts";

/** The recommender with a memory of its answers, where it has none yet. */
export function withMemory(recommender: Recommender): CachedRecommender {
  return isCached(recommender) ? recommender : cached(recommender);
}

/**
 * Makes sure that rewards still come from what the run began with.
 * @param expected The fingerprint it had then.
 * @throws RecommenderError `RECOMMENDER_CHANGED`, or what kept it from answering
 */
export async function checkUnchanged(recommender: Recommender, expected: string): Promise<void> {
  const now = await recommender.fingerprint();
  if (now === expected) return;
  throw new RecommenderError(
    "RECOMMENDER_CHANGED",
    `${recommender.name} is not what the run began with: its fingerprint was ${expected}, now it is ${now}. What it answered last was not learnt from. Restore it and resume, or start a new run folder.`,
    { details: { expected, now } },
  );
}

/** What a step's searches came to; `missesBefore` is the memory's count before the step. */
export function measureCache(
  { stats }: CachedRecommender,
  missesBefore: number,
  groups: readonly Group<unknown>[],
): CacheRecord {
  const turns = groups.flatMap(({ rollouts }) => rollouts.flatMap((rollout) => rollout.turns));
  const queries = turns.filter(({ query }) => query !== null).length;
  const asked = stats.misses - missesBefore;
  return { queries, asked, hitRate: queries === 0 ? 0 : Math.max(0, 1 - asked / queries) };
}

/** Share of the answers that have fewer hits than were asked for. */
export function shareOfShortAnswers(groups: readonly Group<unknown>[], topK: number): number {
  const answers = groups.flatMap(({ rollouts }) => rollouts.map(({ hits }) => hits)).filter((hits) => hits !== null);
  return answers.filter(({ length }) => length < topK).length / Math.max(1, answers.length);
}
