/**
 * A search with the policy in front, never worse than the search alone: the user's own words are searched for at the same
 * time, and their hits are the answer whenever the policy is late, busy, at a loss, or predicted to do harm.
 */
import { isAbort, withSignals } from "../../core/abort.ts";
import { EngineError, RecommenderError, TaskError } from "../../core/errors.ts";
import { opensFor, overlapOf, predictGain } from "../../eval/rewrite-gate.ts";
import type { RewriteGate } from "../../eval/rewrite-gate.ts";
import type { Hit, Recommender } from "../../recommenders/recommender.ts";
import { validateHits } from "../../recommenders/validate.ts";
import type { Task } from "../../rl/task.ts";
import type { Rewrite, Rewriter } from "./rewriter.ts";

/** Why the hits are those of the user's own words. */
export const rawReasons = [
  "unchanged",
  "no_query",
  "time_limit",
  "busy",
  "no_hits",
  "gate",
  "shadow",
  "rewrite_failed",
  "search_failed",
] as const;
export type RawReason = (typeof rawReasons)[number];

export interface SearchAnswer {
  hits: Hit[];
  /** What was searched for; null where there was nothing to search for. */
  query: string | null;
  /** Whose query found the hits. */
  source: "tuned" | "raw";
  /** Why they are not the policy's. */
  reason?: RawReason;
  rawQuery: string | null;
  /** What the policy wrote, also where its hits were not used; absent where it did not answer in time. */
  tunedQuery?: string | null;
  /** Predicted by the gate, in units of its metric. */
  predictedGain?: number;
  /** Whether the rewrite was remembered. */
  cached?: boolean;
}

/** What both queries found for one request, as shadow mode keeps it. */
export interface ShadowComparison {
  at: string;
  rawQuery: string | null;
  tunedQuery: string | null;
  /** What the answer would have been. */
  source: "tuned" | "raw";
  reason?: RawReason;
  predictedGain?: number;
  /** Share of the first ten hits that both have. */
  overlap: number;
  rawIds: string[];
  tunedIds: string[];
  /** Milliseconds until the policy's hits were there. */
  tunedMs: number;
}

export interface SearchServiceOptions {
  task: Task<object>;
  recommender: Recommender;
  rewriter: Rewriter;
  /** How long the policy may take, its search included, in milliseconds. */
  timeLimitMs: number;
  /** Undefined: every rewrite is used. */
  gate?: RewriteGate;
  /** Given: answers are those of the user's own words, and the comparison is told when it is there. */
  onShadow?: (comparison: ShadowComparison) => void;
  /** Told of failures of engine and recommender that an answer was found in spite of. */
  onFailure?: (error: unknown) => void;
  now?: () => Date;
}

/** Hits that are compared, and asked for at least. */
const depth = 10;

/** In shadow mode nobody waits, so the policy gets so many times its limit before it is given up. */
const shadowPatience = 10;

/** The policy's part of a request. */
type Attempt =
  | { rewrite: Rewrite & { cached: boolean }; hits: Hit[] | null; reason?: undefined }
  | { rewrite?: Rewrite & { cached: boolean }; hits: null; reason: RawReason };

export class SearchService {
  private readonly options: SearchServiceOptions;
  private readonly shadows = new Set<Promise<void>>();
  private readonly closing = new AbortController();

  constructor(options: SearchServiceOptions) {
    this.options = options;
  }

  /**
   * The hits for an example (what the task's functions take), best first.
   * @param topK hits at most
   * @throws RecommenderError where neither query could be searched for; TaskError where the task can't read the example,
   *   or the policy can't be asked and there are no words of the user's
   */
  async search(example: object, topK: number): Promise<SearchAnswer> {
    const { task, onShadow, timeLimitMs } = this.options;
    const rawQuery = task.raw(example);
    const asked = Math.max(topK, depth);
    const start = performance.now();
    const raw = rawQuery === null ? undefined : this.find(rawQuery, asked);
    raw?.catch(() => undefined);
    if (onShadow && raw) {
      this.compareLater(example, { rawQuery: rawQuery as string, raw, asked, start });
      const hits = await raw;
      return { hits: hits.slice(0, topK), query: rawQuery, source: "raw", reason: "shadow", rawQuery };
    }
    // An example that the task can't read is the caller's fault, whatever the search for its words would find.
    task.prompt(example);
    // Where there are no words of the user's to fall back on, the policy is waited for.
    const attempt = await this.attempt(example, { rawQuery, topK: asked, limitMs: raw ? timeLimitMs : Infinity });
    const answer = await this.choose(attempt, rawQuery, raw);
    return { ...answer, hits: answer.hits.slice(0, topK) };
  }

  /**
   * What the policy writes for an example, waited for without a limit.
   * @throws EngineError `ENGINE_BUSY`, TaskError
   */
  rewrite(example: object): Promise<Rewrite & { cached: boolean }> {
    return withSignals([this.closing.signal], (signal) => this.options.rewriter.rewrite(example, signal));
  }

  /** Waits for comparisons under way, or ends them. */
  async close(): Promise<void> {
    this.closing.abort();
    await Promise.all(this.shadows);
  }

  private async find(query: string, topK: number, signal?: AbortSignal): Promise<Hit[]> {
    const { recommender } = this.options;
    const [hits] = await recommender.search([{ text: query }], { topK, ...(signal ? { signal } : {}) });
    return validateHits(recommender.name, { text: query }, hits, topK);
  }

  /** The policy's query and its hits, as far as they come in time. */
  private async attempt(
    example: object,
    { rawQuery, topK, limitMs }: { rawQuery: string | null; topK: number; limitMs: number },
  ): Promise<Attempt> {
    const { rewriter } = this.options;
    const timer = new AbortController();
    const timeout = Number.isFinite(limitMs) ? setTimeout(() => timer.abort(), limitMs) : undefined;
    let rewrite: (Rewrite & { cached: boolean }) | undefined;
    try {
      return await withSignals([timer.signal, this.closing.signal], async (signal): Promise<Attempt> => {
        rewrite = await rewriter.rewrite(example, signal);
        const { query } = rewrite;
        if (query === null) return { rewrite, hits: null, reason: "no_query" };
        if (query === rawQuery) return { rewrite, hits: null, reason: "unchanged" };
        return { rewrite, hits: await this.find(query, topK, signal) };
      });
    } catch (error) {
      if (error instanceof TaskError && rawQuery === null) throw error;
      return { ...(rewrite ? { rewrite } : {}), hits: null, reason: this.explain(error, timer.signal) };
    } finally {
      clearTimeout(timeout);
    }
  }

  private explain(error: unknown, timer: AbortSignal): RawReason {
    if (isAbort(error)) return timer.aborted ? "time_limit" : "rewrite_failed";
    if (error instanceof EngineError && error.code === "ENGINE_BUSY") return "busy";
    this.options.onFailure?.(error);
    return error instanceof RecommenderError ? "search_failed" : "rewrite_failed";
  }

  /** The better of the two answers, as far as that can be told. */
  private async choose(
    attempt: Attempt,
    rawQuery: string | null,
    raw: Promise<Hit[]> | undefined,
  ): Promise<SearchAnswer> {
    const { rewrite, hits } = attempt;
    const shared = {
      rawQuery,
      ...(rewrite ? { tunedQuery: rewrite.query, cached: rewrite.cached } : {}),
    };
    if (!raw) {
      if (attempt.reason === "busy") throw new EngineError("ENGINE_BUSY", "Too many requests wait for the model.");
      if (attempt.reason === "search_failed" || attempt.reason === "rewrite_failed") {
        throw new RecommenderError("NO_ANSWER", "The policy's query could not be searched for.", { retryable: true });
      }
      if (!hits) return { ...shared, hits: [], query: null, source: "raw", reason: attempt.reason ?? "no_query" };
      return { ...shared, hits, query: rewrite.query, source: "tuned" };
    }
    const asRaw = async (reason: RawReason, more: Partial<SearchAnswer> = {}): Promise<SearchAnswer> => {
      return { ...shared, ...more, hits: await raw, query: rawQuery, source: "raw", reason };
    };
    if (!hits) return asRaw(attempt.reason ?? "no_query");
    const tuned = (more: Partial<SearchAnswer> = {}): SearchAnswer => {
      return { ...shared, ...more, hits, query: rewrite.query, source: "tuned" };
    };
    const rawHits = await raw.catch((error: unknown) => {
      this.options.onFailure?.(error);
      return null;
    });
    // The user's own words could not be searched for; the policy's answer is better than none.
    if (!rawHits) return tuned();
    if (hits.length === 0) return asRaw("no_hits");
    const { gate } = this.options;
    if (!gate) return tuned();
    const { query, meanLogprob } = rewrite as Rewrite & { query: string };
    const outcome = { rawQuery: rawQuery as string, rawHits, query, hits, meanLogprob };
    const predictedGain = predictGain(gate, outcome);
    return opensFor(gate, outcome) ? tuned({ predictedGain }) : asRaw("gate", { predictedGain });
  }

  private compareLater(
    example: object,
    { rawQuery, raw, asked, start }: { rawQuery: string; raw: Promise<Hit[]>; asked: number; start: number },
  ): void {
    const { timeLimitMs, onShadow, onFailure, now = () => new Date() } = this.options;
    const compare = async (): Promise<void> => {
      const attempt = await this.attempt(example, { rawQuery, topK: asked, limitMs: shadowPatience * timeLimitMs });
      const tunedMs = performance.now() - start;
      const choice = await this.choose(attempt, rawQuery, raw);
      const isLate = tunedMs > timeLimitMs;
      const rawHits = await raw.catch((): Hit[] => []);
      const tunedHits = attempt.reason === "unchanged" ? rawHits : (attempt.hits ?? []);
      const idsOf = (hits: readonly Hit[]): string[] => hits.slice(0, depth).map(({ id }) => id);
      onShadow?.({
        at: now().toISOString(),
        rawQuery,
        tunedQuery: attempt.rewrite?.query ?? null,
        source: isLate ? "raw" : choice.source,
        ...(isLate ? { reason: "time_limit" as const } : choice.reason ? { reason: choice.reason } : {}),
        ...(choice.predictedGain === undefined ? {} : { predictedGain: choice.predictedGain }),
        overlap: overlapOf(rawHits, tunedHits),
        rawIds: idsOf(rawHits),
        tunedIds: idsOf(tunedHits),
        tunedMs: Math.round(tunedMs),
      });
    };
    const shadow = compare()
      .catch((error: unknown) => onFailure?.(error))
      .finally(() => this.shadows.delete(shadow));
    this.shadows.add(shadow);
  }
}
