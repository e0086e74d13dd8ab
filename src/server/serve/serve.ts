/**
 * The service over HTTP: routes, refusals, figures, and an end that finishes what was begun. Who may ask is decided by
 * `../http`; what is answered, by `search-service.ts`.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { isAbort } from "../../core/abort.ts";
import { EngineError, ModelError, RecommenderError, TaskError } from "../../core/errors.ts";
import type { Engine } from "../../engines/engine.ts";
import type { RewriteGate } from "../../eval/rewrite-gate.ts";
import type { Recommender } from "../../recommenders/recommender.ts";
import type { Task } from "../../rl/task.ts";
import { readJson } from "../http/body.ts";
import { isAllowedOrigin, isPreflight, makeGuard } from "../http/guard.ts";
import type { GuardOptions } from "../http/guard.ts";
import { HttpError } from "../http/http-error.ts";
import { listenHttp } from "../http/listen.ts";
import { commonHeaders, describeError, sendError, sendJson, statusOf } from "../http/reply.ts";
import { Batcher } from "./batcher.ts";
import { completeChat } from "./chat.ts";
import { makeMetrics } from "./metrics.ts";
import type { ServeMetrics } from "./metrics.ts";
import { describeApi } from "./openapi.ts";
import { Rewriter } from "./rewriter.ts";
import { chatRequest, exampleOf, rewriteRequest, searchRequestOf } from "./schemas.ts";
import type { HealthReply } from "./schemas.ts";
import { SearchService } from "./search-service.ts";
import type { ShadowComparison } from "./search-service.ts";

export interface ServeOptions extends Omit<GuardOptions, "host" | "cookieName"> {
  engine: Engine;
  task: Task<object>;
  recommender: Recommender;
  /** The name that the policy goes by. */
  modelName: string;
  /** For `/health`. */
  run: string;
  /** Checkpoint that is served; 0: the untrained policy. */
  step: number;
  /** Longest completion of the policy, in tokens. */
  maxTokens: number;
  /** Longest prompt, in tokens; 0: what the context allows. Default 0. */
  maxPromptTokens?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** 0: any free one. */
  port: number;
  /** How long the policy may take until the user's own words are used, in milliseconds. Default 1000. */
  timeLimitMs?: number;
  gate?: RewriteGate;
  /** Given: shadow mode. */
  onShadow?: (comparison: ShadowComparison) => void;
  /** Hits that may be asked for at most. Default 100. */
  maxTopK?: number;
  /** Requests that are answered at a time; beyond, 503. Default 128. */
  maxInFlight?: number;
  /** Requests that may wait for the model. Default 64. */
  maxQueue?: number;
  /** Requests that the model answers in one call. Default 16. */
  maxBatch?: number;
  /** Rewrites remembered. Default 10,000; 0: none. */
  cacheEntries?: number;
  /** How long requests under way may take when the service is closed, in milliseconds. Default 10,000. */
  drainMs?: number;
  /** Told of faults that are not the caller's. */
  onError?: (error: unknown) => void;
}

export interface RunningService {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  /** Refuses what comes, finishes what was begun, and is closed. Engine and recommender stay open. */
  close(): Promise<void>;
}

type Route = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** Seconds after which a refused request may be tried again. */
const retryAfter = { "retry-after": "1" };

const eventHeaders = {
  ...commonHeaders,
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store",
};

/** What pages of origins that are let in may send. */
const preflightHeaders = {
  ...commonHeaders,
  "access-control-allow-methods": "GET, POST",
  "access-control-allow-headers": "content-type, authorization, x-api-key",
  "access-control-max-age": "600",
};

/** Chat conversations may be long; everything else is short. */
const maxChatBytes = 512 * 1024;

/**
 * Starts the service.
 * @throws ConfigError `PORT_UNAVAILABLE`; Error where another address than loopback is asked for without a token
 */
export async function startService(options: ServeOptions): Promise<RunningService> {
  const service = await HttpService.make(options);
  const server = await listenHttp((request, response) => void service.answer(request, response), {
    host: options.host ?? "127.0.0.1",
    port: options.port,
  }).catch(async (error: unknown) => {
    await service.close();
    throw error;
  });
  return {
    url: server.url,
    close: async () => {
      await service.close();
      await server.close();
    },
  };
}

class HttpService {
  private readonly options: ServeOptions;
  private readonly guard: (request: IncomingMessage) => void;
  private readonly batcher: Batcher;
  private readonly service: SearchService;
  private readonly routes: ReadonlyMap<string, Route>;
  private metrics!: ServeMetrics;
  private inFlight = 0;
  private stopping = false;
  private idle: () => void = () => {};

  static async make(options: ServeOptions): Promise<HttpService> {
    const service = new HttpService(options);
    service.metrics = await makeMetrics(
      { waiting: () => service.batcher.waiting, inFlight: () => service.inFlight },
      options.gate,
    );
    return service;
  }

  private constructor(options: ServeOptions) {
    this.options = options;
    const { engine, task, recommender, maxTokens, maxPromptTokens = 0, gate, onShadow, maxTopK = 100 } = options;
    const { token, allowedHosts, allowedOrigins, rate } = options;
    this.guard = makeGuard({
      host: options.host ?? "127.0.0.1",
      ...(token ? { token } : {}),
      ...(allowedHosts ? { allowedHosts } : {}),
      ...(allowedOrigins ? { allowedOrigins } : {}),
      ...(rate ? { rate } : {}),
    });
    this.batcher = new Batcher({
      ...(options.maxQueue === undefined ? {} : { maxQueue: options.maxQueue }),
      ...(options.maxBatch === undefined ? {} : { maxBatch: options.maxBatch }),
      onBatch: (size, milliseconds) => this.metrics.batch(size, milliseconds),
    });
    const { cacheEntries = 10_000 } = options;
    const { batcher } = this;
    this.service = new SearchService({
      task,
      recommender,
      rewriter: new Rewriter({ engine, task, recommender, batcher, maxTokens, maxPromptTokens, cacheEntries }),
      timeLimitMs: options.timeLimitMs ?? 1000,
      ...(gate ? { gate } : {}),
      ...(onShadow
        ? {
            onShadow: (comparison: ShadowComparison) => {
              this.metrics.shadow(comparison);
              onShadow(comparison);
            },
          }
        : {}),
      onFailure: (error) => this.report(error),
    });
    const searchRequest = searchRequestOf(maxTopK);
    const description = describeApi({ maxTopK, withToken: token !== undefined });
    this.routes = new Map<string, Route>(
      Object.entries({
        "POST /search": async (request, response) => {
          const start = performance.now();
          const { topK, ...input } = await readJson(request, searchRequest);
          const answer = await this.service.search(exampleOf(input), topK);
          this.metrics.answer(answer);
          sendJson(response, 200, { ...answer, milliseconds: since(start) });
        },
        "POST /rewrite": async (request, response) => {
          const start = performance.now();
          const example = exampleOf(await readJson(request, rewriteRequest));
          const rawQuery = task.raw(example);
          sendJson(response, 200, {
            ...(await this.service.rewrite(example)),
            rawQuery,
            milliseconds: since(start),
          });
        },
        "POST /v1/chat/completions": (request, response) => this.chat(request, response),
        "GET /v1/models": async (_request, response) => {
          const { modelName: id } = options;
          sendJson(response, 200, { object: "list", data: [{ id, object: "model", created: 0, owned_by: "rec-r1" }] });
        },
        "GET /health": async (_request, response) => {
          sendJson(response, this.stopping ? 503 : 200, this.health());
        },
        "GET /metrics": async (_request, response) => {
          response.writeHead(200, { ...commonHeaders, "content-type": this.metrics.contentType });
          response.end(await this.metrics.text());
        },
        "GET /openapi.json": async (_request, response) => sendJson(response, 200, description),
      } satisfies Record<string, Route>),
    );
  }

  /** Answers a request; never throws. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const start = performance.now();
    let route = "refused";
    let counted = false;
    const { origin } = request.headers;
    if (isAllowedOrigin(origin, this.options.allowedOrigins)) {
      // Refusals, too, are for the page that asked to read.
      response.setHeader("access-control-allow-origin", origin as string);
      response.setHeader("access-control-expose-headers", "retry-after");
      response.setHeader("vary", "origin");
    }
    try {
      this.guard(request);
      if (isPreflight(request, this.options.allowedOrigins)) {
        route = "preflight";
        return void response.writeHead(204, preflightHeaders).end();
      }
      const path = (request.url ?? "/").split("?", 1)[0] as string;
      const method = request.method === "HEAD" ? "GET" : (request.method ?? "GET");
      const found = this.routes.get(`${method} ${path}`);
      if (!found) throw this.noRoute(method, path);
      route = path;
      // Health and figures are answered also when nothing else is.
      if (method === "POST") {
        this.admit();
        counted = true;
        this.inFlight++;
      }
      await found(request, response);
    } catch (error) {
      sendError(response, this.explain(error), (fault) => this.report(fault));
      // What is left of a body that was refused is not waited for.
      if (!request.complete) request.resume();
    } finally {
      if (counted && --this.inFlight === 0) this.idle();
      this.metrics.request(route, response.statusCode, (performance.now() - start) / 1000);
    }
  }

  async close(): Promise<void> {
    this.stopping = true;
    if (this.inFlight > 0) {
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([
        new Promise<void>((resolve) => (this.idle = resolve)),
        new Promise<void>((resolve) => (timer = setTimeout(resolve, this.options.drainMs ?? 10_000))),
      ]);
      clearTimeout(timer);
    }
    await Promise.all([this.batcher.close(), this.service.close()]);
  }

  private noRoute(method: string, path: string): HttpError {
    const allowed = ["GET", "POST"].filter((other) => this.routes.has(`${other} ${path}`));
    if (allowed.length === 0) return new HttpError(404, "NOT_FOUND", "There is nothing here; see /openapi.json.");
    return new HttpError(405, "METHOD_NOT_ALLOWED", `${path} takes ${allowed.join(", ")}, not ${method}.`, {
      allow: allowed.join(", "),
    });
  }

  /** @throws HttpError 503 where there is no room for another request */
  private admit(): void {
    if (this.stopping) {
      throw new HttpError(503, "STOPPING", "The service is stopping.", { ...retryAfter, connection: "close" });
    }
    if (this.inFlight >= (this.options.maxInFlight ?? 128)) {
      throw new HttpError(503, "OVERLOADED", "Too many requests at once; try again later.", retryAfter);
    }
  }

  private async chat(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = await readJson(request, chatRequest, maxChatBytes);
    const { engine, modelName } = this.options;
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const parts = { engine, batcher: this.batcher, modelName, maxTokens: 256, signal: gone.signal };
    if (!asked.stream) return sendJson(response, 200, await completeChat(asked, parts));
    const write = (event: string): void => {
      if (!response.headersSent) response.writeHead(200, eventHeaders);
      response.write(event);
    };
    try {
      await completeChat(asked, { ...parts, write });
    } catch (error) {
      if (!response.headersSent) throw error;
      // What was begun can't get another status; clients read the error from the stream.
      const { code, message } = describeError(this.explain(error), (fault) => this.report(fault));
      write(`data: ${JSON.stringify({ error: { code, message } })}\n\n`);
    }
    response.end();
  }

  private health(): HealthReply {
    const { run, step, modelName, gate, onShadow } = this.options;
    return {
      status: this.stopping ? "stopping" : "ok",
      run,
      step,
      model: modelName,
      mode: onShadow ? "shadow" : "tuned",
      waiting: this.batcher.waiting,
      gate: gate ? { metric: gate.metric, examples: gate.examples, ...gate.measured } : null,
    };
  }

  /** What the caller is told of an error. Backends' own messages stay here: they may name machines. */
  private explain(error: unknown): unknown {
    if (error instanceof EngineError && error.code === "ENGINE_BUSY") {
      return new HttpError(503, "OVERLOADED", error.message, retryAfter);
    }
    if (isAbort(error)) return new HttpError(503, "STOPPING", "The service is stopping.", retryAfter);
    if (error instanceof TaskError) return new HttpError(422, error.code, error.message);
    if (error instanceof RecommenderError) {
      this.report(error);
      return new HttpError(502, error.code, "The search engine did not answer.");
    }
    if (error instanceof EngineError || error instanceof ModelError) {
      this.report(error);
      return new HttpError(statusOf(error), error.code, "The model did not answer.");
    }
    return error;
  }

  private report(error: unknown): void {
    const part = error instanceof RecommenderError ? "search" : error instanceof TaskError ? "task" : "model";
    this.metrics.failure(part);
    this.options.onError?.(error);
  }
}

const since = (start: number): number => Number((performance.now() - start).toFixed(2));
