/**
 * Rollouts: completions of a prompt, the queries in them, what the recommender found and what that is worth. A failure
 * of the recommender drops the rollout; it never becomes a reward. Knows nothing of training.
 */
import { RecommenderError } from "../core/errors.ts";
import type { ChatTokenizer, Engine, SamplingParams, TokenIds } from "../engines/engine.ts";
import type { Hit, Recommender } from "../recommenders/recommender.ts";
import type { RolloutRecord } from "../runs/records.ts";
import { lastSearch, playEpisodes, type Turn } from "./episode.ts";
import { overlongPenalty } from "./overlong.ts";
import { encodeExample } from "./prompt.ts";
import { describeTokens } from "./token-texts.ts";
import type { LoadedExample, Task } from "./task.ts";

export { encodePrompt } from "./prompt.ts";

/** One episode (mostly a single completion) and what became of it: the turn that is scored, and the rest. */
export interface Rollout extends Turn {
  /** Null: dropped because of its `failure`. */
  reward: number | null;
  parts: Record<string, number>;
  /** All of the episode's completions, each with its prompt. */
  turns: Turn[];
}

/** All completions of one prompt. */
export interface Group<E> {
  example: LoadedExample<E>;
  promptIds: TokenIds;
  /** Whether the example had to be made shorter to fit. */
  isShortened: boolean;
  rollouts: Rollout[];
}

export interface RolloutOptions<E extends object> {
  engine: Engine;
  recommender: Recommender;
  task: Task<E>;
  sampling: SamplingParams;
  /** Share of rollouts that may fail. Default 1. */
  maxFailureShare?: number;
  /** Longest prompt, in tokens; 0: what the context allows. Default 0. */
  maxPromptTokens?: number;
  /** Part of `maxTokens` in which long completions lose reward (DAPO). Default 0: off. */
  overlongShare?: number;
}

/** Rollouts of `examples` `[P]`, with the seconds that sampling and searching took. */
export async function collectRollouts<E extends object>(
  examples: readonly LoadedExample<E>[],
  options: RolloutOptions<E>,
): Promise<{ groups: Group<E>[]; seconds: { sample: number; search: number } }> {
  const { engine, task, sampling, maxFailureShare = 1, maxPromptTokens = 0 } = options;
  const limits = { maxTokens: sampling.maxTokens, maxPromptTokens };
  const openings = examples.map(({ example }) => ({ example, ...encodeExample(engine, task, example, limits) }));
  const maxFailures = maxFailureShare * examples.length * sampling.n;
  const { turns_P_G, seconds } = await playEpisodes(openings, { ...options, maxFailures });
  const start = performance.now();
  const groups: Group<E>[] = [];
  for (const [p, example] of examples.entries()) {
    const { ids, isShortened } = openings[p] as (typeof openings)[number];
    const rollouts: Rollout[] = [];
    for (const turns of turns_P_G[p] as Turn[][]) rollouts.push(await scoreEpisode(example.example, turns, options));
    groups.push({ example, promptIds: ids, isShortened, rollouts });
  }
  return { groups, seconds: { ...seconds, search: seconds.search + (performance.now() - start) / 1000 } };
}

/** What an episode is worth: its last search, or its best one, less what searching again costs. */
async function scoreEpisode<E extends object>(
  example: E,
  turns: Turn[],
  { task, sampling, overlongShare = 0 }: RolloutOptions<E>,
): Promise<Rollout> {
  const last = lastSearch(turns);
  const failure = turns.find((turn) => turn.failure !== undefined)?.failure;
  if (failure !== undefined) return { ...last, hits: null, reward: null, parts: {}, failure, turns };
  const searches = turns.filter(({ query }) => query !== null).length;
  const tokens = turns.reduce((sum, { sample }) => sum + sample.ids.length, 0);
  const { score = "last", costPerSearch = 0 } = task.episode ?? {};
  const candidates = score === "best" && searches > 0 ? turns.filter(({ query }) => query !== null) : [last];
  let best: Rollout | undefined;
  for (const turn of candidates) {
    const { query, hits, sample, searchMs } = turn;
    const costs = { tokens, searches, searchMs };
    const { reward, parts } = await task.reward({ example, query, hits, completion: sample.text, costs });
    if (best === undefined || reward > (best.reward as number)) best = { ...turn, reward, parts, turns };
  }
  const rollout = best as Rollout;
  if (task.episode) {
    rollout.reward = (rollout.reward as number) - costPerSearch * Math.max(0, searches - 1);
    rollout.parts = { ...rollout.parts, searches };
  }
  if (overlongShare > 0) {
    const overlong = overlongPenalty(
      Math.max(...turns.map(({ sample }) => sample.ids.length)),
      sampling.maxTokens,
      overlongShare,
    );
    rollout.reward = (rollout.reward as number) + overlong;
    rollout.parts = { ...rollout.parts, overlong };
  }
  return rollout;
}

/**
 * Stops a step of which too many rollouts failed.
 * @throws RecommenderError `TOO_MANY_FAILURES`
 */
export function checkFailureShare(groups: readonly Group<unknown>[], maxFailureShare: number): void {
  const rollouts = groups.flatMap((group) => group.rollouts);
  const failed = rollouts.filter((rollout) => rollout.failure !== undefined);
  if (failed.length <= maxFailureShare * rollouts.length) return;
  throw new RecommenderError(
    "TOO_MANY_FAILURES",
    `The recommender failed on ${failed.length} of ${rollouts.length} rollouts of this step, more than maxFailureShare = ${maxFailureShare} allows. The first failure: ${failed[0]?.failure}. Nothing was learnt from this step; repair the recommender and resume the run.`,
    { retryable: true, details: { failed: failed.length, rollouts: rollouts.length } },
  );
}

/** What the run folder keeps of a group. @param advantages_G null where a rollout was dropped */
export function toRolloutRecords(
  group: Group<unknown>,
  {
    step,
    advantages_G,
    recordHits,
    tokenizer,
  }: {
    step: number;
    advantages_G: readonly (number | null)[];
    recordHits: number;
    /** Where given, completions are kept token by token, too. */
    tokenizer?: Pick<ChatTokenizer, "decode"> | undefined;
  },
): RolloutRecord[] {
  const idsOf = (hits: readonly Hit[] | null): string[] | null =>
    hits?.slice(0, recordHits).map(({ id }) => id) ?? null;
  return group.rollouts.map(({ sample, query, hits, reward, parts, failure, turns }, index) => ({
    step,
    example: group.example.id,
    sample: index,
    completion: sample.text,
    query,
    hits: idsOf(hits),
    ...(turns.length > 1
      ? { turns: turns.map((turn) => ({ completion: turn.sample.text, query: turn.query, hits: idsOf(turn.hits) })) }
      : {}),
    reward,
    ...(Object.keys(parts).length > 0 ? { parts } : {}),
    advantage: advantages_G[index] ?? null,
    tokens: turns.reduce((sum, turn) => sum + turn.sample.ids.length, 0),
    logprob: turns.reduce((sum, turn) => sum + turn.sample.logprobs.reduce((all, logprob) => all + logprob, 0), 0),
    stop: sample.stopReason,
    ...(failure === undefined ? {} : { failure }),
    ...(tokenizer ? describeTokens(sample, tokenizer) : {}),
  }));
}
