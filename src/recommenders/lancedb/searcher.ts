/** Asks an open index: by words, by vectors, or both; each answer as places in the catalogue with scores. */
import { RecommenderError, throwIfAborted } from "../../core/errors.ts";
import type { SentenceEncoder } from "../../encoders/encoder.ts";
import { raceAbort } from "../race-abort.ts";
import { RunningCalls } from "../running-calls.ts";
import { toMatchQuery } from "./analysis.ts";
import type { OpenIndex } from "./build-index.ts";
import { vectorColumn } from "./fill-table.ts";
import { fuse } from "./fusion.ts";
import type { Lance } from "./native.ts";
import type { Settings } from "./options.ts";
import { orderFound, type Found } from "./order-found.ts";
import { countProbes } from "./vector-index.ts";

/** Hits fetched beyond those wanted, so that ties at the cut are usually seen whole at the first asking. */
const tieMargin = 32;

/** Ties at the cut that are put in order; past these, LanceDB's own choice of them stands. */
const maxTies = 4096;

/** Queries that are encoded and compared at once. */
const vectorBlock = 256;

const nothing: Found = { places: [], scores: [] };

export interface Asking {
  /** How many hits are wanted. */
  topK: number;
  /** Which items may answer, as SQL. */
  where: string | undefined;
  signal: AbortSignal | undefined;
}

export class Searcher {
  readonly #lance: Lance;
  readonly #index: OpenIndex;
  readonly #settings: Settings;
  readonly #encoder: SentenceEncoder | undefined;
  /** Which items a filter lets through, by its SQL. */
  readonly #allowed = new Map<string, Promise<Uint8Array>>();
  readonly running = new RunningCalls();

  constructor(lance: Lance, index: OpenIndex, settings: Settings, encoder: SentenceEncoder | undefined) {
    this.#lance = lance;
    this.#index = index;
    this.#settings = settings;
    this.#encoder = encoder;
  }

  /** Answers to `texts`, which differ. @throws RecommenderError, EngineError, AbortError */
  async search(texts: readonly string[], asking: Asking): Promise<Found[]> {
    const { search, fusion } = this.#settings;
    if (search === "bm25") return this.#searchWords(texts, asking);
    if (search === "dense") return this.#searchVectors(texts, asking);
    const candidates = { ...asking, topK: Math.max(asking.topK, fusion.depth) };
    const [words, vectors] = await Promise.all([
      this.#searchWords(texts, candidates),
      this.#searchVectors(texts, candidates),
    ]);
    const { ranks } = this.#index.items.idOrder;
    return texts.map((_, i) => {
      const { places, scores } = fuse(
        words[i] as Found,
        vectors[i] as Found,
        fusion,
        (place) => ranks[place] as number,
      );
      return { places: places.slice(0, asking.topK), scores: scores.slice(0, asking.topK) };
    });
  }

  /** At most `concurrency` queries at a time. */
  async #searchWords(texts: readonly string[], asking: Asking): Promise<Found[]> {
    return this.#runAll(texts, asking.signal, async (text) => {
      const words = toMatchQuery(text, this.#settings.textColumns, this.#lance as never);
      return words ? this.#askWords(words, text, asking) : nothing;
    });
  }

  async #askWords(words: ReturnType<typeof toMatchQuery> & object, text: string, asking: Asking): Promise<Found> {
    const { topK, where } = asking;
    const { table, items } = this.#index;
    const most = Math.min(items.size, topK + maxTies);
    let limit = Math.min(most, topK + tieMargin);
    for (;;) {
      const found = await this.#guard(text, async () => {
        const query = table.query().fullTextSearch(words).select(["_score"]).withRowId().limit(limit);
        return orderFound(await (where === undefined ? query : query.where(where)).toArrow(), items);
      });
      const { places, scores } = found;
      const isWhole = places.length < limit || limit === most;
      if (isWhole || (scores[limit - 1] as number) < (scores[topK - 1] as number)) {
        return { places: places.slice(0, topK), scores: scores.slice(0, topK) };
      }
      limit = Math.min(most, limit * 4);
    }
  }

  /** A text without a letter or a digit has no meaning to compare, and finds nothing. */
  async #searchVectors(texts: readonly string[], asking: Asking): Promise<Found[]> {
    const encoder = this.#encoder as SentenceEncoder;
    const answers = texts.map(() => nothing);
    const asked = texts.flatMap((text, i) => (/[\p{L}\p{N}]/u.test(text) ? [i] : []));
    for (let start = 0; start < asked.length; start += vectorBlock) {
      throwIfAborted(asking.signal);
      const block = asked.slice(start, start + vectorBlock);
      const blockTexts = block.map((i) => texts[i] as string);
      const signal = asking.signal ? { signal: asking.signal } : {};
      const work = async (): Promise<Found[]> => {
        const vectors = await encoder.encode(blockTexts, "query", signal);
        return this.#index.exact
          ? this.#compareAll(vectors, asking)
          : this.#askAnn(blockTexts, vectors, encoder.dimensions, asking);
      };
      const found = await raceAbort(this.running.track(work()), asking.signal);
      block.forEach((i, j) => (answers[i] = found[j] as Found));
    }
    return answers;
  }

  async #compareAll(vectors: Float32Array, { topK, where, signal }: Asking): Promise<Found[]> {
    const { exact, items } = this.#index;
    const allowed = where === undefined ? undefined : await this.#findAllowed(where);
    return (exact as NonNullable<typeof exact>).search(vectors, Math.min(topK, items.size), { allowed, signal });
  }

  #askAnn(
    texts: readonly string[],
    vectors: Float32Array,
    dimensions: number,
    { topK, where, signal }: Asking,
  ): Promise<Found[]> {
    const { table, items } = this.#index;
    const limit = Math.min(items.size, topK + tieMargin);
    const probes = countProbes(this.#settings.vectors, items.size);
    return this.#runAll(texts, signal, async (text, i) => {
      const vector = vectors.slice(i * dimensions, (i + 1) * dimensions);
      const { places, scores } = await this.#guard(text, async () => {
        const nearest = table.query().nearestTo(vector).column(vectorColumn).distanceType("dot").nprobes(probes);
        const query = nearest.select(["_distance"]).withRowId().limit(limit);
        return orderFound(await (where === undefined ? query : query.where(where)).toArrow(), items, "_distance");
      });
      return { places: places.slice(0, topK), scores: scores.slice(0, topK) };
    });
  }

  /** Which items `where` lets through, by place; looked up once. */
  #findAllowed(where: string): Promise<Uint8Array> {
    let allowed = this.#allowed.get(where);
    if (!allowed) {
      const { table, items } = this.#index;
      allowed = this.#guard(where, async () => {
        const mask = new Uint8Array(items.size);
        for await (const batch of table.query().where(where).select(["id"]).withRowId()) {
          const rowIds = batch.getChild("_rowid")?.toArray() as BigUint64Array;
          for (const rowId of rowIds) mask[items.indexOf(Number(rowId))] = 1;
        }
        return mask;
      });
      this.#allowed.set(where, allowed);
      allowed.catch(() => this.#allowed.delete(where));
    }
    return allowed;
  }

  async #guard<T>(text: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof RecommenderError) throw cause;
      throw new RecommenderError(
        "RECOMMENDER_FAILED",
        `lancedb: could not search for ${JSON.stringify(text.slice(0, 80))}: ${(cause as Error).message}`,
        { cause },
      );
    }
  }

  /** `ask` for each text, a few at a time; stops at the first failure and when `signal` fires. */
  async #runAll(
    texts: readonly string[],
    signal: AbortSignal | undefined,
    ask: (text: string, index: number) => Promise<Found>,
  ): Promise<Found[]> {
    const answers: Found[] = new Array<Found>(texts.length);
    let next = 0;
    let failed = false;
    const work = async (): Promise<void> => {
      while (next < texts.length && !failed && !signal?.aborted) {
        const index = next++;
        answers[index] = await ask(texts[index] as string, index);
      }
    };
    const workers = Array.from({ length: Math.min(this.#settings.concurrency, texts.length) }, () =>
      work().catch((error: unknown) => {
        failed = true;
        throw error;
      }),
    );
    // Closing waits for the workers, also where the caller was told of an abort or a failure before they ended.
    for (const worker of workers) void this.running.track(worker);
    await raceAbort(Promise.all(workers), signal);
    throwIfAborted(signal);
    return answers;
  }
}
