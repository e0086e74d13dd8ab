/** One HTTP exchange: a request out, status and text back. Knows nothing of queries and hits. */
import { isUtf8 } from "node:buffer";
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import type { IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { matchesDigest } from "../../core/content-digest.ts";
import { ConfigError, RecommenderError } from "../../core/errors.ts";

/** How the other side is trusted, and how we show who we are. Certificates are verified unless said otherwise. */
export interface TlsOptions {
  /** Authorities to trust besides the built-in ones' place, PEM. Default: those that come with Node. */
  ca?: string;
  /** Our own certificate and its key, PEM. */
  cert?: string;
  key?: string;
  /** False accepts any certificate: for tests on one machine only. Default true. */
  rejectUnauthorized?: boolean;
}

export interface HttpReply {
  status: number;
  retryAfter: string | undefined;
  body: string;
}

export interface HttpExchange {
  method: "GET" | "POST";
  /** Path and query string, encoded. */
  path: string;
  headers: Readonly<Record<string, string>>;
  body?: string;
  signal: AbortSignal;
}

/** Longest reply that is read, in bytes. */
const maxReplyBytes = 64 * 2 ** 20;

/** Connections to one origin, kept open between requests. */
export class HttpConnection {
  readonly #origin: URL;
  readonly #agent: HttpAgent | HttpsAgent;
  readonly #name: string;

  /** @param maxSockets Connections at most. */
  constructor(name: string, origin: URL, maxSockets: number, tls: TlsOptions = {}) {
    this.#name = name;
    this.#origin = origin;
    const keep = { keepAlive: true, maxSockets };
    this.#agent = origin.protocol === "https:" ? new HttpsAgent({ ...keep, ...tls }) : new HttpAgent(keep);
  }

  /**
   * Sends a request and reads the whole reply, whatever its status.
   * @throws RecommenderError `RECOMMENDER_REPLY_TOO_LONG`, `RECOMMENDER_REPLY_DAMAGED`; the socket's error
   */
  exchange({ method, path, headers, body, signal }: HttpExchange): Promise<HttpReply> {
    const send = this.#origin.protocol === "https:" ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const request = send(
        {
          protocol: this.#origin.protocol,
          hostname: this.#origin.hostname.replace(/^\[|\]$/g, ""),
          port: this.#origin.port,
          agent: this.#agent,
          method,
          path,
          signal,
          headers: {
            accept: "application/json",
            ...(body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) }),
            ...headers,
          },
        },
        (response) => {
          readBody(this.#name, response).then(
            (text) =>
              resolve({ status: response.statusCode ?? 0, retryAfter: response.headers["retry-after"], body: text }),
            reject,
          );
        },
      );
      request.on("error", reject);
      request.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

async function readBody(name: string, response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxReplyBytes) {
      response.destroy();
      throw new RecommenderError(
        "RECOMMENDER_REPLY_TOO_LONG",
        `${name}: a reply is longer than ${maxReplyBytes / 2 ** 20} MiB. Ask for fewer hits, or fewer queries at once.`,
      );
    }
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  if (matchesDigest(response.headers["content-digest"], body) && isUtf8(body)) return body.toString();
  throw new RecommenderError(
    "RECOMMENDER_REPLY_DAMAGED",
    `${name}: a reply was damaged on its way: it is not what its content-digest says, or not UTF-8.`,
    { retryable: true, answered: true },
  );
}

/**
 * An address that can be asked: http or https, without credentials, which belong in a header that isn't written down.
 * @throws ConfigError `CONFIG_BAD_URL`
 */
export function parseAddress(name: string, address: unknown): URL {
  const bad = (fault: string): ConfigError => new ConfigError("CONFIG_BAD_URL", `${name}: ${fault}`);
  let url: URL;
  try {
    url = new URL(String(address));
  } catch {
    const shown = String(address).replace(/\/\/[^/@]*@/, "//");
    throw bad(`"${shown}" is no address; expected one such as http://127.0.0.1:8080/search.`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw bad(`the address ${url.protocol}//${url.host} has another protocol than http and https.`);
  }
  if (url.username !== "" || url.password !== "") {
    throw bad("the address has a user name or password in it; give them as credentials or as a header instead.");
  }
  return url;
}
