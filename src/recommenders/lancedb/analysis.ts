/**
 * How text becomes terms, for items and queries alike: LanceDB's counterpart of Lucene's EnglishAnalyzer. And how a
 * query's plain text is put to LanceDB, so that nothing in it is syntax.
 */
import type { FtsOptions, FullTextQuery } from "@lancedb/lancedb";
import { ConfigError } from "../../core/errors.ts";

/** Stop words of Lucene's EnglishAnalyzer (`EnglishAnalyzer.ENGLISH_STOP_WORDS_SET`, Lucene 9). */
export const englishStopWords: readonly string[] = (
  "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this " +
  "to was will with"
).split(" ");

/** Languages that LanceDB has a stemmer for (Snowball). */
export const stemmerLanguages = [
  "Arabic",
  "Danish",
  "Dutch",
  "English",
  "Finnish",
  "French",
  "German",
  "Greek",
  "Hungarian",
  "Italian",
  "Norwegian",
  "Portuguese",
  "Romanian",
  "Russian",
  "Spanish",
  "Swedish",
  "Tamil",
  "Turkish",
] as const;
export type StemmerLanguage = (typeof stemmerLanguages)[number];

export interface AnalysisOptions {
  /** Language of the stemmer. Default `English`. */
  language?: StemmerLanguage;
  /** Whether words are reduced to their stems. Default true. */
  stem?: boolean;
  /**
   * Words that are left out of items and queries: a list, true for LanceDB's list for the language, false for none.
   * Default: Lucene's 33 words for English, LanceDB's list for other languages.
   */
  stopWords?: boolean | readonly string[];
  /** Whether accents are dropped (`café` finds `cafe`). Default false, as in Lucene's EnglishAnalyzer. */
  foldAccents?: boolean;
}

/** Every setting that decides which terms a text has; part of the index's identity. */
export interface Analysis {
  language: StemmerLanguage;
  stem: boolean;
  /** True: LanceDB's own list. */
  stopWords: true | string[];
  foldAccents: boolean;
}

/** The options with defaults filled in. @throws ConfigError on an unknown language or a stop word that isn't text. */
export function resolveAnalysis(options: AnalysisOptions): Analysis {
  const language = options.language ?? "English";
  if (!stemmerLanguages.includes(language)) {
    throw new ConfigError(
      "CONFIG_UNKNOWN_LANGUAGE",
      `Unknown language "${String(language)}"; expected one of ${stemmerLanguages.join(", ")}.`,
    );
  }
  const stopWords = options.stopWords ?? (language === "English" ? englishStopWords : true);
  const list = stopWords === true ? true : stopWords === false ? [] : stopWords;
  if (list !== true && !(Array.isArray(list) && list.every((word) => typeof word === "string"))) {
    throw new ConfigError("CONFIG_BAD_STOP_WORDS", "stopWords: expected true, false or a list of words.");
  }
  return {
    language,
    stem: options.stem ?? true,
    stopWords: list === true ? true : [...new Set(list.map((word) => word.toLowerCase()))].sort(),
    foldAccents: options.foldAccents ?? false,
  };
}

/** Settings of LanceDB's full-text index; its BM25 has k1 1.2 and b 0.75. */
export function toFtsOptions(analysis: Analysis): Partial<FtsOptions> {
  const { stopWords } = analysis;
  return {
    // Words as in Unicode's UAX #29, which Lucene's StandardTokenizer follows, too.
    baseTokenizer: "icu",
    lowercase: true,
    language: analysis.language,
    stem: analysis.stem,
    removeStopWords: stopWords === true || stopWords.length > 0,
    ...(stopWords === true ? {} : { customStopWords: stopWords }),
    asciiFolding: analysis.foldAccents,
    // Lucene's longest token, in characters.
    maxTokenLength: 255,
    // Positions serve phrase queries only, and plain text has none.
    withPosition: false,
  };
}

/**
 * Text as it is indexed and asked: typographic apostrophes are straightened, so that the stemmer drops a possessive
 * `’s` as Lucene's EnglishPossessiveFilter does.
 */
export function normalizeText(text: string): string {
  return text.replace(/[\u2019\uff07]/g, "'");
}

/** Distinct words of a query that are asked; further ones are left out. Lucene's `maxClauseCount` is the same. */
export const maxQueryWords = 1024;

/** Repetitions from which equal words are asked once with a boost. */
const repetitionLimit = 32;

/** LanceDB's query classes, which come with the library when it is loaded. */
export interface QueryClasses {
  MatchQuery: new (query: string, column: string, options: { operator: never; boost?: number }) => FullTextQuery;
  BooleanQuery: new (queries: [never, FullTextQuery][]) => FullTextQuery;
}

/**
 * A query's plain text as a bag of words, any of which may match in any of the columns; undefined where it has no
 * words. A word that comes n times counts n times, as in Anserini's bag-of-words queries; scores of columns are added
 * up by weight.
 */
export function toMatchQuery(
  text: string,
  columns: readonly { name: string; weight: number }[],
  classes: QueryClasses,
): FullTextQuery | undefined {
  const { MatchQuery, BooleanQuery } = classes;
  const anyWord = "OR" as never;
  const queries = groupWords(text).flatMap(({ words, count }) =>
    columns.map(({ name, weight }) => new MatchQuery(words, name, { operator: anyWord, boost: count * weight })),
  );
  if (queries.length <= 1) return queries[0];
  return new BooleanQuery(queries.map((query): [never, FullTextQuery] => ["SHOULD" as never, query]));
}

/** A text's words, by how often they are to count. */
function groupWords(text: string): { words: string; count: number }[] {
  const words = normalizeText(text)
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  if (words.length === 0) return [];
  const counts = new Map<string, number>();
  for (const word of words) {
    const count = counts.get(word);
    if (count !== undefined) counts.set(word, count + 1);
    else if (counts.size < maxQueryWords) counts.set(word, 1);
  }
  if (words.length - counts.size < repetitionLimit) {
    const asked = counts.size < maxQueryWords ? words : words.filter((word) => counts.has(word));
    return [{ words: asked.join(" "), count: 1 }];
  }
  // A policy that got stuck repeats a word a thousand times; LanceDB's cost grows with every repetition, so words are
  // gathered by how often they come. Scores are the same up to rounding.
  const wordsByCount = new Map<number, string[]>();
  for (const [word, count] of counts) {
    const group = wordsByCount.get(count);
    if (group) group.push(word);
    else wordsByCount.set(count, [word]);
  }
  return [...wordsByCount].map(([count, group]) => ({ words: group.join(" "), count }));
}
