/** Who had what, in which order: lines of {"history": [item ids, oldest first], "target": item id, "user"?}. */
import { readJsonl } from "../../core/data-lines.ts";
import { DataError } from "../../core/errors.ts";

export interface Interaction {
  /** Oldest first. */
  history: readonly string[];
  /** What came next. */
  target: string;
  /** Rows of one user may repeat parts of one history. */
  user?: string;
}

const isId = (value: unknown): value is string | number =>
  (typeof value === "string" && value !== "") || (typeof value === "number" && Number.isSafeInteger(value));

/** Interactions of a JSON Lines file. @throws DataError naming file, line, field and what was expected; AbortError */
export async function readInteractions(
  path: string,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<Interaction[]> {
  const rows: Interaction[] = [];
  for await (const { line, value } of readJsonl(path, options.signal ? { signal: options.signal } : {})) {
    const { history, target, user } = value;
    const fail = (field: string, expected: string): DataError =>
      new DataError("DATA_BAD_FIELD", `${path} line ${line}: "${field}" must be ${expected}.`, {
        details: { path, line },
      });
    if (!Array.isArray(history) || !history.every(isId)) throw fail("history", "a list of item ids, oldest first");
    if (!isId(target)) throw fail("target", "an item id");
    if (user !== undefined && user !== null && !isId(user)) throw fail("user", "a user id, or left out");
    const known = user === undefined || user === null ? {} : { user: String(user) };
    rows.push({ history: history.map(String), target: String(target), ...known });
  }
  if (rows.length === 0) throw new DataError("DATA_EMPTY", `${path}: there are no interactions in it.`);
  return rows;
}
