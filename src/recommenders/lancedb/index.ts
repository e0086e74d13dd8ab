/**
 * LanceDB's search, in this process: BM25 (k1 1.2, b 0.75) over the text of a catalogue's items, sentence vectors, or
 * both. The default recommender; needs no server.
 *
 * A query is plain text and never syntax: its words are a bag, any of which may match, and a word that comes twice
 * counts twice. Quotes, brackets, `+`, `-`, `*`, `:` and the like only separate words; `AND`, `OR` and `NOT` are
 * English stop words and fall away (with other stop words they are words to search for). No phrase, field, wildcard or
 * fuzzy search can come out of a text. A query without words, or with stop words only, finds nothing by its words; one
 * without a letter or a digit finds nothing by its vector.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { createRowChecker, emptyCatalogueError, readCatalogueRows } from "../../core/catalogue.ts";
import type { CatalogueRow } from "../../core/catalogue.ts";
import { digestLines, sha256OfJson } from "../../core/checksum.ts";
import { toDataError } from "../../core/data-lines.ts";
import { throwIfAborted } from "../../core/errors.ts";
import { defaultEncoder, loadEncoder, type SentenceEncoder } from "../../encoders/index.ts";
import { Lifetime } from "../lifetime.ts";
import type { Hit, Query, Recommender, SearchOptions } from "../recommender.ts";
import { toFtsOptions } from "./analysis.ts";
import { closeIndex, openOrBuildIndex, type OpenIndex } from "./build-index.ts";
import { toWhere, type Filter } from "./filter.ts";
import { loadNative } from "./native.ts";
import { inMemory, resolveOptions, type LanceDbOptions, type Settings } from "./options.ts";
import { Searcher } from "./searcher.ts";

export {
  englishStopWords,
  maxQueryWords,
  stemmerLanguages,
  type AnalysisOptions,
  type StemmerLanguage,
} from "./analysis.ts";
export { defaultEncoder, loadEncoder, type EncoderOptions, type SentenceEncoder } from "../../encoders/index.ts";
export type { Condition, Filter, FilterFields, FilterType } from "./filter.ts";
export type { FusionOptions } from "./fusion.ts";
export { inMemory, type IndexProgress, type LanceDbOptions, type SearchKind } from "./options.ts";
export type { VectorIndexOptions } from "./vector-index.ts";

/** Part of every index's identity; counted up when what we store or ask changes. */
const indexFormat = 2;

type Rows = {
  digest: () => Promise<{ sha256: string; lines: number }>;
  read: () => AsyncIterable<CatalogueRow>;
  defaultDir: string;
};

async function* checkRows(
  rows: Iterable<object>,
  options: { idField?: string; textFields: readonly string[] },
): AsyncGenerator<CatalogueRow> {
  const checker = createRowChecker(options, (line) => `row ${line}`);
  let number = 0;
  for (const row of rows) yield checker.check(row as Record<string, unknown>, ++number);
  if (number === 0) throw emptyCatalogueError("rows");
}

/** The encoder that dense search needs, and whether it is ours to close. */
async function openEncoder(
  { encoder: given, signal }: LanceDbOptions,
  { search }: Settings,
): Promise<{ encoder?: SentenceEncoder; isOurs: boolean }> {
  if (search === "bm25") return { isOurs: false };
  if (typeof given === "object" && "encode" in given) return { encoder: given, isOurs: false };
  const { source = defaultEncoder, ...options } = typeof given === "string" ? { source: given } : (given ?? {});
  return { encoder: await loadEncoder(source, { ...options, ...(signal ? { signal } : {}) }), isOurs: true };
}

/** What an index is made of: equal identities mean that it can be used again. */
function identify(contents: string, version: string, settings: Settings, encoder: SentenceEncoder | undefined): string {
  const { idField, textFields, textColumns, storedFields, filterFields, search, analysis, vectors } = settings;
  const identity = {
    ...{ format: indexFormat, version, contents, idField, textFields, storedFields, filterFields },
    columns: textColumns.map(({ name }) => name),
    words: search !== "dense" && toFtsOptions(analysis),
    vectors: encoder !== undefined && [encoder.fingerprint, vectors.index, vectors.partitions],
  };
  return createHash("sha256").update(JSON.stringify(identity)).digest("hex");
}

/** Search over a catalogue, in this process. */
export class LanceDbRecommender implements Recommender {
  readonly name = "lancedb";
  readonly #index: OpenIndex;
  readonly #searcher: Searcher;
  readonly #settings: Settings;
  readonly #key: string;
  /** Frees what is shared, for the one that opened it; views made by {@link filtered} free nothing. */
  readonly #release: (() => Promise<void>) | undefined;
  readonly #lifetime: Lifetime;

  private constructor(
    index: OpenIndex,
    searcher: Searcher,
    settings: Settings,
    key: string,
    owner: { release: () => Promise<void> } | { parent: LanceDbRecommender },
  ) {
    this.#index = index;
    this.#searcher = searcher;
    this.#settings = settings;
    this.#key = key;
    this.#release = "release" in owner ? owner.release : undefined;
    this.#lifetime = new Lifetime(this.name, "parent" in owner ? owner.parent.#lifetime : undefined);
  }

  /**
   * Opens the index of a JSON Lines catalogue, and builds it where there is none of these contents and settings yet.
   * @throws DataError when the file can't be read, has no rows, lacks a field or uses an id twice (with lines);
   * ConfigError on unusable options; ModelError where the encoder can't be had; RecR1Error when the index can't be
   * written; RecommenderError when LanceDB fails; AbortError
   */
  static async fromJsonl(path: string, options: LanceDbOptions): Promise<LanceDbRecommender> {
    const settings = resolveOptions(options);
    const { signal } = options;
    return LanceDbRecommender.#open(options, settings, {
      digest: () =>
        digestLines(path).catch((error: unknown) => {
          throw toDataError(error, path);
        }),
      read: () => readCatalogueRows(path, { ...settings, ...(signal ? { signal } : {}) }),
      defaultDir: join(".rec-r1", "index"),
    });
  }

  /**
   * The same for rows that are in memory; their index is, too, unless `indexDir` says otherwise.
   * @throws as {@link fromJsonl}
   */
  static async fromRows(rows: Iterable<object>, options: LanceDbOptions): Promise<LanceDbRecommender> {
    const settings = resolveOptions(options);
    const list = [...rows];
    return LanceDbRecommender.#open(options, settings, {
      digest: () => Promise.resolve({ sha256: sha256OfJson(list), lines: list.length }),
      read: () => checkRows(list, settings),
      defaultDir: inMemory,
    });
  }

  static async #open(options: LanceDbOptions, settings: Settings, rows: Rows): Promise<LanceDbRecommender> {
    throwIfAborted(options.signal);
    const { sha256: contents, lines: total } = await rows.digest();
    const { lance, version } = await loadNative();
    const { encoder, isOurs } = await openEncoder(options, settings);
    const closeEncoder = async (): Promise<void> => {
      if (isOurs) await encoder?.close();
    };
    try {
      const key = identify(contents, version, settings, encoder);
      const index = await openOrBuildIndex({
        key,
        settings,
        encoder,
        readRows: rows.read,
        indexDir: options.indexDir ?? rows.defaultDir,
        signal: options.signal,
        onProgress: (progress) => options.onProgress?.({ ...progress, total }),
      });
      const searcher = new Searcher(lance, index, settings, encoder);
      const release = async (): Promise<void> => {
        await searcher.running.settled();
        await closeIndex(index);
        await closeEncoder();
      };
      return new LanceDbRecommender(index, searcher, settings, key, { release });
    } catch (error) {
      await closeEncoder();
      throw error;
    }
  }

  /** Items in the catalogue, filtered or not. */
  get size(): number {
    return this.#index.items.size;
  }

  /**
   * The same catalogue of which only items that match `filter` answer (and this one's own filter no longer counts).
   * Statistics of words stay those of the whole catalogue. It uses this one's index and can't be asked after this one
   * is closed.
   * @throws ConfigError on a field that `filterFields` doesn't name, or a condition that doesn't go with its type
   */
  filtered(filter: Filter): LanceDbRecommender {
    const settings = { ...this.#settings, where: toWhere(filter, this.#settings.filterFields) };
    return new LanceDbRecommender(this.#index, this.#searcher, settings, this.#key, { parent: this });
  }

  /**
   * Hits of each query, by score, ties by id (code units ascending). Equal texts are asked once; at most `concurrency`
   * queries are asked at a time.
   * @throws RecommenderError when `topK` isn't a whole number above 0 or LanceDB fails; EngineError when the encoder
   * fails; AbortError
   */
  async search(queries: readonly Query[], options: SearchOptions): Promise<Hit[][]> {
    this.#lifetime.admit(options);
    const { topK, signal } = options;
    const texts = [...new Set(queries.map(({ text }) => text))];
    const found = await this.#lifetime.track(
      this.#searcher.search(texts, { topK, where: this.#settings.where, signal }),
    );
    const { items } = this.#index;
    const answers = new Map(texts.map((text, i) => [text, found[i] as (typeof found)[number]]));
    return queries.map(({ text }) => {
      const { places, scores } = answers.get(text) as (typeof found)[number];
      return places.map((place, i) => ({
        id: items.idAt(place),
        score: scores[i] as number,
        payload: items.payloadAt(place),
      }));
    });
  }

  fingerprint(): Promise<string> {
    const { search, fusion, vectors, textColumns, where } = this.#settings;
    const asked = {
      search,
      where,
      weights: textColumns.map(({ weight }) => weight),
      ...(search === "hybrid" ? { fusion } : {}),
      ...(search !== "bm25" ? { vectors } : {}),
    };
    return Promise.resolve(
      `lancedb:${createHash("sha256")
        .update(`${this.#key}${JSON.stringify(asked)}`)
        .digest("hex")}`,
    );
  }

  has(id: string): Promise<boolean> {
    return Promise.resolve(this.#index.items.has(id));
  }

  /** Waits for searches under way and frees the index. A second call does nothing. */
  async close(): Promise<void> {
    await this.#lifetime.end(this.#release);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
