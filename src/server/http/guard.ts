/**
 * Who may ask a server of ours. A page on the web can make a visitor's browser ask 127.0.0.1: by a name that it points
 * there (DNS rebinding; the Host header gives it away), or across sites (Origin and Sec-Fetch-Site do). Other machines
 * can ask only where the server listens on another address, and then need the token.
 */
import type { IncomingMessage } from "node:http";
import { hostname } from "node:os";
import { isIP } from "node:net";
import { HttpError } from "./http-error.ts";
import { RateLimit } from "./rate-limit.ts";
import { isSameSecret, secretOf } from "./token.ts";

export interface GuardOptions {
  /** Address that is listened on. */
  host: string;
  /** Asked of every request, where given. Required by {@link makeGuard} unless `host` is this machine's loopback. */
  token?: string;
  /** Cookie that may bring the token, for pages. */
  cookieName?: string;
  /** Further names that the Host header may have, without a port. */
  allowedHosts?: readonly string[];
  /** Origins (`https://shop.example`) besides the server's own whose pages may ask; CORS headers are the server's part. */
  allowedOrigins?: readonly string[];
  /** Requests of one sender. Default 50 a second, 200 at once. */
  rate?: { perSecond: number; burst: number };
}

/** @throws HttpError for a request that is refused */
export type Guard = (request: IncomingMessage) => void;

/** Whether an address is this machine's own, that no other can reach. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** What looks at each request before anything else does. @throws Error without a token where one is needed */
export function makeGuard(options: GuardOptions): Guard {
  const { host, token, cookieName, allowedHosts = [], allowedOrigins = [] } = options;
  if (!isLoopback(host) && !token) throw new Error(`A server on ${host} needs a token.`);
  const rate = new RateLimit(options.rate ?? { perSecond: 50, burst: 200 });
  const names = new Set(["localhost", ...allowedHosts.map((name) => name.toLowerCase())]);
  if (!isLoopback(host)) for (const name of [host, hostname()]) names.add(name.toLowerCase());
  return (request) => {
    rate.take(request.socket.remoteAddress ?? "");
    const { headers } = request;
    checkHost(headers.host, names, isLoopback(host));
    checkSite(request, allowedOrigins);
    // What a browser asks before a page does comes without the token.
    if (token && !isPreflight(request, allowedOrigins) && !isSameSecret(secretOf(headers, cookieName), token)) {
      throw new HttpError(401, "UNAUTHORIZED", "Wrong or missing token.", { "www-authenticate": "Bearer" });
    }
  };
}

/**
 * Refuses a Host header by which nobody knows this server. A name can be pointed here by a stranger, an address can't.
 * @param names that are allowed. Default: localhost.
 * @param loopbackOnly whether addresses of other machines are refused, too. Default true.
 * @throws HttpError 403 `BAD_HOST`
 */
export function checkHost(
  header: string | undefined,
  names: ReadonlySet<string> = new Set(["localhost"]),
  loopbackOnly = true,
): void {
  const name = (header ?? "").toLowerCase().replace(/:\d+$/, "");
  const bare = name.replace(/^\[(.*)\]$/, "$1");
  const isAddress = isIP(bare) !== 0;
  if (isAddress ? !loopbackOnly || isLoopback(bare) : names.has(name)) return;
  throw new HttpError(
    403,
    "BAD_HOST",
    loopbackOnly ? "Requests must name this machine as localhost." : "This server is not known by that name.",
  );
}

/** Whether a request comes from a page of an origin that was let in by name. */
export function isAllowedOrigin(origin: string | undefined, allowedOrigins: readonly string[] = []): boolean {
  return origin !== undefined && allowedOrigins.includes(origin);
}

/** Whether a browser asks what a page of an origin that was let in may send (a CORS preflight). */
export function isPreflight(
  { headers, method }: Pick<IncomingMessage, "headers" | "method">,
  allowedOrigins: readonly string[] = [],
): boolean {
  const asks = method === "OPTIONS" && headers["access-control-request-method"] !== undefined;
  return asks && isAllowedOrigin(headers.origin, allowedOrigins);
}

/** Refuses what a page of another site asks, but for links that lead here. @throws HttpError 403 `CROSS_SITE` */
export function checkSite(
  { headers, method }: Pick<IncomingMessage, "headers" | "method">,
  allowedOrigins: readonly string[] = [],
): void {
  const { origin } = headers;
  const site = headers["sec-fetch-site"];
  if (isAllowedOrigin(origin, allowedOrigins)) return;
  const refuse = (): never => {
    throw new HttpError(403, "CROSS_SITE", "Requests from pages of other sites are refused.");
  };
  if (origin !== undefined && origin !== `http://${headers.host}` && origin !== `https://${headers.host}`) refuse();
  if (site === undefined || site === "same-origin" || site === "none") return;
  const isLink =
    method === "GET" && headers["sec-fetch-mode"] === "navigate" && headers["sec-fetch-dest"] === "document";
  if (!isLink) refuse();
}
