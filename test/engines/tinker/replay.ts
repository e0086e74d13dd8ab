/** A server that answers as one did when it was recorded: every exchange of ../shared/fixtures, in its order. */
import { existsSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

const fixtures = join(dirname(fileURLToPath(import.meta.url)), "../../../../shared/fixtures");

export const recordings = {
  json: join(fixtures, "tinker-0.16-json.jsonl"),
  protobuf: join(fixtures, "tinker-0.25-protobuf.jsonl"),
};
export const hasRecordings = Object.values(recordings).every((path) => existsSync(path));

export interface Exchange {
  method: string;
  path: string;
  status: number;
  /** JSON, or the bytes of a protobuf body. */
  request: unknown;
  response: unknown;
  /** What the recorder made of protobuf bodies. */
  request_decoded?: Record<string, unknown>;
  response_decoded?: Record<string, unknown>;
}

const toBody = (value: unknown): unknown => {
  const { __base64__: base64 } = (value ?? {}) as { __base64__?: string };
  return base64 === undefined ? value : Buffer.from(base64, "base64");
};

export function readRecording(path: string): Exchange[] {
  return readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Exchange)
    .map((exchange) => ({ ...exchange, request: toBody(exchange.request), response: toBody(exchange.response) }));
}

export interface Replay {
  url: string;
  /** What was asked, heartbeats and results aside, in order. */
  readonly asked: { path: string; body: unknown; contentType: string; key: string | undefined }[];
}

/**
 * Starts the server: results go by their id, everything else takes the next recorded exchange of its path.
 * @param form the one that the recorded server took; it refuses the other as that server did
 */
export async function startReplay(exchanges: readonly Exchange[], form: "json" | "protobuf"): Promise<Replay> {
  const left = exchanges.filter(
    ({ path }) => !path.endsWith("/session_heartbeat") && !path.endsWith("/retrieve_future"),
  );
  const results = new Map(
    exchanges
      .filter(({ path }) => path.endsWith("/retrieve_future"))
      .map((exchange) => [(exchange.request as { request_id: string }).request_id, exchange]),
  );
  const asked: Replay["asked"] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const bytes = Buffer.concat(await request.toArray());
    const contentType = request.headers["content-type"] ?? "";
    const isProtobuf = contentType === "application/x-protobuf";
    const path = request.url ?? "";
    const body: unknown = isProtobuf || bytes.length === 0 ? bytes : JSON.parse(bytes.toString());
    const send = (status: number, value: unknown): void => {
      const isBytes = Buffer.isBuffer(value);
      response.writeHead(status, { "content-type": isBytes ? "application/x-protobuf" : "application/json" });
      response.end(isBytes ? value : JSON.stringify(value));
    };
    if (path.endsWith("/session_heartbeat")) return send(200, { type: "session_heartbeat" });
    if (path.endsWith("/retrieve_future")) {
      const found = results.get((body as { request_id: string }).request_id);
      return found ? send(found.status, found.response) : send(404, { detail: "Future not found" });
    }
    if (path.endsWith("/forward_backward") && isProtobuf !== (form === "protobuf")) {
      return isProtobuf
        ? send(422, { detail: [{ msg: "JSON decode error" }] })
        : send(415, { detail: "protobuf only" });
    }
    asked.push({ path, body, contentType, key: request.headers["x-api-key"] as string | undefined });
    const next = left.findIndex((exchange) => exchange.path === path && exchange.method === request.method);
    if (next < 0) return send(404, { detail: "Not Found" });
    const [exchange] = left.splice(next, 1);
    send((exchange as Exchange).status, (exchange as Exchange).response);
  };
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}
