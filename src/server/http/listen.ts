/** A listening HTTP server, and its end. */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ConfigError } from "../../core/errors.ts";

export interface ListeningServer {
  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  readonly url: string;
  readonly port: number;
  /** Takes no more requests, breaks off those under way, and is closed. */
  close(): Promise<void>;
}

export interface ListenOptions {
  /** Default `127.0.0.1`: no other machine can connect. */
  host?: string;
  /** 0: any free one. */
  port: number;
  /** Longest time for a request to arrive in whole, in milliseconds; 0: no limit. Default 30,000. */
  requestTimeoutMs?: number;
}

/**
 * Starts a server.
 * @param answer has to take care of its own errors
 * @throws ConfigError `PORT_UNAVAILABLE`
 */
export async function listenHttp(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  { host = "127.0.0.1", port, requestTimeoutMs = 30_000 }: ListenOptions,
): Promise<ListeningServer> {
  const server = createServer({ maxHeaderSize: 16 * 1024 }, answer);
  server.requestTimeout = requestTimeoutMs;
  server.keepAliveTimeout = 75_000;
  server.headersTimeout = 20_000;
  await listen(server, host, port);
  const address = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${address.port}`,
    port: address.port,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const why = cause.code === "EADDRINUSE" ? "another program has it; give another --port" : cause.message;
      reject(new ConfigError("PORT_UNAVAILABLE", `Port ${port} of ${host} can't be listened on: ${why}.`, { cause }));
    });
    server.listen(port, host, resolve);
  });
}
