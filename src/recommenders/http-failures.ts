/** Statuses and lost connections in our words, with whether the same call may succeed later. */
import { STATUS_CODES } from "node:http";
import { RecommenderError } from "../core/errors.ts";

/** Too many requests, bad gateway, unavailable, gateway timeout. */
const retryableStatuses = new Set([429, 502, 503, 504]);

const lostConnection = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENETDOWN",
  "EAI_AGAIN",
  "EADDRNOTAVAIL",
]);

/** The first words of a body, on one line. */
export function startOf(body: string): string {
  const line = body.slice(0, 400).replace(/\s+/g, " ").trim();
  return line.length <= 160 ? line : `${line.slice(0, 157)}...`;
}

/** What a `Retry-After` header asks for, in milliseconds: seconds, or a date. Undefined where it says neither. */
export function parseRetryAfter(value: unknown, nowMs: number = Date.now()): number | undefined {
  if (typeof value !== "string" || value.trim() === "") return undefined;
  if (/^\s*\d+\s*$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}

function adviseOn(status: number): string {
  if (status === 401 || status === 403) return " Check the credentials and what they allow.";
  if (status === 404) return " Check the address and the names in it.";
  if (status >= 300 && status < 400) return " Redirects are not followed: give the address that it leads to.";
  if (status === 429) return " Lower concurrency.";
  return "";
}

/**
 * The error for a status that isn't a success.
 * @param what The recommender's name, or that with the query.
 */
export function statusError(
  what: string,
  status: number,
  { retryAfter, body = "" }: { retryAfter?: unknown; body?: string } = {},
): RecommenderError {
  const said = startOf(body);
  const retryAfterMs = parseRetryAfter(retryAfter);
  const wait = retryAfterMs === undefined ? "" : ` It asks to wait ${(retryAfterMs / 1000).toFixed(0)} s.`;
  return new RecommenderError(
    "RECOMMENDER_HTTP_STATUS",
    `${what}: answered ${status} ${STATUS_CODES[status] ?? ""}${said === "" ? "." : `: ${said}`}${wait}${adviseOn(status)}`,
    {
      status,
      retryable: retryableStatuses.has(status),
      details: retryAfterMs === undefined ? {} : { retryAfterMs },
    },
  );
}

/** A network's error as a `RecommenderError`; one of ours comes back as it is. @param address without credentials */
export function connectionError(name: string, address: string, cause: unknown): RecommenderError {
  if (cause instanceof RecommenderError) return cause;
  const reason = (cause as Error | undefined)?.message || codeOf(cause) || String(cause);
  // Clients pass on the message and not always the code, which messages begin or end with.
  const code = codeOf(cause) || (/\bE[A-Z]{4,}\b/.exec(reason)?.[0] ?? "");
  if (/CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS|ERR_SSL/.test(code) || /certificate|altnames/i.test(reason)) {
    return new RecommenderError(
      "RECOMMENDER_TLS",
      `${name}: the certificate of ${address} can't be trusted (${reason}). Give its authority as tls.ca.`,
      { cause },
    );
  }
  if (code === "ENOTFOUND") {
    return new RecommenderError("RECOMMENDER_UNREACHABLE", `${name}: there is no host of that name: ${address}.`, {
      cause,
    });
  }
  const isLost = lostConnection.has(code) || /socket hang up|other side closed|aborted|premature/i.test(reason);
  return new RecommenderError(
    isLost ? "RECOMMENDER_UNREACHABLE" : "RECOMMENDER_FAILED",
    `${name}: no connection to ${address}: ${reason}. Is it running?`,
    { cause, retryable: isLost },
  );
}

function codeOf(error: unknown): string {
  const { code, cause, errors } = (error ?? {}) as { code?: unknown; cause?: unknown; errors?: unknown };
  if (typeof code === "string") return code;
  if (Array.isArray(errors) && errors.length > 0) return codeOf(errors[0]);
  return cause === undefined ? "" : codeOf(cause);
}
