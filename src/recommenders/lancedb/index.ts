/**
 * LanceDB's full-text search, in this process: BM25 (k1 1.2, b 0.75) over the text of a catalogue's items. The default
 * recommender; needs no server.
 *
 * A query is plain text and never syntax: its words are a bag, any of which may match, and a word that comes twice
 * counts twice. Quotes, brackets, `+`, `-`, `*`, `:` and the like only separate words; `AND`, `OR` and `NOT` are
 * English stop words and fall away (with other stop words they are words to search for). No phrase, field, wildcard or
 * fuzzy search can come out of a text. A query without words, or with stop words only, finds nothing.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { createRowChecker, emptyCatalogueError, readCatalogueRows } from "../../core/catalogue.ts";
import type { CatalogueRow } from "../../core/catalogue.ts";
import { sha256OfFile, sha256OfJson } from "../../core/checksum.ts";
import { toDataError } from "../../core/data-lines.ts";
import { ConfigError, RecommenderError, throwIfAborted } from "../../core/errors.ts";
import type { Hit, Query, Recommender, SearchOptions } from "../recommender.ts";
import { RunningCalls } from "../running-calls.ts";
import { checkTopK } from "../validate.ts";
import { resolveAnalysis, toFtsOptions, toMatchQuery, type AnalysisOptions } from "./analysis.ts";
import {
  closeIndex,
  inMemory,
  openOrBuildIndex,
  textColumn,
  type IndexProgress,
  type OpenIndex,
} from "./build-index.ts";
import { loadNative, type Lance } from "./native.ts";
import { orderFound, type Found } from "./order-found.ts";
import { raceAbort } from "../race-abort.ts";

export {
  englishStopWords,
  maxQueryWords,
  stemmerLanguages,
  type AnalysisOptions,
  type StemmerLanguage,
} from "./analysis.ts";
export { inMemory, type IndexProgress } from "./build-index.ts";

export interface LanceDbOptions extends AnalysisOptions {
  /** Fields whose text is searched, as one bag of words. One or more. */
  text: readonly string[];
  /** Field that holds the item's id, a string or a whole number. Default `id`. */
  id?: string;
  /** Fields kept in the index and given with every hit as its payload. Default: those of `text`. */
  store?: readonly string[];
  /**
   * Folder of indexes; each has a folder of its own in it, named after contents and settings, and is used again while
   * they are the same. `memory://` ({@link inMemory}) keeps it in memory. Default `.rec-r1/index` for files,
   * `memory://` for rows.
   */
  indexDir?: string;
  /** Queries asked at once. Default 8. */
  concurrency?: number;
  /** Stops building the index. */
  signal?: AbortSignal;
  /** Told while the index is built, and once when it is ready. */
  onProgress?: (progress: IndexProgress) => void;
}

/** Part of every index's identity; counted up when what we store or ask changes. */
const indexFormat = 1;

/** Hits fetched beyond `topK`, so that ties at the cut are usually seen whole at the first asking. */
const tieMargin = 64;

/** Ties at the cut that are put in order; past these, LanceDB's own choice of them stands. */
const maxTies = 4096;

type Rows = { digest: () => Promise<string>; read: () => AsyncIterable<CatalogueRow>; defaultDir: string };

function checkFieldNames(option: string, names: unknown, allowEmpty: boolean): void {
  const good = Array.isArray(names) && names.every((name) => typeof name === "string" && name !== "");
  if (good && (allowEmpty || names.length > 0)) return;
  throw new ConfigError(
    "CONFIG_BAD_FIELDS",
    `lancedb: ${option} is ${JSON.stringify(names) ?? String(names)}; expected a list of field names such as ["title"].`,
  );
}

function checkWhole(option: string, value: unknown): void {
  if (typeof value === "number" && Number.isInteger(value) && value >= 1) return;
  throw new ConfigError(
    "CONFIG_BAD_NUMBER",
    `lancedb: ${option} is ${String(value)}; expected a whole number, 1 or more.`,
  );
}

async function* checkRows(
  rows: Iterable<object>,
  options: { idField?: string; textFields: readonly string[] },
): AsyncGenerator<CatalogueRow> {
  const checker = createRowChecker(options, (line) => `row ${line}`);
  let number = 0;
  for (const row of rows) yield checker.check(row as Record<string, unknown>, ++number);
  if (number === 0) throw emptyCatalogueError("rows");
}

/** BM25 full-text search over a catalogue, in this process. */
export class LanceDbRecommender implements Recommender {
  readonly name = "lancedb";
  readonly #lance: Lance;
  readonly #index: OpenIndex;
  readonly #fingerprint: string;
  readonly #concurrency: number;
  readonly #running = new RunningCalls();
  #closed = false;

  private constructor(lance: Lance, index: OpenIndex, key: string, concurrency: number) {
    this.#lance = lance;
    this.#index = index;
    this.#fingerprint = `lancedb:${key}`;
    this.#concurrency = concurrency;
  }

  /**
   * Opens the index of a JSON Lines catalogue, and builds it where there is none of these contents and settings yet.
   * @throws DataError when the file can't be read, has no rows, lacks a field or uses an id twice (with lines);
   * ConfigError on unusable options; RecR1Error when the index can't be written; RecommenderError when LanceDB fails;
   * AbortError
   */
  static async fromJsonl(path: string, options: LanceDbOptions): Promise<LanceDbRecommender> {
    const { signal } = options;
    return LanceDbRecommender.#open(options, {
      digest: () =>
        sha256OfFile(path).catch((error: unknown) => {
          throw toDataError(error, path);
        }),
      read: () => readCatalogueRows(path, { ...catalogueOptions(options), ...(signal ? { signal } : {}) }),
      defaultDir: join(".rec-r1", "index"),
    });
  }

  /**
   * The same for rows that are in memory; their index is, too, unless `indexDir` says otherwise.
   * @throws as {@link fromJsonl}
   */
  static async fromRows(rows: Iterable<object>, options: LanceDbOptions): Promise<LanceDbRecommender> {
    const list = [...rows];
    return LanceDbRecommender.#open(options, {
      digest: () => Promise.resolve(sha256OfJson(list)),
      read: () => checkRows(list, catalogueOptions(options)),
      defaultDir: inMemory,
    });
  }

  static async #open(options: LanceDbOptions, rows: Rows): Promise<LanceDbRecommender> {
    const storedFields = options.store ?? options.text;
    const concurrency = options.concurrency ?? 8;
    checkFieldNames("text", options.text, false);
    checkFieldNames("store", storedFields, true);
    checkWhole("concurrency", concurrency);
    const analysis = resolveAnalysis(options);
    throwIfAborted(options.signal);
    const contents = await rows.digest();
    const { lance, version } = await loadNative();
    const identity = { format: indexFormat, version, contents, ...catalogueOptions(options), storedFields };
    const key = createHash("sha256")
      .update(JSON.stringify({ ...identity, fts: toFtsOptions(analysis) }))
      .digest("hex");
    const index = await openOrBuildIndex({
      key,
      readRows: rows.read,
      storedFields,
      analysis,
      indexDir: options.indexDir ?? rows.defaultDir,
      signal: options.signal,
      onProgress: options.onProgress,
    });
    return new LanceDbRecommender(lance, index, key, concurrency);
  }

  /** Items in the catalogue. */
  get size(): number {
    return this.#index.items.size;
  }

  /**
   * Hits of each query, by score, ties by id (code units ascending). Equal texts are asked once; at most `concurrency`
   * queries are asked at a time.
   * @throws RecommenderError when `topK` isn't a whole number above 0 or LanceDB fails; AbortError
   */
  async search(queries: readonly Query[], { topK, signal }: SearchOptions): Promise<Hit[][]> {
    checkTopK(this.name, topK);
    throwIfAborted(signal);
    this.#checkOpen();
    const texts = [...new Set(queries.map(({ text }) => text))];
    const answers = new Map<string, Hit[]>();
    let next = 0;
    let failed = false;
    const work = async (): Promise<void> => {
      while (next < texts.length && !failed && !signal?.aborted) {
        const text = texts[next++] as string;
        answers.set(text, await this.#ask(text, topK));
      }
    };
    const workers = Array.from({ length: Math.min(this.#concurrency, texts.length) }, () =>
      work().catch((error: unknown) => {
        failed = true;
        throw error;
      }),
    );
    // Closing waits for the workers, also where the caller was told of an abort or a failure before they ended.
    for (const worker of workers) void this.#running.track(worker);
    await raceAbort(Promise.all(workers), signal);
    throwIfAborted(signal);
    return queries.map(({ text }) => (answers.get(text) as Hit[]).slice());
  }

  async #ask(text: string, topK: number): Promise<Hit[]> {
    const words = toMatchQuery(text, textColumn, this.#lance as never);
    if (!words) return [];
    const { table, items } = this.#index;
    const most = Math.min(items.size, topK + maxTies);
    let limit = Math.min(most, topK + tieMargin);
    for (;;) {
      let found: Found;
      try {
        const query = table.query().fullTextSearch(words).select(["_score"]).withRowId().limit(limit);
        found = orderFound(await query.toArrow(), items);
      } catch (cause) {
        if (cause instanceof RecommenderError) throw cause;
        throw new RecommenderError(
          "RECOMMENDER_FAILED",
          `lancedb: could not search for ${JSON.stringify(text.slice(0, 80))}: ${(cause as Error).message}`,
          { cause },
        );
      }
      const { places, scores } = found;
      const isWhole = places.length < limit || limit === most;
      if (isWhole || (scores[limit - 1] as number) < (scores[topK - 1] as number)) {
        const length = Math.min(topK, places.length);
        return Array.from({ length }, (_, i) => {
          const place = places[i] as number;
          return { id: items.idAt(place), score: scores[i] as number, payload: items.payloadAt(place) };
        });
      }
      limit = Math.min(most, limit * 4);
    }
  }

  fingerprint(): Promise<string> {
    return Promise.resolve(this.#fingerprint);
  }

  has(id: string): Promise<boolean> {
    return Promise.resolve(this.#index.items.has(id));
  }

  /** Waits for searches under way and frees the index. A second call does nothing. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#running.settled();
    closeIndex(this.#index);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #checkOpen(): void {
    if (this.#closed) {
      throw new RecommenderError("RECOMMENDER_CLOSED", "lancedb: was closed; nothing can be asked of it any more.");
    }
  }
}

function catalogueOptions(options: LanceDbOptions): { idField: string; textFields: readonly string[] } {
  return { idField: options.id ?? "id", textFields: options.text };
}
