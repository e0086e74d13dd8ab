/** Hits out of an API's JSON, by JSON paths. A reply that isn't what the paths expect is a failure, never an answer. */
import type { JSONPathQuery } from "json-p3";
import { ConfigError, RecommenderError } from "../../core/errors.ts";
import { startOf } from "../http-failures.ts";
import type { Hit } from "../recommender.ts";

/** Where hits are in a reply: JSON paths (RFC 9535), `$` being the reply, or the hit for what belongs to one. */
export interface ReplyPaths {
  /** Every hit, best first, such as `$.results[*]`. With `answers`, `$` is one query's answer. */
  hits: string;
  /** The id in a hit. Default `$.id`; `$` where hits are bare ids. */
  id?: string;
  /** The score in a hit. Default: none, and hits are scored by their rank. */
  score?: string;
  /** What is kept of a hit for display, by name, such as `{ title: "$.title" }`. Default: nothing. */
  payload?: Readonly<Record<string, string>>;
  /** Each query's answer in a reply to several, in the order asked, such as `$.answers[*]`. */
  answers?: string;
}

/**
 * Reads JSON.
 * @throws RecommenderError `RECOMMENDER_NOT_JSON`: a proxy's error page, or a reply that broke on its way, so retryable
 */
export function parseReply(name: string, body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (cause) {
    const what = /^\s*</.test(body) ? "HTML or XML" : body.trim() === "" ? "nothing" : "something else";
    throw new RecommenderError(
      "RECOMMENDER_NOT_JSON",
      `${name}: answered with ${what} where JSON was expected: ${startOf(body)}`,
      { cause, retryable: true, answered: true },
    );
  }
}

/** Compiled paths. */
export class ReplyReader {
  readonly #name: string;
  readonly #hits: JSONPathQuery;
  readonly #id: JSONPathQuery;
  readonly #score: JSONPathQuery | undefined;
  readonly #payload: readonly (readonly [string, JSONPathQuery])[];
  readonly #answers: JSONPathQuery | undefined;
  /** The list that `hits` takes all of; undefined where it picks in another way. */
  readonly #list: JSONPathQuery | undefined;
  readonly #hitsPath: string;

  private constructor(name: string, paths: ReplyPaths, compile: (option: string, path: string) => JSONPathQuery) {
    this.#name = name;
    this.#hitsPath = paths.hits;
    this.#hits = compile("hits", paths.hits);
    const list = paths.hits.replace(/(\[\s*\*\s*\]|\.\s*\*)\s*$/, "");
    this.#list = list === paths.hits ? undefined : compile("hits", list);
    this.#id = compile("id", paths.id ?? "$.id");
    this.#score = paths.score === undefined ? undefined : compile("score", paths.score);
    this.#answers = paths.answers === undefined ? undefined : compile("answers", paths.answers);
    this.#payload = Object.entries(paths.payload ?? {}).map(
      ([key, path]) => [key, compile(`payload.${key}`, path)] as const,
    );
  }

  /** @throws ConfigError `CONFIG_BAD_JSON_PATH` */
  static async create(name: string, paths: ReplyPaths): Promise<ReplyReader> {
    const { compile } = await import("json-p3");
    return new ReplyReader(name, paths, (option, path) => {
      try {
        return compile(path);
      } catch (cause) {
        throw new ConfigError(
          "CONFIG_BAD_JSON_PATH",
          `${name}: ${option} is ${JSON.stringify(path)}, which is no JSON path (${(cause as Error).message}); expected one such as $.results[*].`,
          { cause },
        );
      }
    });
  }

  /** Hits of the only query of a reply, at most `topK`. @throws RecommenderError `RECOMMENDER_BAD_REPLY` */
  readOne(reply: unknown, topK: number): Hit[] {
    return this.#readHits(reply, topK);
  }

  /** Hits of `count` queries. @throws RecommenderError `RECOMMENDER_BAD_REPLY` */
  readAll(reply: unknown, count: number, topK: number): Hit[][] {
    const answers = this.#values(this.#answers as JSONPathQuery, reply);
    if (answers.length !== count) {
      throw this.#bad(`has ${answers.length} answers to ${count} queries`, reply);
    }
    return answers.map((answer) => this.#readHits(answer, topK));
  }

  #readHits(answer: unknown, topK: number): Hit[] {
    const found = this.#values(this.#hits, answer);
    // A path that leads nowhere looks like an answer without hits, so the list itself has to be there.
    if (found.length === 0 && this.#list && !this.#values(this.#list, answer).some(Array.isArray)) {
      throw this.#bad(`has no list at ${this.#hitsPath}`, answer);
    }
    const kept = found.slice(0, topK);
    return kept.map((hit, i) => {
      const id = this.#one(this.#id, hit, `id of hit ${i + 1}`);
      const score = this.#score ? this.#one(this.#score, hit, `score of hit ${i + 1}`) : kept.length - i;
      return {
        id: Number.isSafeInteger(id) ? String(id) : (id as string),
        score: score as number,
        ...(this.#payload.length === 0 ? {} : { payload: this.#readPayload(hit) }),
      };
    });
  }

  #readPayload(hit: unknown): Record<string, unknown> {
    const payload: Record<string, unknown> = {};
    for (const [key, path] of this.#payload) {
      const values = this.#values(path, hit);
      if (values.length > 0) payload[key] = values.length === 1 ? values[0] : values;
    }
    return payload;
  }

  #one(path: JSONPathQuery, hit: unknown, what: string): unknown {
    const values = this.#values(path, hit);
    if (values.length === 1) return values[0];
    throw this.#bad(`has ${values.length} values for the ${what}`, hit);
  }

  #values(path: JSONPathQuery, value: unknown): unknown[] {
    return path.query(value as never).values();
  }

  #bad(fault: string, value: unknown): RecommenderError {
    return new RecommenderError(
      "RECOMMENDER_BAD_REPLY",
      `${this.#name}: the reply ${fault}; got ${startOf(JSON.stringify(value) ?? "nothing")}`,
    );
  }
}
