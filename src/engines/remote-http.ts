/**
 * HTTP to an engine that runs elsewhere: a limit on open requests, timeouts, retries, and errors that say what the
 * server said. The key goes into a header and nowhere else: it is cut out of every message. Knows no API.
 */
import { withSignals } from "../core/abort.ts";
import { contentDigest, matchesDigest } from "../core/content-digest.ts";
import { ConfigError, EngineError, AbortError } from "../core/errors.ts";
import type { RecR1ErrorOptions } from "../core/errors.ts";
import { retry } from "../core/retry.ts";
import { RequestLimit } from "./request-limit.ts";

export interface RemoteEngineErrorOptions extends RecR1ErrorOptions {
  /** HTTP status, where there was one. */
  status?: number;
  /** Whether the same call may succeed later. Default false. */
  retryable?: boolean;
  /** The server's id of the request, for its operators. */
  requestId?: string;
}

/** An engine elsewhere didn't answer, or refused. */
export class RemoteEngineError extends EngineError {
  readonly status: number | undefined;
  readonly retryable: boolean;
  readonly requestId: string | undefined;

  constructor(code: string, message: string, options: RemoteEngineErrorOptions = {}) {
    super(code, message, options);
    this.status = options.status;
    this.retryable = options.retryable ?? false;
    this.requestId = options.requestId;
  }
}

export interface RemoteHttpOptions {
  /** Where the server is, such as `http://127.0.0.1:8000`; paths are appended to it. */
  url: string;
  /** Header that carries the key. */
  keyHeader?: { name: string; prefix?: string };
  apiKey?: string;
  /** Where the user sets the key, for messages. */
  keyHint?: string;
  /** Longest wait for one answer, in milliseconds. Default 60,000. */
  timeoutMs?: number;
  /** Calls at most, the first one included. Default 10: waits of 38 s on average, 76 s at most. */
  attempts?: number;
  /** Requests open at once, whatever they are for; others wait their turn. Default: no limit. */
  maxOpenRequests?: number;
  /** Longest wait between two calls, in milliseconds. Default 15,000. */
  maxDelayMs?: number;
  /** Told before a wait. */
  onRetry?: (failure: { error: RemoteEngineError; attempt: number; delayMs: number }) => void;
  /** Default: the platform's. */
  fetch?: typeof fetch;
}

export interface RemoteRequest {
  method?: "GET" | "POST" | "DELETE";
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is, with its content type. */
  body?: { type: string; bytes: Uint8Array };
  /** Default `application/json`. */
  accept?: string;
  headers?: Readonly<Record<string, string>>;
  timeoutMs?: number;
  attempts?: number;
  /** Whether a failure is worth another call. Default: those that say so. */
  isRetryable?: (error: unknown) => boolean;
  signal?: AbortSignal | undefined;
}

export interface RemoteReply {
  status: number;
  /** Without parameters, in lower case. */
  contentType: string;
  bytes: Uint8Array;
  requestId: string | undefined;
}

/** Statuses after which the same call may succeed. */
const retryableStatuses = new Set([408, 425, 429, 500, 502, 503, 504, 529]);

export class RemoteHttp {
  /** Scheme, host and port: safe to show. */
  readonly origin: string;
  private readonly base: string;
  private readonly options: RemoteHttpOptions;
  private readonly apiKey: string | undefined;
  private readonly open: RequestLimit;
  /** Whether a server was last waited for in vain. */
  private isAway = false;
  /** By request: when the server said that a new one may come, in milliseconds from then. */
  private readonly delays = new WeakMap<object, number>();

  /** @throws ConfigError `BAD_SERVER_URL`, `BAD_API_KEY` */
  constructor(options: RemoteHttpOptions) {
    const url = parseServerUrl(options.url);
    this.origin = url.origin;
    this.base = url.href.replace(/\/+$/, "");
    this.options = options;
    this.apiKey = readKey(options);
    this.open = new RequestLimit(options.maxOpenRequests ?? Infinity);
  }

  /**
   * Sends a request, again where that can help, and gives what `read` makes of the reply of a status below 400 (the
   * reply itself without it). A server
   * that was waited for in vain is asked once from then on, until it answers.
   * @throws RemoteEngineError, AbortError
   */
  async send<T = RemoteReply>(
    path: string,
    request: RemoteRequest = {},
    read: (reply: RemoteReply) => T = (reply) => reply as T,
  ): Promise<T> {
    const { maxDelayMs = 15_000, onRetry } = this.options;
    const attempts = this.isAway ? 1 : (request.attempts ?? this.options.attempts ?? 10);
    const gaveUpAfter = attempts > 1 ? attempts : Infinity;
    return retry(async (attempt) => read(await this.sendInTurn(path, request, attempt === gaveUpAfter)), {
      attempts,
      baseDelayMs: Math.min(500, maxDelayMs),
      maxDelayMs,
      delayAsked: (error) => this.delays.get(error as object),
      onRetry: ({ error, attempt, delayMs }) => onRetry?.({ error: error as RemoteEngineError, attempt, delayMs }),
      ...(request.isRetryable ? { isRetryable: request.isRetryable } : {}),
      ...(request.signal ? { signal: request.signal } : {}),
    });
  }

  /** {@link send}, for replies that are JSON. @throws RemoteEngineError `ENGINE_BAD_REPLY` where it isn't */
  async sendForJson(path: string, request: RemoteRequest = {}): Promise<unknown> {
    return this.send(path, request, (reply) => this.parseJson(path, reply));
  }

  /** The JSON in a reply. @throws RemoteEngineError `ENGINE_BAD_REPLY` */
  parseJson(path: string, reply: RemoteReply): unknown {
    const text = new TextDecoder().decode(reply.bytes);
    try {
      return JSON.parse(text);
    } catch {
      // The parser's own error repeats what may be secret in the text.
      throw this.badReply(path, reply, `JSON was expected, got ${reply.contentType || "no content type"}`);
    }
  }

  /**
   * The error for a reply that isn't what the API says. One that calls itself what it should be may have broken on its
   * way and is worth another call; a page is not, since it mostly means that the address is wrong.
   */
  badReply(path: string, reply: RemoteReply, what: string, cause?: unknown): RemoteEngineError {
    const start = excerpt(this.redact(new TextDecoder().decode(reply.bytes)));
    const isPage = start.startsWith("<") || !/json|protobuf/.test(reply.contentType);
    return new RemoteEngineError(
      "ENGINE_BAD_REPLY",
      `${this.origin}${path} answered ${reply.status} with something unusable: ${what}. It begins: ${start || "(empty)"}. Check that the URL is that of the server meant, and that its version is supported.`,
      {
        status: reply.status,
        cause,
        retryable: !isPage,
        ...(reply.requestId ? { requestId: reply.requestId } : {}),
      },
    );
  }

  /** `text` with the key cut out. */
  redact(text: string): string {
    const { apiKey } = this;
    return apiKey ? text.replaceAll(apiKey, "(key)") : text;
  }

  /** One call when there is room for it. @param isLast whether it is the last of several */
  private async sendInTurn(path: string, request: RemoteRequest, isLast: boolean): Promise<RemoteReply> {
    try {
      const reply = await this.open.run(() => this.sendOnce(path, request));
      this.isAway = false;
      return reply;
    } catch (error) {
      if (error instanceof RemoteEngineError && error.status !== undefined) this.isAway = false;
      else if (isLast && error instanceof RemoteEngineError) this.isAway = error.code === "ENGINE_UNREACHABLE";
      throw error;
    }
  }

  private async sendOnce(path: string, request: RemoteRequest): Promise<RemoteReply> {
    const { keyHeader, timeoutMs = 60_000, fetch: send = fetch } = this.options;
    const { apiKey } = this;
    const { method = "POST", json, body, accept = "application/json", signal } = request;
    const limit = request.timeoutMs ?? timeoutMs;
    const timeout = AbortSignal.timeout(limit);
    const payload = body?.bytes ?? (json === undefined ? undefined : JSON.stringify(json));
    const sendUntil = async (signal: AbortSignal): Promise<{ headers: Headers; reply: RemoteReply }> => {
      const response = await send(`${this.base}${path}`, {
        method,
        headers: {
          accept,
          ...(payload === undefined
            ? {}
            : { "content-type": body?.type ?? "application/json", "content-digest": contentDigest(payload) }),
          ...(apiKey && keyHeader ? { [keyHeader.name]: `${keyHeader.prefix ?? ""}${apiKey}` } : {}),
          ...request.headers,
        },
        ...(payload === undefined ? {} : { body: payload }),
        // A redirect would carry the key to another host.
        redirect: "error",
        signal,
      });
      const { headers, status } = response;
      const contentType = (headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
      const bytes = new Uint8Array(await response.arrayBuffer());
      const requestId = this.redact(headers.get("x-request-id") ?? "") || undefined;
      return { headers, reply: { status, contentType, bytes, requestId } };
    };
    let reply: RemoteReply;
    let headers: Headers;
    try {
      ({ reply, headers } = await withSignals([signal, timeout], sendUntil));
    } catch (cause) {
      if (signal?.aborted) throw new AbortError();
      throw timeout.aborted ? this.timedOut(path, limit) : this.unreachable(path, cause);
    }
    if (!matchesDigest(headers.get("content-digest"), reply.bytes)) {
      throw new RemoteEngineError("ENGINE_BAD_REPLY", `A reply of ${this.origin}${path} was damaged on its way.`, {
        status: reply.status,
        retryable: true,
      });
    }
    if (reply.status < 400) return reply;
    const error = this.statusError(path, reply, headers.get("x-should-retry") === "true");
    const retryAfter = headers.get("retry-after");
    const delayMs = retryAfter === null ? Number.NaN : parseRetryAfter(retryAfter);
    if (Number.isFinite(delayMs)) this.delays.set(error, delayMs);
    throw error;
  }

  private timedOut(path: string, limitMs: number): RemoteEngineError {
    const message = `${this.origin}${path} gave no answer within ${(limitMs / 1000).toFixed(0)} s.`;
    return new RemoteEngineError("ENGINE_TIMEOUT", message, { retryable: true });
  }

  private unreachable(path: string, cause: unknown): RemoteEngineError {
    const inner = (cause as { cause?: unknown }).cause;
    const why = [cause, inner].map((error) => (error instanceof Error ? error.message : "")).filter(Boolean);
    return new RemoteEngineError(
      "ENGINE_UNREACHABLE",
      `${this.origin}${path} can't be reached: ${this.redact(why.join(": "))}. Check that the server runs and that the address is right.`,
      { retryable: true },
    );
  }

  /** @param asksAgain whether the server says that the same call may succeed */
  private statusError(path: string, reply: RemoteReply, asksAgain: boolean): RemoteEngineError {
    const { status, requestId } = reply;
    const said = excerpt(this.redact(describeErrorBody(new TextDecoder().decode(reply.bytes))));
    const suffix = `${said ? ` It said: ${said}` : ""}${requestId ? ` (request ${requestId})` : ""}`;
    const retryable = asksAgain || retryableStatuses.has(status);
    const options = { status, retryable, ...(requestId ? { requestId } : {}) };
    const where = `${this.origin}${path}`;
    if (status === 401 || status === 403) {
      const hint = this.options.keyHint ?? "the API key";
      return new RemoteEngineError(
        "ENGINE_UNAUTHORIZED",
        `${where} refused the key (${status}); ${this.apiKey ? `check ${hint}` : `none was given: set ${hint}`}.${suffix}`,
        options,
      );
    }
    if (status === 429) {
      return new RemoteEngineError("ENGINE_RATE_LIMITED", `${where} asks for fewer requests (429).${suffix}`, options);
    }
    if (status >= 500) {
      return new RemoteEngineError("ENGINE_SERVER_ERROR", `${where} failed (${status}).${suffix}`, options);
    }
    return new RemoteEngineError("ENGINE_REFUSED", `${where} refused the request (${status}).${suffix}`, options);
  }
}

/** The key without the line break that files end with. @throws ConfigError `BAD_API_KEY` where no header can carry it */
function readKey({ apiKey, keyHint = "the API key" }: RemoteHttpOptions): string | undefined {
  const key = apiKey?.trim();
  if (key && !/^[\x21-\x7e]+$/.test(key)) {
    throw new ConfigError("BAD_API_KEY", `${keyHint} holds characters that no key has (spaces, control characters …).`);
  }
  return key || undefined;
}

/** @throws ConfigError `BAD_SERVER_URL` */
export function parseServerUrl(text: string): URL {
  const bad = (what: string): ConfigError =>
    new ConfigError("BAD_SERVER_URL", `The server's address ${what}; expected something like http://127.0.0.1:8000.`);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw bad(`${JSON.stringify(text.replace(/\/\/[^/@]*@/, "//"))} is not one`);
  }
  // It would end up in logs and run folders.
  if (url.username || url.password) throw bad("has a name or password in it: keys go into an environment variable");
  if (url.search || url.hash) throw bad("has a query or fragment");
  return url;
}

/** What an error's body says: FastAPI's `detail`, OpenAI's `error.message`, or all of it. */
export function describeErrorBody(text: string): string {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return text;
  }
  const { detail, error, message } = (body ?? {}) as Record<string, unknown>;
  if (Array.isArray(detail)) {
    return detail.map((item) => String((item as { msg?: unknown })?.msg ?? JSON.stringify(item))).join("; ");
  }
  const said = [detail, (error as { message?: unknown } | undefined)?.message, error, message];
  return String(said.find((value) => typeof value === "string") ?? text);
}

const excerpt = (text: string): string => text.replace(/\s+/g, " ").trim().slice(0, 300);

/** Milliseconds of a Retry-After header: seconds or a date; NaN for neither. */
function parseRetryAfter(value: string): number {
  const seconds = Number(value);
  return Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - Date.now();
}
