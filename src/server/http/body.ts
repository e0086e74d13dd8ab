/** Request bodies: of limited size, and of a known shape. */
import type { IncomingMessage } from "node:http";
import type { z } from "zod";
import { HttpError } from "./http-error.ts";

/**
 * The whole body.
 * @throws HttpError 413 above `maxBytes`, before more of it is read
 */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const tooLarge = (): HttpError =>
    new HttpError(413, "TOO_LARGE", `Bodies may have ${maxBytes} bytes.`, { connection: "close" });
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/**
 * A JSON body of a known shape. Only `application/json` is taken: other types can be sent across sites without asking.
 * @param maxBytes Default 64 KiB.
 * @throws HttpError 413, 415, 400 `BAD_JSON`, or 422 `BAD_REQUEST` naming the fields
 */
export async function readJson<T>(request: IncomingMessage, schema: z.ZodType<T>, maxBytes = 64 * 1024): Promise<T> {
  const type = (request.headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    throw new HttpError(415, "BAD_TYPE", "Expected a body with content-type application/json.");
  }
  return checkShape(parseJson(await readBody(request, maxBytes)), schema);
}

/** @throws HttpError 400 `BAD_JSON` */
export function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (error) {
    throw new HttpError(400, "BAD_JSON", `The body is not JSON: ${(error as Error).message.slice(0, 100)}`);
  }
}

/** @throws HttpError 422 `BAD_REQUEST`, naming up to five fields */
export function checkShape<T>(value: unknown, schema: z.ZodType<T>): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.slice(0, 5).map(({ path, message }) => `${path.join(".") || "body"}: ${message}`);
  throw new HttpError(422, "BAD_REQUEST", issues.join("; "));
}
