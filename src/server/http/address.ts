/** Where a request goes. */
import type { IncomingMessage } from "node:http";
import { HttpError } from "./http-error.ts";

/**
 * Path and parameters; the host is of no account. A path that begins with two slashes is a path, not the name of a host.
 * @throws HttpError 400 `BAD_ADDRESS`
 */
export function addressOf({ url = "/" }: Pick<IncomingMessage, "url">): URL {
  const address = url.startsWith("/") ? `http://localhost${url}` : url;
  if (URL.canParse(address)) return new URL(address);
  throw new HttpError(400, "BAD_ADDRESS", "The request's address can't be read.");
}
