/** An HTTP server on this machine that answers by a function, and remembers what it was asked. */
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, onTestFinished } from "vitest";
import type { Hit, Recommender } from "../../src/recommenders/recommender.ts";

export interface Received {
  method: string;
  /** As sent: path and query string, encoded. */
  path: string;
  headers: IncomingMessage["headers"];
  body: string;
}

/** An answer: JSON with status 200 unless it says otherwise, or text as it is. */
export interface Reply {
  status?: number;
  headers?: Record<string, string>;
  json?: unknown;
  text?: string;
}

/** What the function may say instead of an answer: `hang` never answers, `reset` breaks the connection. */
export type Behaviour = Reply | "hang" | "reset" | "cut";

export interface LocalServer {
  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  url: string;
  readonly received: Received[];
  /** Requests that are being answered now, and the most that ever were. */
  readonly busy: { now: number; most: number };
  close(): Promise<void>;
}

/** @param tls Key and certificate, PEM; with them the server speaks TLS. */
export async function startServer(
  answer: (request: Received) => Behaviour | Promise<Behaviour>,
  tls?: { key: string; cert: string },
): Promise<LocalServer> {
  const received: Received[] = [];
  const busy = { now: 0, most: 0 };
  const listener: RequestListener = (request, response) => {
    busy.most = Math.max(busy.most, ++busy.now);
    response.once("close", () => busy.now--);
    readText(request).then(
      async (body) => {
        const got = { method: request.method ?? "", path: request.url ?? "", headers: request.headers, body };
        received.push(got);
        behave(response, await answer(got));
      },
      () => response.destroy(),
    );
  };
  const server: Server = tls ? createTlsServer(tls, listener) : createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `${tls ? "https" : "http"}://127.0.0.1:${port}`,
    received,
    busy,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** {@link startServer} for the tests of a file, each of whose servers is closed after its test. */
export function serversForTests(): typeof startServer {
  const servers: LocalServer[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close();
  });
  return async (...args) => {
    const server = await startServer(...args);
    servers.push(server);
    return server;
  };
}

/** A certificate of 127.0.0.1 that nobody else signed, and its key: PEM, and the certificate as a file until the test ends. */
export async function makeCertificate(): Promise<{ key: string; cert: string; certFile: string }> {
  const dir = await mkdtemp(join(tmpdir(), "rec-r1-tls-"));
  onTestFinished(() => rm(dir, { recursive: true }));
  const [keyFile, certFile] = [join(dir, "key.pem"), join(dir, "cert.pem")];
  const openssl = spawnSync(
    "openssl",
    [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
      ...["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", keyFile, "-out", certFile],
    ],
    { encoding: "utf8" },
  );
  expect(openssl.status, openssl.stderr).toBe(0);
  return { key: await readFile(keyFile, "utf8"), cert: await readFile(certFile, "utf8"), certFile };
}

/** Limits under which trouble is over soon. */
export const quick = { baseDelayMs: 1, maxDelayMs: 2, timeoutMs: 2000 };

/** The answers to `texts`, at most five hits each. */
export function ask(recommender: Recommender, ...texts: string[]): Promise<Hit[][]> {
  return recommender.search(
    texts.map((text) => ({ text })),
    { topK: 5 },
  );
}

function behave(response: ServerResponse, behaviour: Behaviour): void {
  if (behaviour === "hang") return;
  if (behaviour === "reset") {
    response.socket?.resetAndDestroy();
    return;
  }
  if (behaviour === "cut") {
    response.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
    response.write('{"results": [');
    setTimeout(() => response.destroy(), 5);
    return;
  }
  const { status = 200, headers = {}, json, text } = behaviour;
  const type = text === undefined ? "application/json" : "text/html";
  response.writeHead(status, { "content-type": type, ...headers });
  response.end(text ?? JSON.stringify(json));
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}
