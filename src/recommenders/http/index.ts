/**
 * Any JSON API as a recommender: a request with blanks for the query, JSON paths for the hits. Generated text is only
 * ever a value in it, in the URL percent-encoded.
 */
import { sha256OfJson } from "../../core/checksum.ts";
import { ConfigError, RecommenderError, throwIfAborted } from "../../core/errors.ts";
import { askInBatches } from "../ask-in-batches.ts";
import { connectionError, startOf, statusError } from "../http-failures.ts";
import { blanksOf, fillBlanks, JsonTemplate, toWellFormed } from "../json-template.ts";
import type { Json } from "../json-template.ts";
import { Lifetime } from "../lifetime.ts";
import { fingerprintByProbes } from "../probe-fingerprint.ts";
import type { Probes } from "../probe-fingerprint.ts";
import type { Hit, Query, Recommender, SearchOptions } from "../recommender.ts";
import { Resilience } from "../resilience.ts";
import type { ResilienceOptions } from "../resilience.ts";
import { validateHits } from "../validate.ts";
import { parseReply, ReplyReader } from "./reply.ts";
import type { ReplyPaths } from "./reply.ts";
import { HttpConnection, parseAddress } from "./request.ts";
import type { HttpExchange, TlsOptions } from "./request.ts";

export type { Probes } from "../probe-fingerprint.ts";
export type { ResilienceOptions } from "../resilience.ts";
export type { ReplyPaths } from "./reply.ts";
export type { TlsOptions } from "./request.ts";

/** Something the API says about its own version. */
export interface VersionEndpoint {
  /** Asked with GET and the same headers; on the same origin. */
  url: string;
  /** JSON path of the version. Default `$`: the whole reply. */
  path?: string;
}

export interface HttpOptions extends ReplyPaths, ResilienceOptions {
  /** Address; `{{query}}` and `{{topK}}` in its path and query string are filled in, percent-encoded. */
  url: string;
  /** Default: POST with a body, GET without. */
  method?: "GET" | "POST";
  /** JSON with the blanks `{{query}}` and `{{topK}}`; for several queries at once `{{queries}}`, a list of texts. */
  body?: Json;
  /** Sent with every request; no blanks. Not part of the fingerprint, so that a token may change. */
  headers?: Readonly<Record<string, string>>;
  /** Queries in one request, where `body` has `{{queries}}`. Default 32. */
  batchSize?: number;
  tls?: TlsOptions;
  /** Short name for logs and reports. Default `http`. */
  name?: string;
  /**
   * What tells that the API still answers as before: a version that you keep up to date, an endpoint that gives one, or
   * queries whose answers are compared. Default: nothing but these settings.
   */
  fingerprint?: string | VersionEndpoint | Probes;
}

/** A JSON API. */
export class HttpRecommender implements Recommender {
  readonly name: string;
  readonly #options: HttpOptions;
  readonly #url: URL;
  readonly #body: JsonTemplate | undefined;
  readonly #isBatched: boolean;
  readonly #reader: ReplyReader;
  readonly #connection: HttpConnection;
  readonly #resilience: Resilience;
  readonly #lifetime: Lifetime;

  private constructor(name: string, options: HttpOptions, reader: ReplyReader) {
    this.name = name;
    this.#lifetime = new Lifetime(name);
    this.#options = options;
    this.#reader = reader;
    this.#body = options.body === undefined ? undefined : new JsonTemplate(`${name}: body`, options.body, blanks);
    this.#isBatched = (this.#body?.placesOf("queries").length ?? 0) > 0;
    this.#url = checkUrl(name, options.url);
    this.#checkBlanks();
    checkHeaders(name, options.headers ?? {});
    this.#resilience = new Resilience(name, options);
    this.#connection = new HttpConnection(name, this.#url, options.concurrency ?? 8, options.tls);
  }

  /**
   * Makes a recommender of an API; asks it nothing yet.
   * @throws ConfigError `CONFIG_BAD_URL`, `CONFIG_BAD_TEMPLATE`, `CONFIG_BAD_JSON_PATH`, `CONFIG_BAD_NUMBER` …
   */
  static async open(options: HttpOptions): Promise<HttpRecommender> {
    const name = options.name ?? "http";
    return new HttpRecommender(name, options, await ReplyReader.create(name, options));
  }

  /**
   * Hits of each query, at most `topK` where the API gives more. Equal texts are asked once; a text of nothing but
   * white space finds nothing and isn't asked.
   * @throws RecommenderError when the API can't be reached, refuses or answers with something else; AbortError
   */
  async search(queries: readonly Query[], searchOptions: SearchOptions): Promise<Hit[][]> {
    this.#lifetime.admit(searchOptions);
    const { topK, signal } = searchOptions;
    const texts = queries.map(({ text }) => toWellFormed(text));
    const answers = await askInBatches(
      texts.filter((text) => text.trim() !== ""),
      (batch, stop) => this.#resilience.run((attempt) => this.#ask(batch, topK, attempt), stop),
      { batchSize: this.#isBatched ? (this.#options.batchSize ?? 32) : 1, running: this.#lifetime, signal },
    );
    return texts.map((text) => answers.get(text)?.slice() ?? []);
  }

  /** Identifies these settings and what the option `fingerprint` says of the contents. */
  async fingerprint(): Promise<string> {
    const { fingerprint, url, method, body, hits, id, score, answers, payload } = this.#options;
    const settings = sha256OfJson([url, method, body, hits, id, score, answers, payload].map((value) => value ?? null));
    return `${this.name}:${settings.slice(0, 32)}${await this.#version(fingerprint)}`;
  }

  async close(): Promise<void> {
    await this.#lifetime.end(() => this.#connection.close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #version(fingerprint: HttpOptions["fingerprint"]): Promise<string> {
    if (fingerprint === undefined) return "";
    if (typeof fingerprint === "string") return `:${fingerprint}`;
    if ("queries" in fingerprint) {
      return `:${await fingerprintByProbes((queries, options) => this.search(queries, options), fingerprint)}`;
    }
    const { pathname, search } = this.#versionUrl(fingerprint.url);
    const { compile } = await import("json-p3");
    const path = compile(fingerprint.path ?? "$");
    const reply = await this.#resilience.run(async (signal) =>
      parseReply(this.name, await this.#exchange({ method: "GET", path: pathname + search, headers: {}, signal })),
    );
    const values = path.query(reply as never).values();
    if (values.length === 0) {
      throw new RecommenderError(
        "RECOMMENDER_BAD_REPLY",
        `${this.name}: the reply of ${fingerprint.url} has nothing at ${fingerprint.path}; got ${startOf(JSON.stringify(reply))}`,
      );
    }
    return `:${sha256OfJson(values).slice(0, 32)}`;
  }

  #versionUrl(address: string): URL {
    const url = parseAddress(this.name, address);
    if (url.origin === this.#url.origin) return url;
    throw new ConfigError(
      "CONFIG_BAD_URL",
      `${this.name}: fingerprint.url is on ${url.origin}; expected ${this.#url.origin}, where the searches go.`,
    );
  }

  async #ask(texts: readonly string[], topK: number, signal: AbortSignal): Promise<Hit[][]> {
    const values: Record<string, Json> = this.#isBatched
      ? { queries: texts, topK }
      : { query: texts[0] as string, topK };
    const body = this.#body && JSON.stringify(this.#body.fill(values));
    const reply = await this.#exchange({
      method: this.#options.method ?? (body === undefined ? "GET" : "POST"),
      path: fillPath(this.#url, values),
      headers: body === undefined ? {} : { "content-type": "application/json" },
      ...(body === undefined ? {} : { body }),
      signal,
    });
    const json = parseReply(this.name, reply);
    const lists =
      this.#options.answers === undefined
        ? [this.#reader.readOne(json, topK)]
        : this.#reader.readAll(json, texts.length, topK);
    return lists.map((hits, i) => validateHits(this.name, { text: texts[i] as string }, hits, topK));
  }

  async #exchange(exchange: HttpExchange): Promise<string> {
    const headers = { ...exchange.headers, ...lowerCaseKeys(this.#options.headers ?? {}) };
    let reply;
    try {
      reply = await this.#connection.exchange({ ...exchange, headers });
    } catch (error) {
      throwIfAborted(exchange.signal);
      throw connectionError(this.name, this.#url.origin, error);
    }
    if (reply.status >= 200 && reply.status < 300) return reply.body;
    const error = statusError(this.name, reply.status, reply);
    if (reply.status !== 500) throw error;
    // A server that stumbled over one request may not over the next; that it answered says that it is there.
    throw new RecommenderError(error.code, error.message, { status: 500, retryable: true, answered: true });
  }

  #checkBlanks(): void {
    const bad = (message: string): ConfigError => new ConfigError("CONFIG_BAD_TEMPLATE", `${this.name}: ${message}`);
    const inUrl = blanksOf(this.#options.url).includes("query");
    const inBody = (this.#body?.placesOf("query").length ?? 0) > 0;
    if (this.#isBatched && (inUrl || inBody)) throw bad("{{queries}} and {{query}} can't both be in a request.");
    if (!this.#isBatched && !inUrl && !inBody) {
      throw bad(`neither url nor body has the blank {{query}}, so every query would get the same answer.`);
    }
    if (this.#isBatched !== (this.#options.answers !== undefined)) {
      throw bad("{{queries}} in the body and the JSON path `answers` need each other.");
    }
    if (this.#options.method === "GET" && this.#body) throw bad("a GET request has no body.");
  }
}

const blanks = ["query", "queries", "topK"];

/** @throws ConfigError for a URL with blanks before its path, or with blanks that there aren't */
function checkUrl(name: string, address: string): URL {
  const start = /^[a-z]+:\/\/[^/?#]*/i.exec(String(address))?.[0] ?? "";
  const wrong = blanksOf(String(address)).find((blank) => !["query", "topK"].includes(blank));
  if (wrong !== undefined || start.includes("{{")) {
    const fault = wrong === undefined ? "a blank in the host" : `the blank {{${wrong}}}`;
    throw new ConfigError(
      "CONFIG_BAD_TEMPLATE",
      `${name}: url has ${fault}; there may be {{query}} and {{topK}} in its path and query string.`,
    );
  }
  return parseAddress(name, address);
}

/** The path and query string to send. A text of dots alone would be a step up in a path, so it gets a space around. */
function fillPath(url: URL, values: Readonly<Record<string, Json>>): string {
  const template = decodeBlanks(url.pathname + url.search);
  return fillBlanks(template, (name) => {
    const text = String(values[name] ?? "");
    return encodeURIComponent(/^\.+$/.test(text) ? ` ${text} ` : text);
  });
}

/** `URL` writes the braces of blanks as %7B and %7D in paths. */
function decodeBlanks(path: string): string {
  return path.replace(/%7B%7B(\s|%20)*(\w+)(\s|%20)*%7D%7D/gi, "{{$2}}");
}

function checkHeaders(name: string, headers: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(headers)) {
    const isGood = /^[\w!#$%&'*+.^`|~-]+$/.test(key) && typeof value === "string" && /^[\t\x20-\x7e]*$/.test(value);
    if (isGood && blanksOf(value).length === 0) continue;
    throw new ConfigError(
      "CONFIG_BAD_HEADER",
      `${name}: the header "${key}" can't be sent: expected a name and a text of printable ASCII without blanks.`,
    );
  }
}

function lowerCaseKeys(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([key, value]) => [key.toLowerCase(), value]));
}
