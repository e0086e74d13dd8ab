/** The service on a scripted policy and word search, and requests to it; all of it ends with the test. */
import { request as sendRequest, type IncomingMessage } from "node:http";
import { onTestFinished } from "vitest";
import { defineTask } from "../../../src/rl/task.ts";
import type { Task } from "../../../src/rl/task.ts";
import { startService } from "../../../src/server/serve/serve.ts";
import type { ServeOptions } from "../../../src/server/serve/serve.ts";
import { ScriptedEngine } from "../../support/scripted-engine.ts";
import { WordSearch } from "../../support/word-search.ts";

export const items = {
  stapler: "stapler full strip black",
  clip: "paper clip silver",
  tape: "sticky tape",
  glue: "glue stick",
};

/** What the policy writes; it knows nothing else. */
const rewrites: Record<string, string> = {
  "thing that joins sheets": "stapler clip",
  "joins sheets of paper": "stapler",
  nonsense: "zzz",
  same: "same",
};

export const officeTask: Task<object> = defineTask<{ query: string }>({
  name: "office",
  data: { train: [{ query: "thing that joins sheets" }] },
  prompt: ({ query }) => query,
  reward: () => 0,
  topK: 20,
}) as unknown as Task<object>;

export interface Started {
  url: string;
  engine: ScriptedEngine;
  recommender: WordSearch;
  errors: unknown[];
  close: () => Promise<void>;
  /** Posts JSON. */
  post: (path: string, body: unknown, headers?: Record<string, string>) => Promise<Reply>;
  get: (path: string, headers?: Record<string, string>) => Promise<Reply>;
}

export interface Reply {
  status: number;
  headers: IncomingMessage["headers"];
  text: string;
  // Replies are looked into field by field.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  json: any;
}

export async function startOffice(options: Partial<ServeOptions> = {}): Promise<Started> {
  const engine = new ScriptedEngine((prompt) => (Object.hasOwn(rewrites, prompt) ? (rewrites[prompt] as string) : ""));
  const recommender = new WordSearch(items);
  const errors: unknown[] = [];
  const service = await startService({
    engine,
    task: officeTask,
    recommender,
    modelName: "office",
    run: "runs/office",
    step: 7,
    maxTokens: 32,
    port: 0,
    rate: { perSecond: 1e6, burst: 1e6 },
    timeLimitMs: 30_000,
    onError: (error) => errors.push(error),
    ...options,
  });
  let isClosed = false;
  const close = async (): Promise<void> => {
    if (isClosed) return;
    isClosed = true;
    await service.close();
  };
  onTestFinished(close);
  return {
    url: service.url,
    engine,
    recommender,
    errors,
    close,
    post: (path, body, headers = {}) =>
      send(service.url + path, {
        method: "POST",
        body: typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body),
        headers: { "content-type": "application/json", ...headers },
      }),
    get: (path, headers = {}) => send(service.url + path, { method: "GET", headers }),
  };
}

/** A request with exactly these headers, which `fetch` would not let through. */
export function send(
  url: string,
  { method, headers, body }: { method: string; headers: Record<string, string>; body?: string | Buffer },
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = sendRequest(url, { method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        const isJson = response.headers["content-type"]?.startsWith("application/json");
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text,
          json: isJson ? JSON.parse(text) : undefined,
        });
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

/** A promise that a test ends when it likes. */
export function makeHold(): { promise: Promise<void>; release: () => void } {
  let release = (): void => {};
  const promise = new Promise<void>((resolve) => (release = resolve));
  return { promise, release };
}

/** Waits until something is true, looking again and again. */
export async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 2));
}
