/**
 * Finding good queries without a teacher, before the first step. What a search finds doesn't depend on who asked: the
 * hits of one query can be scored for every training example (hindsight experience replay, Andrychowicz et al. 2017).
 * So each word of the catalogue is searched for once; for each example the words that brought something relevant are
 * tried for real, as a completion that the policy could have written; what the reward likes best is kept, and the policy
 * begins by imitating it. Nothing but the recommender's answers and the task's own reward is used.
 */
import { RecommenderError } from "../core/errors.ts";
import type { Example } from "../datasets/examples.ts";
import { relevantIds } from "../ranking/judgments.ts";
import type { Hit } from "../recommenders/recommender.ts";
import { searchAll } from "./search.ts";
import type { SearchOutcome } from "./search.ts";
import { relevantOf } from "./task.ts";
import type { Warmup, WarmupContext, WarmupExample } from "./task.ts";

export interface HindsightOptions<E> {
  /** Words (or short phrases) that the catalogue uses. Each is searched for once. */
  probes(): readonly string[] | Promise<readonly string[]>;
  /** The completion with which a policy would ask for these words. Default: the words with spaces between them. */
  write?(words: readonly string[], example: E): string;
  /** Most words of a completion. Default 3. */
  maxWords?: number;
  /** Hits looked at for each probe. Default 1000. */
  probeDepth?: number;
  /** Probes tried for each example, those that ranked something relevant highest. Default 16. */
  candidates?: number;
  /**
   * Examples for which a probe must bring something relevant, or it isn't tried. What helps a single example, a part
   * number say, can be learnt by heart and helps nobody else. Default 3.
   */
  minExamples?: number;
  /**
   * Words to try for an example besides those that were found for it: its own, say, for tasks in which writing one
   * again gives it weight (`expandQuery` with `repeat`). Default: none.
   */
  alsoTry?(example: E): readonly string[];
  /** A further word must raise the reward by more than this. Default 0.02. */
  minGain?: number;
  /**
   * Words of a long example itself, for tasks in which writing one again gives it weight (`expandQuery` with `repeat`).
   * They are probes, too; those that bring something relevant are written first, in the order given here, unless the
   * reward is higher without them. Default: none.
   */
  own?(example: E): readonly string[];
  /** Most of the example's own words that are written, those that rank something relevant highest. Default 8. */
  maxOwn?: number;
}

/** Queries of one call to the recommender. */
const searchBatch = 512;

/**
 * A warm-up whose texts are the best completions found for the training examples. Examples for which nothing relevant
 * has a probe, or nothing beats asking for no word, teach to write no word; those whose first searches failed are left out.
 * @throws TaskError when examples have no `relevant`
 */
export function hindsightWarmup<E extends object = Example>(options: HindsightOptions<E>): Warmup<E> {
  return { examples: (context) => findCompletions(options, context) };
}

/** An example on its way to its best completion. */
interface Search<E> {
  example: E;
  /** Its own words that are worth writing. */
  own: readonly string[];
  /** Words to try besides. */
  candidates: readonly string[];
  /** The best so far, with its reward. */
  words: readonly string[];
  reward: number;
  /** Whether the last word added was worth it. */
  isOpen: boolean;
}

/** Greedy: own words, the best word to add to them, and so on. All examples take a round together. */
async function findCompletions<E extends object>(
  options: HindsightOptions<E>,
  context: WarmupContext<E>,
): Promise<WarmupExample[]> {
  const { maxWords = 3, minGain = 0.02, write = (words) => words.join(" ") } = options;
  const found = await findCandidates(options, context);
  const searches = context.train.map(({ example }, i): Search<E> => {
    return { example, ...(found[i] as Candidates), words: [], reward: -Infinity, isOpen: true };
  });
  for (let length = 0; length <= maxWords; length++) {
    const attempts = searches
      .filter(({ isOpen }) => isOpen)
      .flatMap((search) => {
        search.isOpen = false;
        const { words, own, candidates, example } = search;
        const more = candidates.filter((word) => !words.includes(word)).map((word) => [...words, word]);
        const tried = length > 0 ? more : own.length > 0 ? [own, []] : [[]];
        return tried.map((words) => ({ search, bar: search.reward, words, completion: write(words, example) }));
      });
    const rewards = await scoreAttempts(attempts, context, length);
    attempts.forEach(({ search, bar, words }, i) => {
      const reward = rewards[i] as number;
      if (reward > search.reward && (length === 0 || reward > bar + minGain)) {
        Object.assign(search, { words, reward, isOpen: true });
      }
    });
  }
  // Where the searches that all others build on failed, nothing is known, which is no reason to teach silence.
  return searches
    .filter(({ reward }) => reward !== -Infinity)
    .map(({ example, words }) => ({ messages: context.task.prompt(example), completion: write(words, example) }));
}

/** Words worth trying for an example, those that rank something relevant highest first. */
interface Candidates {
  /** Of its own, in the order in which it has them. */
  own: string[];
  candidates: string[];
}

async function findCandidates<E extends object>(
  {
    probes,
    own: ownWords = () => [],
    alsoTry = () => [],
    maxOwn = 8,
    probeDepth = 1000,
    candidates = 16,
    minExamples = 3,
  }: HindsightOptions<E>,
  context: WarmupContext<E>,
): Promise<Candidates[]> {
  const own_E = context.train.map(({ example }) => [...new Set(ownWords(example))]);
  const general = new Set(await probes());
  const words = [...new Set([...general, ...own_E.flat()])];
  const foundBy = new Map<string, { word: string; rank: number }[]>();
  for await (const [word, outcome] of searchInBatches(
    words,
    probeDepth,
    "searching for the catalogue's words",
    context,
  )) {
    if (!("hits" in outcome)) continue;
    outcome.hits.forEach(({ id }, rank) => {
      const found = foundBy.get(id);
      if (found) found.push({ word, rank });
      else foundBy.set(id, [{ word, rank }]);
    });
  }
  const ranks_E = context.train.map(({ example }) => {
    const ranks = new Map<string, number>();
    for (const { word, rank } of relevantIds(relevantOf(example)).flatMap((id) => foundBy.get(id) ?? [])) {
      ranks.set(word, Math.min(rank, ranks.get(word) ?? Infinity));
    }
    return ranks;
  });
  const examplesOf = new Map<string, number>();
  for (const ranks of ranks_E) for (const word of ranks.keys()) examplesOf.set(word, (examplesOf.get(word) ?? 0) + 1);
  return ranks_E.map((ranks, e) => {
    const best = [...ranks].sort((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1)).map(([word]) => word);
    const own = own_E[e] as string[];
    const isOwn = new Set(own);
    const kept = new Set(best.filter((word) => isOwn.has(word)).slice(0, maxOwn));
    const isShared = (word: string): boolean => general.has(word) && (examplesOf.get(word) as number) >= minExamples;
    const found = best.filter((word) => isShared(word) && !isOwn.has(word));
    const { example } = context.train[e] as (typeof context.train)[number];
    return {
      own: own.filter((word) => kept.has(word)),
      candidates: [...new Set([...found.slice(0, candidates), ...alsoTry(example)])].filter((word) => !kept.has(word)),
    };
  });
}

/** Rewards of completions, as if the policy had written them; −Infinity where the search failed. */
async function scoreAttempts<E extends object>(
  attempts: readonly { search: Search<E>; completion: string }[],
  context: WarmupContext<E>,
  length: number,
): Promise<number[]> {
  const { task } = context;
  const rewards = new Array<number>(attempts.length).fill(-Infinity);
  const score = async (i: number, query: string | null, hits: Hit[] | null): Promise<void> => {
    const { search, completion } = attempts[i] as (typeof attempts)[number];
    rewards[i] = (await task.reward({ example: search.example, query, hits, completion })).reward;
  };
  const attemptsOf = new Map<string, number[]>();
  for (const [i, { search, completion }] of attempts.entries()) {
    const query = task.parse(completion, search.example);
    const same = query === null ? undefined : attemptsOf.get(query);
    if (query === null) await score(i, null, null);
    else if (same) same.push(i);
    else attemptsOf.set(query, [i]);
  }
  const asked = [...attemptsOf.keys()];
  const doing = `trying queries with ${length} words more`;
  for await (const [query, outcome] of searchInBatches(asked, task.topK, doing, context)) {
    if (!("hits" in outcome)) continue;
    for (const i of attemptsOf.get(query) as number[]) await score(i, query, outcome.hits);
  }
  return rewards;
}

/** Asks each query once and gives its outcome; hits are not kept, since all together they may not fit into memory. */
async function* searchInBatches<E extends object>(
  queries: readonly string[],
  topK: number,
  doing: string,
  { recommender, signal, maxFailureShare, onProgress }: WarmupContext<E>,
): AsyncGenerator<[query: string, outcome: SearchOutcome]> {
  const unique = [...new Set(queries)];
  const maxFailures = maxFailureShare * unique.length;
  let [done, failures] = [0, 0];
  for (let start = 0; start < unique.length; start += searchBatch) {
    const batch = unique.slice(start, start + searchBatch);
    const limits = { topK, maxFailures: maxFailures - failures, ...(signal ? { signal } : {}) };
    for (const [query, outcome] of await searchAll(recommender, batch, limits)) {
      done++;
      if ("failure" in outcome && ++failures > maxFailures) {
        throw new RecommenderError(
          "TOO_MANY_FAILURES",
          `${recommender.name} failed on ${failures} of ${done} queries while ${doing}; the last one: ${outcome.failure}`,
        );
      }
      yield [query, outcome];
    }
    onProgress(doing, done, unique.length);
  }
}
