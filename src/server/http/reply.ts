/** What goes out: JSON, and headers that keep a browser from making more of it. */
import type { ServerResponse } from "node:http";
import { RecR1Error } from "../../core/errors.ts";
import { HttpError, type ErrorReply } from "./http-error.ts";

/** On every reply: its type is what it says, other sites can't embed it, and no address leaks from it. */
export const commonHeaders: Readonly<Record<string, string>> = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
  "x-frame-options": "DENY",
};

/** Sends a value as JSON, never kept by a cache; to a HEAD request, its headers. */
export function sendJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, {
    ...commonHeaders,
    "content-type": "application/json; charset=utf-8",
    "content-length": body.length,
    "cache-control": "no-store",
    ...headers,
  });
  response.end(response.req.method === "HEAD" ? undefined : body);
}

/** The status of a fault of this side: 503 where it is worth another try. */
export function statusOf(error: RecR1Error): number {
  return "retryable" in error && error.retryable === true ? 503 : 500;
}

/**
 * What a sender is told of an error: a refusal as it is, an error of ours (`RecR1Error`) by its code and message with
 * status 500 (503 where it is worth another try), and anything else without its message, which may tell of this machine.
 * @param onFault told of what was no refusal
 */
export function describeError(
  error: unknown,
  onFault?: (error: unknown) => void,
): ErrorReply["error"] & { status: number; headers?: Readonly<Record<string, string>> } {
  if (error instanceof HttpError) {
    const { status, code, message, headers } = error;
    return { status, code, message, headers };
  }
  onFault?.(error);
  if (error instanceof RecR1Error) {
    return { status: statusOf(error), code: error.code, message: error.message };
  }
  return { status: 500, code: "INTERNAL", message: "Something went wrong here; the program's own output says what." };
}

/** Answers with what went wrong, as {@link describeError} tells it. @param onFault told of what was no refusal */
export function sendError(response: ServerResponse, error: unknown, onFault?: (error: unknown) => void): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const { status, code, message, headers } = describeError(error, onFault);
  sendJson(response, status, { error: { code, message } } satisfies ErrorReply, headers);
}
