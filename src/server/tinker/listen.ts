/** Serves the Tinker API on this machine's loopback address: other machines come through an SSH tunnel. */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ConfigError } from "../../core/errors.ts";
import { TinkerApi, type TinkerApiOptions } from "./api.ts";

export interface TinkerServer {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  /** Stops listening, ends the work under way and frees the models. */
  close(): Promise<void>;
}

/** Largest request body. */
const maxBodyBytes = 64 * 1024 * 1024;

/**
 * Starts a server.
 * @param port 0: any free one
 * @throws ConfigError `PORT_IN_USE` …
 */
export async function listenTinker(options: TinkerApiOptions & { port: number }): Promise<TinkerServer> {
  const api = new TinkerApi(options);
  const server = createServer((request, response) => void answer(api, request, response));
  // A client's wait for a result is held open on purpose.
  server.requestTimeout = 0;
  server.keepAliveTimeout = 75_000;
  try {
    await listen(server, options.port);
  } catch (error) {
    await api.close();
    throw error;
  }
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
      await api.close();
    },
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const why = cause.code === "EADDRINUSE" ? "another program has it; give another --port" : cause.message;
      reject(new ConfigError("PORT_UNAVAILABLE", `Port ${port} of 127.0.0.1 can't be listened on: ${why}.`, { cause }));
    });
    server.listen(port, "127.0.0.1", resolve);
  });
}

async function answer(api: TinkerApi, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const say = (status: number, detail: string): void => {
    response.writeHead(status, { "content-type": "application/json", connection: "close" });
    response.end(JSON.stringify({ detail }));
  };
  try {
    if (!isLocalName(request.headers.host)) return say(403, "Requests must name this machine as localhost.");
    const body = await readBody(request);
    if (!body) return say(413, `Bodies may have ${maxBodyBytes} bytes.`);
    const { method = "GET", url = "/" } = request;
    const headers = request.headers as Record<string, string | undefined>;
    const {
      status,
      contentType,
      body: reply,
    } = await api.handle({
      method,
      path: new URL(url, "http://localhost").pathname,
      headers,
      body,
    });
    response.writeHead(status, { "content-type": contentType, "content-length": Buffer.byteLength(reply) });
    response.end(reply);
  } catch {
    // The client went away in the middle of its request.
    response.destroy();
  }
}

/** A page on the web can make a browser ask this port, but not under this name. */
function isLocalName(host: string | undefined): boolean {
  const name = (host ?? "").replace(/:\d+$/, "");
  return ["localhost", "127.0.0.1", "[::1]"].includes(name);
}

/** The whole body; undefined where it is too large. */
async function readBody(request: IncomingMessage): Promise<Uint8Array | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBodyBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
