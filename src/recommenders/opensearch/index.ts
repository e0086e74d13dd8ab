/**
 * OpenSearch, and what speaks its REST API (Elasticsearch), as a recommender: a search body with a blank for the text,
 * sent in multi-searches by the official client. Generated text is only ever a value in the body, and text that a query
 * would read as syntax is refused unless it is asked for.
 */
import type { Client } from "@opensearch-project/opensearch";
import { sha256OfJson } from "../../core/checksum.ts";
import { ConfigError, RecommenderError, throwIfAborted } from "../../core/errors.ts";
import { askInBatches } from "../ask-in-batches.ts";
import { toWellFormed } from "../json-template.ts";
import { Lifetime } from "../lifetime.ts";
import { fingerprintByProbes } from "../probe-fingerprint.ts";
import type { Probes } from "../probe-fingerprint.ts";
import type { Hit, Query, Recommender, SearchOptions } from "../recommender.ts";
import { Resilience } from "../resilience.ts";
import type { ResilienceOptions } from "../resilience.ts";
import { validateHits } from "../validate.ts";
import { callClient, checkNodes, connect } from "./connect.ts";
import type { ConnectOptions } from "./connect.ts";
import { fingerprintContents } from "./contents.ts";
import { SearchRequest } from "./search-request.ts";
import type { RequestOptions } from "./search-request.ts";

export type { Probes } from "../probe-fingerprint.ts";
export type { ResilienceOptions } from "../resilience.ts";
export type { OpenSearchAuth } from "./connect.ts";
export type { SyntaxQuery } from "./search-request.ts";

export interface OpenSearchOptions
  extends RequestOptions, ResilienceOptions, Omit<ConnectOptions, "maxSockets" | "timeoutMs"> {
  /** Queries in one multi-search. Default 32. */
  batchSize?: number;
  /** Vectors of texts, one for each, for the blank `{{vector}}`. */
  embed?: (texts: readonly string[], signal: AbortSignal) => Promise<readonly (readonly number[])[]>;
  /** Query parameter of the multi-search: `dfs_query_then_fetch` makes scores equal over shards. */
  searchType?: "query_then_fetch" | "dfs_query_then_fetch";
  /** Short name for logs and reports. Default `opensearch`. */
  name?: string;
  /**
   * What tells that the server still answers as before. Default: the index's identity, mapping, analysis and last
   * write, which takes the right to read them; otherwise a version that you keep up to date, or queries whose answers
   * are compared.
   */
  fingerprint?: string | Probes;
  /** A client of your own (one that signs for AWS, say), in place of `node`, `auth`, `tls` and `headers`; not closed by us. */
  client?: Client;
}

/** An index of an OpenSearch or Elasticsearch cluster. */
export class OpenSearchRecommender implements Recommender {
  readonly name: string;
  /** Whether the index has a document of this id; absent where ids are a field's. */
  readonly has?: (id: string) => Promise<boolean>;
  readonly #options: OpenSearchOptions;
  readonly #client: Client;
  readonly #request: SearchRequest;
  readonly #resilience: Resilience;
  readonly #lifetime: Lifetime;
  readonly #address: string;

  private constructor(name: string, options: OpenSearchOptions, client: Client, address: string) {
    this.name = name;
    this.#lifetime = new Lifetime(name);
    this.#options = options;
    this.#client = client;
    this.#address = address;
    this.#request = new SearchRequest(name, options);
    this.#resilience = new Resilience(name, options);
    if (this.#request.needsVector && !options.embed) {
      throw new ConfigError("CONFIG_NO_EMBED", `${name}: the blank {{vector}} needs the option embed.`);
    }
    if (options.id === undefined) this.has = (id) => this.#has(id);
  }

  /**
   * Makes a recommender of an index; asks the server nothing yet.
   * @throws ConfigError on unusable options; RecR1Error when `tls.caFile` can't be read
   */
  static async open(options: OpenSearchOptions): Promise<OpenSearchRecommender> {
    const name = options.name ?? "opensearch";
    if (typeof options.index !== "string" || options.index === "") {
      throw new ConfigError("CONFIG_NO_INDEX", `${name}: index is ${String(options.index)}; expected an index's name.`);
    }
    const { concurrency = 8, timeoutMs = 10_000 } = options;
    const client =
      options.client ?? (await connect(name, { ...options, maxSockets: concurrency, timeoutMs: timeoutMs + 1000 }));
    const address = options.client ? "the cluster" : checkNodes(name, options.node).join(", ");
    return new OpenSearchRecommender(name, options, client, address);
  }

  /**
   * Hits of each query. Equal texts are asked once; a text of nothing but white space finds nothing and isn't asked.
   * @throws RecommenderError when the cluster can't be reached, refuses, or answers in part; AbortError
   */
  async search(queries: readonly Query[], searchOptions: SearchOptions): Promise<Hit[][]> {
    this.#lifetime.admit(searchOptions);
    const { topK, signal } = searchOptions;
    const texts = queries.map(({ text }) => toWellFormed(text));
    const answers = await askInBatches(
      texts.filter((text) => text.trim() !== ""),
      (batch, stop) => this.#ask(batch, topK, stop),
      { batchSize: this.#options.batchSize ?? 32, running: this.#lifetime, signal },
    );
    return texts.map((text) => answers.get(text)?.slice() ?? []);
  }

  /** Identifies these settings and the contents, see the option `fingerprint`. @throws RecommenderError */
  async fingerprint(): Promise<string> {
    const settings = sha256OfJson([this.#request.settings, this.#options.searchType ?? null]).slice(0, 32);
    return `${this.name}:${settings}:${await this.#version()}`;
  }

  /** Waits for searches under way and closes the connections. A second call does nothing. */
  async close(): Promise<void> {
    await this.#lifetime.end(async () => {
      if (!this.#options.client) await this.#client.close();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #version(): Promise<string> {
    const { fingerprint, index } = this.#options;
    if (typeof fingerprint === "string") return fingerprint;
    if (fingerprint) return fingerprintByProbes((queries, options) => this.search(queries, options), fingerprint);
    try {
      return await fingerprintContents(this.name, index, {
        get: (path) =>
          this.#call((client) => {
            const [pathname = "", querystring = ""] = path.split("?");
            return client.transport.request({ method: "GET", path: pathname, querystring });
          }),
      });
    } catch (error) {
      if (!(error instanceof RecommenderError) || (error.status !== 403 && error.status !== 405)) throw error;
      throw new RecommenderError(
        error.code,
        `${error.message} Its contents can't be told: allow reading settings, mappings and statistics, or give the option fingerprint, a version or queries to compare.`,
        { cause: error, status: error.status },
      );
    }
  }

  async #ask(texts: readonly string[], topK: number, signal: AbortSignal): Promise<Hit[][]> {
    const vectors = this.#request.needsVector ? await this.#embed(texts, signal) : undefined;
    const answers = new Map<string, Hit[]>();
    await this.#resilience.run(async (attempt) => {
      // Only what isn't answered yet is asked again.
      const open = texts.map((_, i) => i).filter((i) => !answers.has(texts[i] as string));
      const openTexts = open.map((i) => texts[i] as string);
      const openVectors = vectors && open.map((i) => vectors[i] as readonly number[]);
      const body = this.#request.toLines(openTexts, openVectors, topK);
      const { searchType } = this.#options;
      const reply = await this.#start(
        (client) =>
          client.msearch({ body: body as never, ...(searchType === undefined ? {} : { search_type: searchType }) }),
        attempt,
      );
      this.#readInto(answers, openTexts, reply, topK);
    }, signal);
    return texts.map((text) => answers.get(text) as Hit[]);
  }

  /** Files every good response; then throws the first fault, one that may pass before others. */
  #readInto(answers: Map<string, Hit[]>, texts: readonly string[], reply: Record<string, unknown>, topK: number): void {
    const { responses } = reply as { responses?: unknown };
    if (!Array.isArray(responses) || responses.length !== texts.length) {
      const got = Array.isArray(responses) ? `${responses.length} responses` : "no responses";
      throw new RecommenderError("RECOMMENDER_BAD_REPLY", `${this.name}: gave ${got} to ${texts.length} queries.`);
    }
    const faults: unknown[] = [];
    texts.forEach((text, i) => {
      try {
        answers.set(text, validateHits(this.name, { text }, this.#request.readResponse(responses[i]), topK));
      } catch (error) {
        faults.push(error);
      }
    });
    // A fault for good ends the call whatever the others are, so repeating it would be in vain.
    const forGood = faults.find((fault) => !(fault instanceof RecommenderError && fault.retryable));
    if (faults.length > 0) throw forGood ?? faults[0];
  }

  async #embed(texts: readonly string[], signal: AbortSignal): Promise<readonly (readonly number[])[]> {
    const { embed } = this.#options;
    let vectors: unknown;
    try {
      vectors = await embed?.(texts, signal);
    } catch (cause) {
      throwIfAborted(signal);
      if (cause instanceof RecommenderError) throw cause;
      throw new RecommenderError("RECOMMENDER_EMBED_FAILED", `${this.name}: embed: ${(cause as Error).message}`, {
        cause,
      });
    }
    const isGood =
      Array.isArray(vectors) &&
      vectors.length === texts.length &&
      vectors.every((vector) => Array.isArray(vector) && vector.every(Number.isFinite));
    if (isGood) return vectors as number[][];
    throw new RecommenderError(
      "RECOMMENDER_EMBED_FAILED",
      `${this.name}: embed did not give one list of finite numbers for each of ${texts.length} texts.`,
    );
  }

  async #has(id: string): Promise<boolean> {
    const reply = await this.#call((client) =>
      client.search({
        index: this.#options.index,
        body: { query: { ids: { values: [id] } }, size: 1, _source: false },
      } as never),
    );
    return ((reply.hits as { hits?: unknown[] } | undefined)?.hits?.length ?? 0) > 0;
  }

  #call(start: (client: Client) => unknown): Promise<Record<string, unknown>> {
    return this.#lifetime.track(this.#resilience.run((signal) => this.#start(start, signal)));
  }

  #start(start: (client: Client) => unknown, signal: AbortSignal): Promise<Record<string, unknown>> {
    return callClient(this.name, this.#address, () => start(this.#client), signal);
  }
}
