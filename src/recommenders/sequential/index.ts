/**
 * A next-item model (SASRec, or counts of what came after what) as a recommender. It knows histories of items and no
 * words, so a query's text becomes a history: each line is looked up among the items' titles, and the item found takes
 * the line's place, oldest first. What comes next is the answer. With `wordWeight`, the text's own words re-weight it.
 *
 * - A line that is an item's title, letter for letter but for case and spaces, is that item (the first by id where
 *   several have that title); otherwise it is BM25's best hit for the line. A line that finds nothing is left out.
 * - The last lines count, as many as the model's longest history; a text of which no line finds anything finds nothing.
 * - The score is that of the model (SASRec: log p(item | history); counts: how often it came after) + wordWeight · (BM25
 *   of the whole text in the item's title / the largest such).
 * - With `wordsLast`, the last line selects no item: it is only words, and the only ones that re-weight. A text of one
 *   line is then answered by its words alone.
 */
import { createHash } from "node:crypto";
import { readCatalogueRows, type CatalogueRow } from "../../core/catalogue.ts";
import { ConfigError, DataError, throwIfAborted } from "../../core/errors.ts";
import { inMemory, LanceDbRecommender } from "../lancedb/index.ts";
import { Lifetime } from "../lifetime.ts";
import { raceAbort } from "../race-abort.ts";
import type { Hit, Query, Recommender, SearchOptions } from "../recommender.ts";
import { readInteractions } from "./interactions.ts";
import type { NextItems } from "./next-items.ts";
import { SequentialModel } from "./sequential-model.ts";
import { SuccessorModel, type SuccessorOptions } from "./successors.ts";

export { readInteractions, type Interaction } from "./interactions.ts";
export type { ItemVectors } from "./item-vectors.ts";
export { SequentialModel } from "./sequential-model.ts";
export type { NextItems } from "./next-items.ts";
export { SuccessorModel, type SuccessorOptions } from "./successors.ts";
export { trainSequential, type SequentialProgress, type TrainSequentialOptions } from "./train-sequential.ts";

export interface SequentialOptions {
  /** Fields of the catalogue whose text lines are looked up in. Default `["title"]`. */
  text?: readonly string[];
  /** Field that holds the item's id. Default `id`. */
  id?: string;
  /** Fields given with every hit as its payload. Default: those of `text`. */
  store?: readonly string[];
  /** How much the text's own words re-weight what comes next; see above. Default 0: not at all. */
  wordWeight?: number;
  /** Whether the last line of a text is only words. Default false. */
  wordsLast?: boolean;
  signal?: AbortSignal;
}

/** Characters of a text that are read. */
const maxCharacters = 1_000_000;

const normalizeTitle = (text: string): string => text.trim().replace(/\s+/g, " ").toLowerCase();

/** What of the catalogue's text lines are looked up in. */
interface Titles {
  search: LanceDbRecommender;
  /** Fields that payloads have. */
  stored: readonly string[];
  /** Ids by title. */
  exact: ReadonlyMap<string, string>;
  payloads: ReadonlyMap<string, Readonly<Record<string, unknown>>>;
}

async function readTitles(path: string, options: SequentialOptions): Promise<Titles> {
  const { text = ["title"], id = "id", signal } = options;
  const rows: CatalogueRow[] = [];
  const signals = signal ? { signal } : {};
  for await (const row of readCatalogueRows(path, { idField: id, textFields: text, ...signals })) rows.push(row);
  const exact = new Map<string, string>();
  const payloads = new Map<string, Readonly<Record<string, unknown>>>();
  const stored = options.store ?? text;
  for (const row of rows.toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
    const title = normalizeTitle(row.texts.join(" "));
    if (!exact.has(title)) exact.set(title, row.id);
    const kept = stored.filter((field) => Object.hasOwn(row.fields, field)).map((field) => [field, row.fields[field]]);
    payloads.set(row.id, Object.freeze(Object.fromEntries(kept) as Record<string, unknown>));
  }
  const search = await LanceDbRecommender.fromJsonl(path, { text, id, store: [], indexDir: inMemory, ...signals });
  return { search, stored, exact, payloads };
}

function checkWordWeight({ wordWeight = 0 }: SequentialOptions): void {
  if (Number.isFinite(wordWeight) && wordWeight >= 0) return;
  throw new ConfigError("CONFIG_BAD_NUMBER", `sequential: wordWeight is ${wordWeight}; expected 0 or more.`);
}

export class SequentialRecommender implements Recommender {
  readonly name = "sequential";
  readonly #model: NextItems;
  readonly #titles: Titles;
  readonly #wordWeight: number;
  readonly #wordsLast: boolean;
  readonly #lifetime = new Lifetime(this.name);

  private constructor(model: NextItems, titles: Titles, { wordWeight = 0, wordsLast = false }: SequentialOptions) {
    this.#model = model;
    this.#titles = titles;
    this.#wordWeight = wordWeight;
    this.#wordsLast = wordsLast;
  }

  /**
   * Counts what came after what in a file of histories, and recommends by that ({@link SuccessorModel}).
   * @param histories JSON Lines file of histories and targets
   * @param catalogue JSON Lines file of the items, with their titles
   * @throws DataError, ConfigError, AbortError
   */
  static async fromHistories(
    histories: string,
    catalogue: string,
    options: SequentialOptions & SuccessorOptions = {},
  ): Promise<SequentialRecommender> {
    checkWordWeight(options);
    const { signal } = options;
    const interactions = await readInteractions(histories, { signal });
    const titles = await readTitles(catalogue, options);
    try {
      const model = SuccessorModel.count([...titles.payloads.keys()], interactions, options);
      return new SequentialRecommender(model, titles, options);
    } catch (error) {
      await titles.search.close();
      throw error;
    }
  }

  /**
   * @param model a folder that {@link SequentialModel.save} wrote, or a model, which is then this one's to close
   * @param catalogue JSON Lines file of the items, with their titles
   * @throws ModelError, DataError where the catalogue is unusable or lacks an item of the model, ConfigError, AbortError
   */
  static async open(
    model: string | NextItems,
    catalogue: string,
    options: SequentialOptions = {},
  ): Promise<SequentialRecommender> {
    checkWordWeight(options);
    throwIfAborted(options.signal);
    const loaded = typeof model === "string" ? await SequentialModel.load(model) : model;
    const titles = await readTitles(catalogue, options);
    const missing = loaded.items.find((id) => !titles.payloads.has(id));
    if (missing !== undefined) {
      await titles.search.close();
      throw new DataError(
        "DATA_UNKNOWN_ITEM",
        `${catalogue}: lacks the item "${missing}", which the model recommends. Give the catalogue it was trained on.`,
      );
    }
    return new SequentialRecommender(loaded, titles, options);
  }

  /** Items that can be recommended. */
  get size(): number {
    return this.#model.items.length;
  }

  /** @throws RecommenderError when `topK` isn't a whole number above 0; EngineError when the model can't be run; AbortError */
  async search(queries: readonly Query[], options: SearchOptions): Promise<Hit[][]> {
    this.#lifetime.admit(options);
    const { topK, signal } = options;
    const texts = [...new Set(queries.map(({ text }) => text))];
    const work = this.#lifetime.track(this.#answer(texts, topK, signal));
    const answers = new Map((await raceAbort(work, signal)).map((hits, i) => [texts[i] as string, hits]));
    return queries.map(({ text }) => (answers.get(text) as Hit[]).slice());
  }

  async #answer(texts: readonly string[], topK: number, signal: AbortSignal | undefined): Promise<Hit[][]> {
    const lines = texts.map((text) =>
      text
        .slice(0, maxCharacters)
        .split(/[\r\n]+/)
        .filter((line) => line.trim() !== ""),
    );
    const words = lines.map((own, i) => (this.#wordsLast ? (own.pop() ?? "") : (texts[i] as string)));
    const histories = await this.#findHistories(lines, signal);
    const scores = await this.#model.score(histories, { signal });
    if (this.#wordsLast) words.forEach((own, i) => own && (scores[i] ??= new Float32Array(this.size)));
    if (this.#wordWeight > 0) await this.#addWords(words, scores, signal);
    return scores.map((own) =>
      own
        ? this.#model.best(own, topK).map((hit) => ({
            ...hit,
            payload: this.#titles.payloads.get(hit.id) as Readonly<Record<string, unknown>>,
          }))
        : [],
    );
  }

  /** The history that each text's lines describe, oldest first. */
  async #findHistories(lines: readonly (readonly string[])[], signal: AbortSignal | undefined): Promise<string[][]> {
    const { exact, search } = this.#titles;
    const unknown = [...new Set(lines.flat().filter((line) => !exact.has(normalizeTitle(line))))];
    const found = await search.search(
      unknown.map((text) => ({ text })),
      { topK: 1, ...(signal ? { signal } : {}) },
    );
    const itemOf = new Map(unknown.map((line, i) => [line, found[i]?.[0]?.id]));
    return lines.map((own) => own.flatMap((line) => exact.get(normalizeTitle(line)) ?? itemOf.get(line) ?? []));
  }

  /** Adds to each text's scores what its words say. */
  async #addWords(
    texts: readonly string[],
    scores: readonly (Float32Array | undefined)[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const answers = await this.#titles.search.search(
      texts.map((text) => ({ text: text.slice(0, maxCharacters) })),
      { topK: this.#titles.search.size, ...(signal ? { signal } : {}) },
    );
    answers.forEach((hits, i) => {
      const own = scores[i];
      const largest = hits[0]?.score;
      if (!own || largest === undefined) return;
      for (const { id, score } of hits) {
        const item = this.#model.numberOf(id);
        if (item !== undefined) own[item] = (own[item] as number) + (this.#wordWeight * score) / largest;
      }
    });
  }

  async fingerprint(): Promise<string> {
    const titles = await this.#titles.search.fingerprint();
    const settings = [this.#wordWeight, this.#wordsLast, this.#titles.stored];
    const parts = JSON.stringify([this.#model.fingerprint, titles, ...settings]);
    return `sequential:${createHash("sha256").update(parts).digest("hex")}`;
  }

  has(id: string): Promise<boolean> {
    return Promise.resolve(this.#model.numberOf(id) !== undefined);
  }

  /** Waits for searches under way and frees the model. A second call does nothing. */
  async close(): Promise<void> {
    await this.#lifetime.end(() => Promise.all([this.#model.close(), this.#titles.search.close()]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
