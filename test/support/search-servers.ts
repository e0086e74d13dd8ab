/** Servers with the word index behind them: a JSON API, and as much of OpenSearch's REST API as is used. */
import { createHash } from "node:crypto";
import { indexWords } from "./count-words.ts";
import type { TitledItem } from "./count-words.ts";
import { startServer } from "./local-server.ts";
import type { LocalServer, Received, Reply } from "./local-server.ts";

const checksum = (items: readonly TitledItem[]): string =>
  createHash("sha256").update(JSON.stringify(items)).digest("hex");

/**
 * `GET /search?q=&n=`, `POST /search` with `{q, n}`, `POST /batch` with `{qs, n}`, `GET /version`. Hits are
 * `{sku, rank: {score}, title}`.
 */
export async function startJsonApi(items: readonly TitledItem[]): Promise<LocalServer> {
  const index = indexWords(items);
  const find = (text: string, n: number): unknown[] =>
    index.search(text, n).map(({ id, score, title }) => ({ sku: id, rank: { score }, title }));
  const version = checksum(items);
  return startServer(({ method, path, body }): Reply => {
    const { pathname, searchParams } = new URL(path, "http://localhost");
    if (pathname === "/version") return { json: { build: version } };
    if (method === "GET") {
      return { json: { results: find(searchParams.get("q") ?? "", Number(searchParams.get("n"))) } };
    }
    const { q, qs, n } = JSON.parse(body) as { q: string; qs: string[]; n: number };
    if (pathname === "/search") return { json: { results: find(q, n) } };
    return { json: { answers: qs.map((text) => ({ results: find(text, n) })) } };
  });
}

/** A multi-search's lines in pairs. */
export function readSearches(body: string): { header: Record<string, unknown>; search: Record<string, unknown> }[] {
  const lines = body
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return Array.from({ length: lines.length / 2 }, (_, i) => ({
    header: lines[2 * i] as Record<string, unknown>,
    search: lines[2 * i + 1] as Record<string, unknown>,
  }));
}

/** A response of a multi-search. */
export function toResponse(hits: readonly { id: string; score: unknown; title?: string }[]): object {
  return {
    status: 200,
    timed_out: false,
    _shards: { total: 1, successful: 1, failed: 0 },
    hits: {
      hits: hits.map(({ id, score, title }) => ({ _index: "items", _id: id, _score: score, _source: { title } })),
    },
  };
}

/** `match` on the title, `ids`, settings, mapping and statistics of the index `items`. */
export async function startFakeOpenSearch(items: readonly TitledItem[]): Promise<LocalServer> {
  const index = indexWords(items);
  const uuid = checksum(items).slice(0, 22);
  const searchOne = (search: Record<string, unknown>): object => {
    const { query, size } = search as { query: { match: { title: string } }; size: number };
    return toResponse(index.search(query.match.title, size));
  };
  const answerGet = (path: string): Reply => {
    if (path.includes("_settings")) return { json: { items: { settings: { "index.uuid": uuid } } } };
    if (path.includes("_mapping")) return { json: { items: { mappings: {} } } };
    const shard = { routing: { primary: true }, docs: { count: items.length }, seq_no: { max_seq_no: items.length } };
    return { json: { indices: { items: { shards: { 0: [shard] } } } } };
  };
  return startServer(({ method, path, body }: Received): Reply => {
    if (path.startsWith("/_msearch")) {
      return { json: { responses: readSearches(body).map(({ search }) => searchOne(search)) } };
    }
    if (method === "GET") return answerGet(path);
    const { query } = JSON.parse(body) as { query: { ids: { values: string[] } } };
    const found = query.ids.values.filter((id) => index.ids.has(id));
    return { json: toResponse(found.map((id) => ({ id, score: 1 }))) };
  });
}
