/** What can be asked of the embedded search engine, checked and with defaults filled in. */
import { ConfigError } from "../../core/errors.ts";
import type { EncoderOptions, SentenceEncoder } from "../../encoders/index.ts";
import { resolveAnalysis, type Analysis, type AnalysisOptions } from "./analysis.ts";
import { checkFilterFields, toWhere, type Filter, type FilterFields } from "./filter.ts";
import { resolveFusion, type Fusion, type FusionOptions } from "./fusion.ts";
import { resolveVectorIndex, type VectorIndex, type VectorIndexOptions } from "./vector-index.ts";

/** `memory://`: the index is kept in memory and gone when it is closed. */
export const inMemory = "memory://";

export const searchKinds = ["bm25", "dense", "hybrid"] as const;
export type SearchKind = (typeof searchKinds)[number];

export interface IndexProgress {
  /** `reading`: rows are stored (and encoded); `indexing`: all rows are, the indexes are made; `ready`: it can be asked. */
  stage: "reading" | "indexing" | "ready";
  /** Rows so far. */
  rows: number;
  /** Rows that there will be. */
  total: number;
}

export interface LanceDbOptions extends AnalysisOptions {
  /**
   * Fields whose text is searched. A list: as one bag of words. Weights by field, such as `{ title: 3, text: 1 }`: each
   * field has statistics of its own, and a score is the weighted sum of the fields' scores.
   */
  text: readonly string[] | Readonly<Record<string, number>>;
  /** Field that holds the item's id, a string or a whole number. Default `id`. */
  id?: string;
  /** Fields kept in the index and given with every hit as its payload. Default: those of `text`. */
  store?: readonly string[];
  /** `bm25`: by words; `dense`: by sentence vectors; `hybrid`: by both. Default `bm25`. */
  search?: SearchKind;
  /**
   * For `dense` and `hybrid`: a known name or a Hugging Face folder, with options if need be, or an encoder that is
   * open, which stays the caller's to close. Default all-MiniLM-L6-v2.
   */
  encoder?: string | (EncoderOptions & { source?: string }) | SentenceEncoder;
  /** For `dense` and `hybrid`: exact, or an index for approximate search. Default exact. */
  vectors?: VectorIndexOptions;
  /** For `hybrid`: how the two rankings become one. */
  fusion?: FusionOptions;
  /** Fields that items can be filtered by, and their types. */
  filterFields?: FilterFields;
  /** Which items may answer. Default all. */
  filter?: Filter;
  /**
   * Folder of indexes; each has a folder of its own in it, named after contents and settings, and is used again while
   * they are the same. `memory://` ({@link inMemory}) keeps it in memory. Default `.rec-r1/index` for files,
   * `memory://` for rows.
   */
  indexDir?: string;
  /** Queries asked at once. Default 8. */
  concurrency?: number;
  /** Stops building the index; what is done by then is kept, and the next time goes on from there. */
  signal?: AbortSignal;
  /** Told while the index is built, and once when it is ready. */
  onProgress?: (progress: IndexProgress) => void;
}

/** A column of text with an index of its own. */
export interface TextColumn {
  name: string;
  weight: number;
}

/** Everything about an index and its use but the catalogue. */
export interface Settings {
  idField: string;
  textFields: readonly string[];
  /** One column of all fields, or one for each. */
  textColumns: readonly TextColumn[];
  storedFields: readonly string[];
  filterFields: FilterFields;
  where: string | undefined;
  search: SearchKind;
  analysis: Analysis;
  vectors: VectorIndex;
  fusion: Fusion;
  concurrency: number;
}

/** @throws ConfigError naming the option, what was got and what was expected */
export function resolveOptions(options: LanceDbOptions): Settings {
  const { text, search = "bm25", filterFields = {}, concurrency = 8 } = options;
  const weights = readWeights(text);
  const textFields = weights ? Object.keys(weights) : (text as readonly string[]);
  const storedFields = options.store ?? textFields;
  checkFieldNames("text", textFields, false);
  checkFieldNames("store", storedFields, true);
  checkWhole("concurrency", concurrency);
  if (!searchKinds.includes(search)) {
    const expected = searchKinds.join(", ");
    throw new ConfigError("CONFIG_BAD_SEARCH", `lancedb: search is ${String(search)}; expected one of ${expected}.`);
  }
  checkFilterFields(filterFields);
  return {
    idField: options.id ?? "id",
    textFields,
    textColumns: weights
      ? Object.values(weights).map((weight, i) => ({ name: `text_${i}`, weight }))
      : [{ name: "text", weight: 1 }],
    storedFields,
    filterFields,
    where: toWhere(options.filter ?? {}, filterFields),
    search,
    analysis: resolveAnalysis(options),
    vectors: resolveVectorIndex(options.vectors ?? {}),
    fusion: resolveFusion(options.fusion ?? {}),
    concurrency,
  };
}

/** Weights by field; undefined where `text` is something else. @throws ConfigError on a weight that isn't above 0 */
function readWeights(text: unknown): Record<string, number> | undefined {
  if (typeof text !== "object" || text === null || Array.isArray(text)) return undefined;
  for (const [field, weight] of Object.entries(text)) {
    if (typeof weight === "number" && Number.isFinite(weight) && weight > 0) continue;
    throw new ConfigError(
      "CONFIG_BAD_FIELDS",
      `lancedb: text gives "${field}" the weight ${String(weight)}; expected a number above 0.`,
    );
  }
  return text as Record<string, number>;
}

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
