/** Serves the Tinker API on this machine's loopback address: other machines come through an SSH tunnel. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { contentDigest, matchesDigest } from "../../core/content-digest.ts";
import { addressOf } from "../http/address.ts";
import { readBody } from "../http/body.ts";
import { HttpError } from "../http/http-error.ts";
import { checkHost, checkSite } from "../http/guard.ts";
import { listenHttp } from "../http/listen.ts";
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
 * @throws ConfigError `PORT_UNAVAILABLE`
 */
export async function listenTinker(options: TinkerApiOptions & { port: number }): Promise<TinkerServer> {
  const api = new TinkerApi(options);
  try {
    // A client's wait for a result is held open on purpose.
    const server = await listenHttp((request, response) => void answer(api, request, response), {
      port: options.port,
      requestTimeoutMs: 0,
    });
    return {
      url: server.url,
      close: async () => {
        await server.close();
        await api.close();
      },
    };
  } catch (error) {
    await api.close();
    throw error;
  }
}

async function answer(api: TinkerApi, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    checkHost(request.headers.host);
    checkSite(request);
    const body = await readBody(request, maxBodyBytes);
    if (!matchesDigest(request.headers["content-digest"], body)) {
      response.writeHead(400, { "content-type": "application/json", connection: "close", "x-should-retry": "true" });
      return void response.end('{"detail":"The body was damaged on its way: it is not what content-digest says."}');
    }
    const { method = "GET" } = request;
    const headers = request.headers as Record<string, string | undefined>;
    const {
      status,
      contentType,
      body: reply,
    } = await api.handle({
      method,
      path: addressOf(request).pathname,
      headers,
      body,
    });
    response.writeHead(status, {
      "content-type": contentType,
      "content-length": Buffer.byteLength(reply),
      "content-digest": contentDigest(reply),
    });
    response.end(reply);
  } catch (error) {
    // Anything else: the client went away in the middle of its request.
    if (!(error instanceof HttpError)) return void response.destroy();
    response.writeHead(error.status, { "content-type": "application/json", connection: "close" });
    response.end(JSON.stringify({ detail: error.message }));
  }
}
