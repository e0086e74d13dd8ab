/**
 * From what the policy wrote to the query: plain text, or JSON in an answer block. Parsers return null where there is
 * no query; they never throw, whatever the text.
 */

/** Longest completion that is looked at, in characters; what follows is ignored. */
const longestAnswer = 20_000;

/** Longest query that is passed on, in characters; longer ones are cut at a word. */
const longestQuery = 2_000;

/** Collapses white space, removes control characters, cuts at {@link longestQuery}; null when nothing is left. */
export function cleanQuery(text: string): string | null {
  const clean = text
    // Control characters (terminal escapes among them) and lone surrogates never reach an engine or a log.
    .replace(/[\p{Cc}\p{Cs}]+/gu, " ")
    .replace(/\s+/g, " ")
    .trim();
  if (clean.length <= longestQuery) return clean === "" ? null : clean;
  const cut = clean.slice(0, longestQuery + 1);
  const lastSpace = cut.lastIndexOf(" ");
  return cut.slice(0, lastSpace > 0 ? lastSpace : longestQuery).trim() || null;
}

/**
 * The first line that isn't empty, without the wrapping that chat models like: a label (`Query:`), a list bullet,
 * quotes, backticks, bold. Null when nothing is left.
 */
export function parsePlainAnswer(text: string): string | null {
  for (const line of text.slice(0, longestAnswer).split(/\r?\n/)) {
    const query = cleanQuery(unwrapLine(line));
    if (query !== null) return query;
  }
  return null;
}

function unwrapLine(line: string): string {
  let text = line.trim().replace(/^(?:[-*•]|\d{1,2}[.)])\s+/, "");
  for (;;) {
    const before = text;
    text = text.replace(/^(?:search query|query|answer|output)\s*:\s*/i, "").trim();
    for (const mark of ["**", "```", "`", '"', "'", "“”"]) {
      const [open, close] = mark === "“”" ? ["“", "”"] : [mark, mark];
      if (text.length >= open.length + close.length && text.startsWith(open) && text.endsWith(close)) {
        text = text.slice(open.length, text.length - close.length).trim();
      }
    }
    if (text === before) return text;
  }
}

/**
 * The `query` of the last `<answer>` block (or of the whole text where there is no block) that holds a JSON object
 * with one. Markup around the JSON (code fences, prose) is ignored; a query that is not a string, or nested deeper in
 * the object, does not count.
 */
export function parseJsonAnswer(text: string): string | null {
  for (const block of answerBlocks(text).reverse()) {
    for (const json of topLevelObjects(block).reverse()) {
      const query = queryOf(json);
      if (query !== null) return query;
    }
  }
  return null;
}

/** Contents of all `<answer>` blocks, in order; an unclosed last block runs to the end; the whole text if none. */
export function answerBlocks(text: string): string[] {
  const shown = text.slice(0, longestAnswer);
  const parts = shown.split(/<answer>/i);
  if (parts.length === 1) return [shown];
  return parts.slice(1).map((part) => part.split(/<\/answer>/i)[0] as string);
}

function queryOf(json: string): string | null {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const query = Object.hasOwn(value, "query") ? (value as Record<string, unknown>).query : undefined;
  return typeof query === "string" ? cleanQuery(query) : null;
}

/** Every `{…}` of balanced braces that isn't inside another, braces in JSON strings aside; one pass. */
function topLevelObjects(text: string): string[] {
  const objects: string[] = [];
  let depth = 0;
  let start = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (inString) {
      if (char === "\\") i++;
      else if (char === '"') inString = false;
    } else if (char === "{") {
      if (depth++ === 0) start = i;
    } else if (char === "}" && depth > 0) {
      if (--depth === 0) objects.push(text.slice(start, i + 1));
    } else if (char === '"' && depth > 0) inString = true;
  }
  return objects;
}

/** JSON in an answer block where there is one, else the first line: the default of a task without a parser. */
export function parseAnswer(text: string): string | null {
  if (/<answer>/i.test(text.slice(0, longestAnswer))) return parseJsonAnswer(text);
  const query = parsePlainAnswer(text);
  if (query === null || !query.startsWith("{")) return query;
  return parseJsonAnswer(text);
}

/** The text of the last `<answer>` block that isn't empty, or null: for answers that aren't JSON. */
export function parseTaggedAnswer(text: string): string | null {
  if (!/<answer>/i.test(text.slice(0, longestAnswer))) return null;
  for (const block of answerBlocks(text).reverse()) {
    const query = cleanQuery(block);
    if (query !== null) return query;
  }
  return null;
}

/**
 * Several queries in a completion, one a line, as a fused recommender takes them: `queries` (or `query`) of the last
 * JSON object of an answer block, a list or a text; else the lines of the block, or of the whole text. Null where there
 * is none.
 * @param maxQueries the first so many are kept
 */
export function parseQueries(text: string, maxQueries = 4): string | null {
  const block = answerBlocks(text).at(-1) as string;
  const json = topLevelObjects(block).at(-1);
  const listed = json === undefined ? undefined : queriesOf(json);
  const lines = listed ?? (json === undefined ? block.split(/\r?\n/).map(unwrapLine) : []);
  const queries = lines.map(cleanQuery).filter((query) => query !== null);
  return queries.length === 0 ? null : [...new Set(queries)].slice(0, maxQueries).join("\n");
}

function queriesOf(json: string): string[] | undefined {
  try {
    const { queries, query } = JSON.parse(json) as { queries?: unknown; query?: unknown };
    const given = queries ?? query;
    const list: unknown[] = Array.isArray(given) ? given : [given];
    return list.filter((entry) => typeof entry === "string");
  } catch {
    return undefined;
  }
}
