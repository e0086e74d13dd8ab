/**
 * A recommender that remembers: a group's completions repeat themselves, and so do the queries of one evaluation and
 * the next. Knows nothing of what it wraps but the interface.
 */
import { ConfigError, throwIfAborted } from "../core/errors.ts";
import type { AnswerLog } from "./answer-log.ts";
import { CallFigures } from "./call-figures.ts";
import { Lifetime } from "./lifetime.ts";
import { raceAbort } from "./race-abort.ts";
import type { Hit, Query, Recommender, SearchOptions } from "./recommender.ts";
import { areValidHits, checkAnswerCount } from "./validate.ts";

export interface CacheOptions {
  /** Answers kept; the longest unused goes first. Default 20,000. */
  maxEntries?: number;
  /** Hits kept over all answers, which is what bounds the memory. Default 500,000. */
  maxHits?: number;
  /** Answers on disk, looked up when memory has none; closed with the recommender. Default: none. */
  log?: AnswerLog;
  /**
   * How long a fingerprint is believed before the recommender is asked for it again, in milliseconds: one behind a
   * network has to be asked for it. Default 30,000.
   */
  fingerprintEveryMs?: number;
}

export interface CacheStats {
  /** Queries answered from memory, from disk, or by a search that was under way for the same query. */
  hits: number;
  /** Those of them that were answered from disk. */
  diskHits: number;
  /** Queries that the recommender was asked. */
  misses: number;
  /** hits / (hits + misses); 0 before the first query. */
  hitRate: number;
  /** Answers in memory. */
  entries: number;
}

export interface CachedRecommender extends Recommender {
  readonly stats: CacheStats;
  /** How the recommender itself answers. */
  readonly calls: CallFigures;
  /** Forgets the answers in memory, not those on disk; statistics go on. */
  clear(): void;
}

/** Whether a recommender is one of {@link cached}'s. */
export function isCached(recommender: Recommender): recommender is CachedRecommender {
  return (
    "stats" in recommender &&
    "calls" in recommender &&
    typeof (recommender as Partial<CachedRecommender>).clear === "function"
  );
}

interface Pending {
  answer: Promise<Hit[]>;
  /** Callers that still want it; when none does, the search is stopped. */
  waiting: number;
  controller: AbortController;
}

function checkLimit(name: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw new ConfigError("CONFIG_BAD_NUMBER", `cache: ${name} is ${String(value)}; expected a whole number, 1 or more.`);
}

/** Least recently used first out; bounded by entries and by hits. */
class AnswerMemory {
  readonly #answers = new Map<string, readonly Hit[]>();
  readonly #maxEntries: number;
  readonly #maxHits: number;
  #hits = 0;

  constructor(maxEntries: number, maxHits: number) {
    this.#maxEntries = maxEntries;
    this.#maxHits = maxHits;
  }

  get size(): number {
    return this.#answers.size;
  }

  get(key: string): readonly Hit[] | undefined {
    const answer = this.#answers.get(key);
    if (answer) {
      this.#answers.delete(key);
      this.#answers.set(key, answer);
    }
    return answer;
  }

  set(key: string, answer: readonly Hit[]): void {
    this.delete(key);
    this.#answers.set(key, answer);
    this.#hits += answer.length;
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size <= this.#maxEntries && this.#hits <= this.#maxHits) break;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    this.#hits -= this.#answers.get(key)?.length ?? 0;
    this.#answers.delete(key);
  }

  clear(): void {
    this.#answers.clear();
    this.#hits = 0;
  }
}

/**
 * `inner` with a memory of its answers by (fingerprint, query text, topK), and with those on disk where a log is given.
 * A query that is being asked already isn't
 * asked again; failures are not remembered. Closing it closes `inner`.
 * @throws ConfigError when a limit isn't a whole number above 0
 */
export function cached(inner: Recommender, options: CacheOptions = {}): CachedRecommender {
  const memory = new AnswerMemory(
    checkLimit("maxEntries", options.maxEntries ?? 20_000),
    checkLimit("maxHits", options.maxHits ?? 500_000),
  );
  const { log, fingerprintEveryMs = 30_000 } = options;
  const pending = new Map<string, Pending>();
  let hits = 0;
  let misses = 0;
  let diskHits = 0;
  let lastFingerprint = "";
  let fingerprintAt = -Infinity;
  const lifetime = new Lifetime(inner.name);
  const calls = new CallFigures();

  const askFingerprint = async (): Promise<string> => {
    lastFingerprint = await inner.fingerprint();
    fingerprintAt = performance.now();
    return lastFingerprint;
  };

  /** Answers from the log, and for what isn't there from the recommender, in one call. */
  const fetchAnswers = async (
    queries: readonly Query[],
    keys: readonly string[],
    options: SearchOptions,
  ): Promise<Hit[][]> => {
    const answers = log ? await Promise.all(keys.map((key) => log.get(key))) : keys.map(() => undefined);
    const open = answers.flatMap((answer, i) => (answer ? [] : [i]));
    misses += open.length;
    hits += answers.length - open.length;
    diskHits += answers.length - open.length;
    if (open.length === 0) return answers as Hit[][];
    const asked = open.map((i) => queries[i] as Query);
    const found: unknown = await calls.time(asked.length, () => inner.search(asked, options));
    const fresh = checkAnswerCount(inner.name, asked, found);
    open.forEach((i, place) => (answers[i] = fresh[place] as Hit[]));
    const good = open.filter((i) => areValidHits(answers[i], options.topK));
    void log?.add(good.map((i) => [keys[i] as string, answers[i] as Hit[]] as const));
    return answers as Hit[][];
  };

  /** Asks for all queries in one call, and files the answers under their keys. */
  const askInner = (queries: readonly Query[], keys: readonly string[], topK: number): Pending[] => {
    const controller = new AbortController();
    const call = lifetime.track(fetchAnswers(queries, keys, { topK, signal: controller.signal }));
    // The call is stopped when nobody waits for any of its queries any more.
    let wanted = keys.length;
    return keys.map((key, i) => {
      const own = new AbortController();
      own.signal.addEventListener("abort", () => {
        if (pending.get(key) === entry) pending.delete(key);
        if (--wanted === 0) controller.abort();
      });
      const answer = call.then(
        (answers) => {
          if (pending.get(key) === entry) {
            pending.delete(key);
            // A faulty answer isn't remembered: the next may be better.
            if (areValidHits(answers[i], topK)) memory.set(key, answers[i]);
          }
          return answers[i] as Hit[];
        },
        (error: unknown) => {
          if (pending.get(key) === entry) pending.delete(key);
          throw error;
        },
      );
      // Callers that were stopped no longer listen; a failure that nobody hears must not end the process.
      answer.catch(() => undefined);
      const entry: Pending = { answer, waiting: 0, controller: own };
      pending.set(key, entry);
      return entry;
    });
  };

  const search = async (queries: readonly Query[], searchOptions: SearchOptions): Promise<Hit[][]> => {
    lifetime.admit(searchOptions);
    const { topK, signal } = searchOptions;
    const isKnown = performance.now() - fingerprintAt < fingerprintEveryMs;
    const fingerprint = isKnown ? lastFingerprint : await raceAbort(askFingerprint(), signal);
    throwIfAborted(signal);
    const known = new Map<string, readonly Hit[]>();
    const awaited = new Map<string, Pending>();
    const missing = new Map<string, Query>();
    const keys = queries.map(({ text }) => JSON.stringify([fingerprint, topK, text]));
    queries.forEach((query, i) => {
      const key = keys[i] as string;
      if (known.has(key) || awaited.has(key) || missing.has(key)) {
        hits++;
        return;
      }
      const answer = memory.get(key);
      const underWay = answer ? undefined : pending.get(key);
      if (answer) known.set(key, answer);
      else if (underWay) awaited.set(key, underWay);
      else missing.set(key, query);
      if (!missing.has(key)) hits++;
    });
    if (missing.size > 0) {
      const missingKeys = [...missing.keys()];
      askInner([...missing.values()], missingKeys, topK).forEach((entry, i) => {
        awaited.set(missingKeys[i] as string, entry);
      });
    }
    for (const entry of awaited.values()) entry.waiting++;
    try {
      await raceAbort(Promise.all([...awaited].map(async ([key, { answer }]) => known.set(key, await answer))), signal);
    } finally {
      for (const entry of awaited.values()) if (--entry.waiting === 0) entry.controller.abort();
    }
    return keys.map((key) => (known.get(key) as readonly Hit[]).slice());
  };

  return {
    name: inner.name,
    search: (queries, searchOptions) => lifetime.track(search(queries, searchOptions)),
    fingerprint: askFingerprint,
    ...(inner.has ? { has: (id: string) => (inner.has as (id: string) => Promise<boolean>)(id) } : {}),
    close: () =>
      lifetime.end(async () => {
        memory.clear();
        await log?.close();
        await inner.close();
      }),
    calls,
    get stats() {
      const all = hits + misses;
      return { hits, diskHits, misses, hitRate: all === 0 ? 0 : hits / all, entries: memory.size };
    },
    clear: () => memory.clear(),
  };
}
