/** A whole catalogue in memory, for tasks and reports that look items up. Indexing streams it instead. */
import { readCatalogueRows, type CatalogueOptions, type CatalogueRow } from "../core/catalogue.ts";
import type { ReadLinesOptions } from "../core/data-lines.ts";
import { distinctWords } from "../core/words.ts";

/** Items by id, in the file's order. */
export type Catalogue = ReadonlyMap<string, CatalogueRow>;

/**
 * All items of a JSON Lines catalogue.
 * @throws DataError when the file can't be read, has no rows, a field is missing or of the wrong type, or two rows have
 * the same id (both lines are named). @throws AbortError
 */
export async function readCatalogue(path: string, options: CatalogueOptions & ReadLinesOptions): Promise<Catalogue> {
  const catalogue = new Map<string, CatalogueRow>();
  for await (const row of readCatalogueRows(path, options)) catalogue.set(row.id, row);
  return catalogue;
}

/**
 * The words that a catalogue's texts use, each once, in the order in which they come: what a search for good queries by
 * hindsight tries.
 * @param path a JSON Lines catalogue
 * @throws DataError as {@link readCatalogue}
 */
export async function readCatalogueWords(
  path: string,
  options: CatalogueOptions & ReadLinesOptions,
): Promise<string[]> {
  const words = new Set<string>();
  for await (const { texts } of readCatalogueRows(path, options)) {
    for (const text of texts) for (const word of distinctWords(text)) words.add(word);
  }
  return [...words];
}
