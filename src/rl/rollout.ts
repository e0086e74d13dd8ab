/**
 * Rollouts: completions of a prompt, the queries in them, what the recommender found and what that is worth. A failure
 * of the recommender drops the rollout; it never becomes a reward. Knows nothing of training.
 */
import { EngineError, RecommenderError, TaskError } from "../core/errors.ts";
import type { Engine, Sample, SamplingParams, TokenIds } from "../engines/engine.ts";
import type { Hit, Recommender } from "../recommenders/recommender.ts";
import type { RolloutRecord } from "../runs/records.ts";
import { searchAll } from "./search.ts";
import type { LoadedExample, Task } from "./task.ts";

/** One completion and what became of it. */
export interface Rollout {
  sample: Sample;
  /** What was searched for; null: no answer could be parsed. */
  query: string | null;
  /** Best first; null: nothing was searched, or the search failed. */
  hits: Hit[] | null;
  /** Null: dropped because of {@link failure}. */
  reward: number | null;
  parts: Record<string, number>;
  failure?: string;
}

/** All completions of one prompt. */
export interface Group<E> {
  example: LoadedExample<E>;
  promptIds: TokenIds;
  rollouts: Rollout[];
}

export interface RolloutOptions<E extends object> {
  engine: Engine;
  recommender: Recommender;
  task: Task<E>;
  sampling: SamplingParams;
  /** Share of rollouts that may fail. Default 1. */
  maxFailureShare?: number;
}

/** Rollouts of `examples` `[P]`, with the seconds that sampling and searching took. */
export async function collectRollouts<E extends object>(
  examples: readonly LoadedExample<E>[],
  options: RolloutOptions<E>,
): Promise<{ groups: Group<E>[]; seconds: { sample: number; search: number } }> {
  const { engine, task, sampling } = options;
  const prompts = examples.map(({ example }) => encodePrompt(engine, task, example, sampling.maxTokens));
  const sampleStart = performance.now();
  const samples_P_G = await engine.sample(prompts, sampling);
  checkSamples(samples_P_G, examples.length, sampling.n);
  const searchStart = performance.now();
  const groups = examples.map((example, p) => ({
    example,
    promptIds: prompts[p] as number[],
    rollouts: (samples_P_G[p] as Sample[]).map((sample) => ({
      sample,
      query: task.parse(sample.text, example.example),
      hits: null,
      reward: null,
      parts: {},
    })),
  }));
  await scoreGroups(groups, options);
  const end = performance.now();
  return {
    groups,
    seconds: { sample: (searchStart - sampleStart) / 1000, search: (end - searchStart) / 1000 },
  };
}

/** Searches for all queries in one go and fills in hits, rewards and failures. */
async function scoreGroups<E extends object>(groups: readonly Group<E>[], options: RolloutOptions<E>): Promise<void> {
  const { recommender, task, sampling, maxFailureShare = 1 } = options;
  const rollouts = groups.flatMap((group) => group.rollouts);
  const queries = rollouts.map(({ query }) => query).filter((query) => query !== null);
  const maxFailures = maxFailureShare * rollouts.length;
  const outcomes = await searchAll(recommender, queries, {
    topK: task.topK,
    maxFailures,
    ...(sampling.signal ? { signal: sampling.signal } : {}),
  });
  for (const { example, rollouts } of groups) {
    for (const rollout of rollouts) {
      const outcome = rollout.query === null ? null : outcomes.get(rollout.query);
      if (outcome && "failure" in outcome) {
        rollout.failure = outcome.failure;
        continue;
      }
      rollout.hits = outcome?.hits ?? null;
      const { query, hits, sample } = rollout;
      const scored = await task.reward({ example: example.example, query, hits, completion: sample.text });
      Object.assign(rollout, scored);
    }
  }
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

/**
 * A prompt's ids, of the example as the task wrote it or, where the context demands, shortened.
 * @throws TaskError `PROMPT_TOO_LONG`
 */
export function encodePrompt<E extends object>(engine: Engine, task: Task<E>, example: E, maxTokens: number): number[] {
  for (let shown: E = example; ;) {
    const ids = engine.tokenizer.encodeChat(task.prompt(shown));
    if (ids.length + maxTokens <= engine.contextLength) return ids;
    const shorter = task.shorten(shown);
    if (shorter === null) {
      throw new TaskError(
        "PROMPT_TOO_LONG",
        `Task "${task.name}": a prompt has ${ids.length} tokens; with completions of up to ${maxTokens} that is more than the model's context of ${engine.contextLength}. Shorten the prompt, give the task a \`shorten\` function, or lower maxTokens. The example: ${JSON.stringify(example).slice(0, 200)}`,
      );
    }
    shown = shorter;
  }
}

function checkSamples(samples_P_G: readonly (readonly Sample[])[], prompts: number, n: number): void {
  if (samples_P_G.length === prompts && samples_P_G.every((samples) => samples.length === n)) return;
  const got = samples_P_G.map((samples) => samples.length).join(", ");
  throw new EngineError(
    "BAD_SAMPLES",
    `The engine gave ${got || "no"} completions for ${prompts} prompts of ${n} each.`,
  );
}

/** What the run folder keeps of a group. @param advantages_G null where a rollout was dropped */
export function toRolloutRecords(
  group: Group<unknown>,
  { step, advantages_G, recordHits }: { step: number; advantages_G: readonly (number | null)[]; recordHits: number },
): RolloutRecord[] {
  return group.rollouts.map(({ sample, query, hits, reward, parts, failure }, index) => ({
    step,
    example: group.example.id,
    sample: index,
    completion: sample.text,
    query,
    hits: hits?.slice(0, recordHits).map((hit) => hit.id) ?? null,
    reward,
    ...(Object.keys(parts).length > 0 ? { parts } : {}),
    advantage: advantages_G[index] ?? null,
    tokens: sample.ids.length,
    logprob: sample.logprobs.reduce((sum, logprob) => sum + logprob, 0),
    stop: sample.stopReason,
    ...(failure === undefined ? {} : { failure }),
  }));
}
