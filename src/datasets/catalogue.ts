/** A whole catalogue in memory, for tasks and reports that look items up. Indexing streams it instead. */
import { readCatalogueRows, type CatalogueOptions, type CatalogueRow } from "../core/catalogue.ts";
import type { ReadLinesOptions } from "../core/data-lines.ts";

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
