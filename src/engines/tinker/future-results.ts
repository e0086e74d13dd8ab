/**
 * Results of requests that a Tinker server has taken on ("futures"), fetched by long polling: JSON or protobuf, not yet,
 * failed, or forgotten.
 */
import type { z } from "zod";
import { sleep } from "../../core/abort.ts";
import { throwIfAborted } from "../../core/errors.ts";
import { RemoteEngineError } from "../remote-http.ts";
import type { RemoteHttp, RemoteReply, RemoteRequest } from "../remote-http.ts";
import { ProtobufError, protobufContentType } from "./protobuf.ts";
import { failedSchema, tryAgainSchema } from "./wire.ts";

export interface FutureOptions {
  /** Longest wait for one result, in milliseconds. Default 30 minutes. */
  futureTimeoutMs?: number;
  /** How long one call waits for a result before it asks again, in milliseconds. Default 45,000. */
  pollMs?: number;
}

/** What a result is of. */
export interface FutureKind<T> {
  /** Where the request went. */
  path: string;
  /** For headers and messages. */
  name: string;
  schema: z.ZodType<T>;
  /** For results that may come as protobuf. */
  decode?: (bytes: Uint8Array) => T;
  signal?: AbortSignal | undefined;
}

/** A server that answers "not yet" at once must not be asked without pause. */
const shortestPollMs = 250;

export class FutureResults {
  private readonly http: RemoteHttp;
  private readonly options: FutureOptions;

  constructor(http: RemoteHttp, options: FutureOptions) {
    this.http = http;
    this.options = options;
  }

  /**
   * Waits for a result by asking again and again.
   * @throws RemoteEngineError `TINKER_FUTURE_FAILED`, `TINKER_FUTURE_LOST`, `TINKER_FUTURE_TIMEOUT` …; AbortError
   */
  async retrieve<T>(requestId: string, kind: FutureKind<T>): Promise<T> {
    const { futureTimeoutMs = 30 * 60_000, pollMs = 45_000 } = this.options;
    const path = "/api/v1/retrieve_future";
    // A clock that is set can neither end a wait nor stretch it.
    const deadline = performance.now() + futureTimeoutMs;
    for (let iteration = 0; performance.now() < deadline; iteration++) {
      throwIfAborted(kind.signal);
      const started = performance.now();
      const pause = (): Promise<void> =>
        sleep(Math.max(0, shortestPollMs - (performance.now() - started)), kind.signal);
      const request: RemoteRequest = {
        json: { request_id: requestId, allow_metadata_only: false },
        // JSON is named second for servers that have nothing else.
        ...(kind.decode ? { accept: `${protobufContentType}, application/json` } : {}),
        headers: { "x-tinker-request-iteration": String(iteration), "x-tinker-request-type": kind.name },
        timeoutMs: Math.min(pollMs, Math.ceil(Math.max(1, deadline - performance.now()))),
        signal: kind.signal,
        isRetryable: isTransient,
      };
      let result: { decoded: T } | { json: unknown };
      try {
        result = await this.http.send(path, request, (reply) =>
          reply.contentType === protobufContentType
            ? { decoded: this.decode(path, reply, kind) }
            : { json: this.http.parseJson(path, reply) },
        );
      } catch (error) {
        if (!isPending(error)) throw this.explain(error, requestId, kind);
        await pause();
        continue;
      }
      if ("decoded" in result) return result.decoded;
      const { json } = result;
      if (tryAgainSchema.safeParse(json).success) {
        await pause();
        continue;
      }
      const failed = failedSchema.safeParse(json);
      if (failed.success) throw this.failed(requestId, kind, failed.data.error);
      return checkShape(`${this.http.origin}${kind.path}`, kind.schema, json);
    }
    throw new RemoteEngineError(
      "TINKER_FUTURE_TIMEOUT",
      `${this.http.origin}${kind.path}: no result of request ${requestId} (${kind.name}) within ${Math.round(futureTimeoutMs / 1000)} s. The server may be overloaded or stuck; look at its log, or allow more time.`,
      { retryable: true, requestId },
    );
  }

  private decode<T>(path: string, reply: RemoteReply, kind: FutureKind<T>): T {
    if (!kind.decode) throw this.http.badReply(path, reply, `${kind.name} was answered in protobuf`);
    try {
      return kind.decode(reply.bytes);
    } catch (error) {
      if (!(error instanceof ProtobufError)) throw error;
      throw this.http.badReply(path, reply, error.message, error);
    }
  }

  private explain(error: unknown, requestId: string, kind: FutureKind<unknown>): unknown {
    if (!(error instanceof RemoteEngineError)) return error;
    if (error.status === 404 || error.status === 410) {
      return new RemoteEngineError(
        "TINKER_FUTURE_LOST",
        `${this.http.origin} no longer knows request ${requestId} (${kind.name}): it was restarted, or the session expired. Go on from the last saved state.`,
        { status: error.status, requestId, cause: error },
      );
    }
    return error.status === 400 ? this.failed(requestId, kind, error.message, error) : error;
  }

  private failed(requestId: string, kind: FutureKind<unknown>, said: string, cause?: unknown): RemoteEngineError {
    return new RemoteEngineError(
      "TINKER_FUTURE_FAILED",
      `${this.http.origin}: request ${requestId} (${kind.name}) failed on the server: ${this.http.redact(said)}`,
      { requestId, cause },
    );
  }
}

/** `value` as a reply of this shape. @throws RemoteEngineError `ENGINE_BAD_REPLY`, naming the fields */
export function checkShape<T>(url: string, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const what = result.error.issues.map(({ path: at, message }) => `${at.join(".") || "reply"}: ${message}`).join("; ");
  throw new RemoteEngineError(
    "ENGINE_BAD_REPLY",
    `${url} answered in an unknown shape (${what}). Check that it is a Tinker server, and its version.`,
    { cause: result.error },
  );
}

/** Whether a result is still being waited for. */
function isPending(error: unknown): boolean {
  return error instanceof RemoteEngineError && (error.status === 408 || error.code === "ENGINE_TIMEOUT");
}

/** Whether asking for a result may soon work again; a wait that ran out is no failure. */
function isTransient(error: unknown): boolean {
  return error instanceof RemoteEngineError && error.retryable && !isPending(error);
}
