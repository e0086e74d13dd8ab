/** The official client with its own retries off, and its errors in our words. */
import { readFile } from "node:fs/promises";
import type { ClientRequest } from "node:http";
import type { Client } from "@opensearch-project/opensearch";
import { describeFileError } from "../../core/atomic-write.ts";
import { ConfigError, RecommenderError, throwIfAborted } from "../../core/errors.ts";
import { connectionError, startOf, statusError } from "../http-failures.ts";

/** Who we are to the server. */
export type OpenSearchAuth = { username: string; password: string } | { apiKey: string } | { bearer: string };

export interface ConnectOptions {
  /** Addresses of one or more nodes of a cluster, such as `https://search.example:9200`. */
  node: string | readonly string[];
  auth?: OpenSearchAuth;
  tls?: {
    /** PEM file of the authority to trust. Default: those that come with Node. */
    caFile?: string;
    /** False accepts any certificate: for tests on one machine only. Default true. */
    rejectUnauthorized?: boolean;
  };
  /** Sent with every request. */
  headers?: Readonly<Record<string, string>>;
  /** Connections to a node at most. */
  maxSockets: number;
  timeoutMs: number;
}

/** @throws ConfigError `CONFIG_BAD_URL` */
export function checkNodes(name: string, node: string | readonly string[]): string[] {
  const nodes = typeof node === "string" ? [node] : [...node];
  const bad = (fault: string): ConfigError => new ConfigError("CONFIG_BAD_URL", `${name}: ${fault}`);
  if (nodes.length === 0) throw bad("there is no node to ask; expected an address such as http://127.0.0.1:9200.");
  for (const address of nodes) {
    const url = URL.canParse(address) ? new URL(address) : undefined;
    if (!url || !["http:", "https:"].includes(url.protocol)) {
      throw bad(`node is "${url?.host ?? address}"; expected an address such as http://127.0.0.1:9200.`);
    }
    if (url.username !== "" || url.password !== "") {
      throw bad("node has a user name or password in it; give them as auth instead.");
    }
  }
  return nodes;
}

function authHeader(auth: OpenSearchAuth | undefined): Record<string, string> {
  if (!auth) return {};
  if ("apiKey" in auth) return { authorization: `ApiKey ${auth.apiKey}` };
  if ("bearer" in auth) return { authorization: `Bearer ${auth.bearer}` };
  const pair = Buffer.from(`${auth.username}:${auth.password}`).toString("base64");
  return { authorization: `Basic ${pair}` };
}

/**
 * Opens a client; asks the server nothing yet.
 * @throws ConfigError; RecR1Error when `tls.caFile` can't be read
 */
export async function connect(name: string, options: ConnectOptions): Promise<Client> {
  const nodes = checkNodes(name, options.node);
  const { caFile, rejectUnauthorized = true } = options.tls ?? {};
  let ca: string | undefined;
  try {
    ca = caFile === undefined ? undefined : await readFile(caFile, "utf8");
  } catch (error) {
    throw describeFileError(error, "read the certificate", caFile as string);
  }
  const { Client, Connection } = await import("@opensearch-project/opensearch");
  /** The client's own connection prints to stdout when a reply breaks off, where results belong. */
  class QuietConnection extends Connection {
    override request(...call: Parameters<InstanceType<typeof Connection>["request"]>): ClientRequest {
      const request = super.request(...call);
      request.on("response", () => request.removeAllListeners("error").on("error", () => undefined));
      return request;
    }
  }
  return new Client({
    Connection: QuietConnection,
    nodes,
    headers: { ...options.headers, ...authHeader(options.auth) },
    ssl: { rejectUnauthorized, ...(ca === undefined ? {} : { ca }) },
    agent: { keepAlive: true, maxSockets: options.maxSockets },
    // Repeating is ours: with jitter, and on 429, which the client doesn't repeat.
    maxRetries: 0,
    requestTimeout: options.timeoutMs,
  });
}

/** A call of the client: it can be awaited and stopped. */
export interface ClientCall {
  then: PromiseLike<{ body: unknown }>["then"];
  abort?: () => unknown;
}

/**
 * The body of a call's reply.
 * @throws RecommenderError `RECOMMENDER_HTTP_STATUS`, `RECOMMENDER_UNREACHABLE`, `RECOMMENDER_NOT_JSON` …; AbortError
 */
export async function callClient(
  name: string,
  address: string,
  start: () => unknown,
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  throwIfAborted(signal);
  const call = start() as ClientCall;
  // Returns nothing: an event listener that returned the call would have its failure thrown at the process.
  const stop = (): void => {
    call.abort?.();
  };
  signal.addEventListener("abort", stop, { once: true });
  let body: unknown;
  try {
    body = (await call).body;
  } catch (error) {
    throwIfAborted(signal);
    throw toRecommenderError(name, address, error);
  } finally {
    signal.removeEventListener("abort", stop);
  }
  if (typeof body === "object" && body !== null) return body as Record<string, unknown>;
  throw notJson(name, String(body));
}

function notJson(name: string, body: string, cause?: unknown): RecommenderError {
  return new RecommenderError(
    "RECOMMENDER_NOT_JSON",
    `${name}: answered with something else than OpenSearch's JSON: ${startOf(body)}. Is another program at this address?`,
    { cause },
  );
}

/** What the client throws, told apart by name, since a caller's own client may be of another version. */
function toRecommenderError(name: string, address: string, error: unknown): RecommenderError {
  const {
    name: kind,
    statusCode,
    headers,
    body,
    data,
  } = error as {
    name?: string;
    statusCode?: number;
    headers?: Record<string, unknown> | null;
    body?: unknown;
    data?: unknown;
  };
  if (kind === "ResponseError" && statusCode !== undefined) {
    return statusError(name, statusCode, { retryAfter: headers?.["retry-after"], body: reasonOf(body) });
  }
  if (kind === "DeserializationError") return notJson(name, String(data), error);
  if (kind === "TimeoutError") {
    return new RecommenderError("RECOMMENDER_TIMEOUT", `${name}: ${address} gave no answer in time.`, {
      cause: error,
      retryable: true,
    });
  }
  if (kind === "NoLivingConnectionsError") {
    return new RecommenderError("RECOMMENDER_UNREACHABLE", `${name}: no node of ${address} can be asked.`, {
      cause: error,
      retryable: true,
    });
  }
  return connectionError(name, address, error);
}

/** What an error's body gives as the reason, the deepest cause first. */
export function reasonOf(body: unknown): string {
  if (typeof body === "string") return body;
  const { error } = (body ?? {}) as { error?: unknown };
  if (typeof error === "string") return error;
  const { reason, type, root_cause: roots } = (error ?? {}) as Record<string, unknown>;
  const root = Array.isArray(roots) ? (roots[0] as { reason?: unknown } | undefined)?.reason : undefined;
  const text = [root ?? reason, type].filter((part) => typeof part === "string").join(" ");
  return text === "" ? (JSON.stringify(body) ?? "") : text;
}
