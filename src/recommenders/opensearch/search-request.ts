/** What is sent to `_msearch`, and what its responses mean. Knows nothing of connections. */
import { ConfigError, RecommenderError } from "../../core/errors.ts";
import { statusError } from "../http-failures.ts";
import { JsonTemplate } from "../json-template.ts";
import type { Json, JsonPlace } from "../json-template.ts";
import type { Hit } from "../recommender.ts";
import { reasonOf } from "./connect.ts";

/** Queries that read their text as a language of their own. */
export const syntaxQueries = ["query_string", "simple_query_string", "regexp", "wildcard"] as const;
export type SyntaxQuery = (typeof syntaxQueries)[number];

export interface RequestOptions {
  /** Index, alias, pattern or list of these. */
  index: string;
  /**
   * The query clause, with the blank `{{query}}`, and `{{vector}}` and `{{topK}}` where they are wanted:
   * `{ match: { title: "{{query}}" } }`.
   */
  query?: Json;
  /** More of the search body, such as `min_score`, `rescore`, `knn` or `search_pipeline`; may have the same blanks. */
  body?: Readonly<Record<string, Json>>;
  /** Field of the id in the stored document. Default `_id`, the document's own. */
  id?: string;
  /** Fields of the stored document that are given with a hit. Default: none. */
  payload?: readonly string[];
  /** A keyword or numeric field by which equal scores are ordered; without it, shards and copies decide. */
  tieBreaker?: string;
  /** Asks the same copies of the shards every time. Default `rec-r1`. */
  preference?: string;
  /** Words of a text that are searched for, from its start; servers refuse queries of many clauses. Default 512. */
  maxQueryWords?: number;
  /** Queries that read text as syntax and may hold the blank all the same. Default: none. */
  allowSyntax?: readonly SyntaxQuery[];
}

const blanks = ["query", "vector", "topK"];

/** Parts of a body that we set ourselves. */
const reserved = ["query", "size", "from", "_source"];

/** Builds search bodies and reads responses. */
export class SearchRequest {
  readonly #name: string;
  readonly #options: RequestOptions;
  readonly #template: JsonTemplate;
  readonly #maxWords: number;

  /** @throws ConfigError `CONFIG_BAD_TEMPLATE` */
  constructor(name: string, options: RequestOptions) {
    this.#name = name;
    this.#options = options;
    this.#maxWords = options.maxQueryWords ?? 512;
    const bad = (fault: string): ConfigError => new ConfigError("CONFIG_BAD_TEMPLATE", `${name}: ${fault}`);
    const wrong = Object.keys(options.body ?? {}).find((key) => reserved.includes(key));
    if (wrong !== undefined) {
      throw bad(`body.${wrong} is set by other options (query, topK, payload); leave it out.`);
    }
    const template = { ...(options.query === undefined ? {} : { query: options.query }), ...options.body };
    this.#template = new JsonTemplate(name, template, blanks);
    const places = this.#template.placesOf("query");
    if (places.length === 0 && !this.needsVector) {
      throw bad("the query has no blank {{query}}, so every text would get the same answer.");
    }
    for (const place of places) {
      const fault = describeSyntax(place, options.allowSyntax ?? []);
      if (fault !== undefined) throw bad(`${place.join(".")} has the blank {{query}}, ${fault}`);
    }
  }

  /** Whether the blank `{{vector}}` is in use. */
  get needsVector(): boolean {
    return this.#template.placesOf("vector").length > 0;
  }

  /** What decides answers, besides contents: for fingerprints. */
  get settings(): Json {
    const { index, id = "_id", tieBreaker = null, payload = [] } = this.#options;
    return [index, this.#template.source, id, tieBreaker, this.#maxWords, payload];
  }

  /** Header and body lines of a multi-search. */
  toLines(texts: readonly string[], vectors: readonly (readonly number[])[] | undefined, topK: number): object[] {
    const { index, preference = "rec-r1", tieBreaker, payload = [], id } = this.#options;
    const fields = [...(id === undefined ? [] : [id]), ...payload];
    return texts.flatMap((text, i) => {
      const values: Record<string, Json> = { query: firstWords(text, this.#maxWords), topK };
      if (vectors) values.vector = vectors[i] as readonly number[];
      const body = {
        ...(tieBreaker === undefined ? {} : { sort: [{ _score: "desc" }, { [tieBreaker]: "asc" }] }),
        track_total_hits: false,
        ...(this.#template.fill(values) as Record<string, Json>),
        size: topK,
        _source: fields.length === 0 ? false : fields,
      };
      return [{ index, preference }, body];
    });
  }

  /**
   * Hits of one of a multi-search's responses.
   * @throws RecommenderError `RECOMMENDER_HTTP_STATUS` for an error, `RECOMMENDER_PARTIAL` where shards failed or time
   * ran out: half an answer is none. `RECOMMENDER_BAD_REPLY`
   */
  readResponse(response: unknown): Hit[] {
    const { error, status, timed_out: isLate, _shards: shards, hits } = (response ?? {}) as RawResponse;
    if (error !== undefined) throw statusError(this.#name, status ?? 500, { body: reasonOf({ error }) });
    if (isLate === true || (shards?.failed ?? 0) > 0) {
      const fault = isLate === true ? "ran out of time" : `failed on ${shards?.failed} of ${shards?.total} shards`;
      throw new RecommenderError(
        "RECOMMENDER_PARTIAL",
        `${this.#name}: the search ${fault}, so its answer isn't whole.`,
        {
          retryable: true,
        },
      );
    }
    const list = hits?.hits;
    if (!Array.isArray(list)) {
      throw new RecommenderError("RECOMMENDER_BAD_REPLY", `${this.#name}: a response has no hits.hits.`);
    }
    // A sort of the caller's own leaves hits without scores; their order is the answer.
    const isRanked = this.#options.body?.sort !== undefined && list.every((hit: RawHit) => hit._score === null);
    return list.map((hit: RawHit, i) => this.#toHit(hit, isRanked ? list.length - i : hit._score));
  }

  #toHit(hit: RawHit, score: unknown): Hit {
    const { id, payload = [] } = this.#options;
    const own = id === undefined ? hit._id : readField(hit._source, id);
    const kept = payload
      .map((field) => [field, readField(hit._source, field)] as const)
      .filter(([, value]) => value !== undefined);
    return {
      id: Number.isSafeInteger(own) ? String(own) : (own as string),
      score: score as number,
      ...(payload.length === 0 ? {} : { payload: Object.fromEntries(kept) }),
    };
  }
}

interface RawHit {
  _id?: unknown;
  _score?: unknown;
  _source?: Record<string, unknown>;
}

interface RawResponse {
  error?: unknown;
  status?: number;
  timed_out?: boolean;
  _shards?: { failed?: number; total?: number };
  hits?: { hits?: unknown };
}

/** What speaks against text at a place; undefined: nothing. */
function describeSyntax(place: JsonPlace, allowed: readonly SyntaxQuery[]): string | undefined {
  const last = String(place.at(-1));
  if (place.includes("wrapper")) return "and a wrapper's text is a query of its own.";
  const isScript = place.includes("script") && ["script", "source", "inline", "id", "lang"].includes(last);
  if (isScript) return "and a script's text is a program. Give the text to the script as one of its params.";
  const syntax = syntaxQueries.find((name) => place.includes(name) && !allowed.includes(name));
  if (syntax === undefined) return undefined;
  return `which ${syntax} reads as syntax. Use match, multi_match or bool, or allow it with allowSyntax: ["${syntax}"].`;
}

function firstWords(text: string, count: number): string {
  const words = text.split(/\s+/, count + 1);
  return words.length <= count ? text : words.slice(0, count).join(" ");
}

/** A field by its name or its dotted path. */
function readField(source: unknown, field: string): unknown {
  if (typeof source !== "object" || source === null) return undefined;
  if (Object.hasOwn(source, field)) return (source as Record<string, unknown>)[field];
  const dot = field.indexOf(".");
  if (dot === -1 || !Object.hasOwn(source, field.slice(0, dot))) return undefined;
  return readField((source as Record<string, unknown>)[field.slice(0, dot)], field.slice(dot + 1));
}
