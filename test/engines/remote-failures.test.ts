/** What goes wrong between here and a server: typed errors, retried where that can help, and never the key in any of them. */
import { describe, expect, it, onTestFinished } from "vitest";
import { AbortError } from "../../src/core/errors.ts";
import { parseServerUrl, RemoteEngineError, RemoteHttp } from "../../src/engines/remote-http.ts";
import { RequestLimit } from "../../src/engines/request-limit.ts";
import { TinkerClient, TinkerEngine } from "../../src/engines/tinker/index.ts";

const key = "tml-0123456789-secret";
const url = "http://127.0.0.1:9";

type Answer = { status?: number; body?: unknown; headers?: Record<string, string> } | Error | "hang";

/** A server that gives its answers one after the other, the last one from then on. */
function scripted(...answers: Answer[]): {
  fetch: typeof fetch;
  calls: { url: string; headers: Headers; body: string }[];
} {
  const calls: { url: string; headers: Headers; body: string }[] = [];
  const fake = async (input: unknown, init?: RequestInit): Promise<Response> => {
    calls.push({ url: String(input), headers: new Headers(init?.headers), body: String(init?.body ?? "") });
    const answer = answers[Math.min(calls.length, answers.length) - 1] as Answer;
    if (answer === "hang") {
      return new Promise((_, reject) =>
        init?.signal?.addEventListener("abort", () => reject(init.signal?.reason as Error)),
      );
    }
    if (answer instanceof Error) throw answer;
    const { status = 200, body = {}, headers = {} } = answer;
    const text = typeof body === "string" ? body : JSON.stringify(body);
    return new Response(text, { status, headers: { "content-type": "application/json", ...headers } });
  };
  return { fetch: fake as typeof fetch, calls };
}

const refused = Object.assign(new TypeError("fetch failed"), { cause: new Error(`connect ECONNREFUSED with ${key}`) });

function open(...answers: Answer[]): { http: RemoteHttp; calls: ReturnType<typeof scripted>["calls"] } {
  const { fetch, calls } = scripted(...answers);
  const keyHeader = { name: "x-api-key" };
  return {
    http: new RemoteHttp({ url, apiKey: key, keyHeader, keyHint: "TINKER_API_KEY", fetch, maxDelayMs: 1, attempts: 6 }),
    calls,
  };
}

async function failureOf(attempt: Promise<unknown>): Promise<RemoteEngineError> {
  const error: unknown = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RemoteEngineError);
  return error as RemoteEngineError;
}

describe("requests to a server", () => {
  it.each<[string, Answer, string, number]>([
    ["is away", refused, "ENGINE_UNREACHABLE", 6],
    ["asks for fewer requests", { status: 429, body: { detail: "slow down" } }, "ENGINE_RATE_LIMITED", 6],
    ["breaks", { status: 500, body: "<html>oops</html>" }, "ENGINE_SERVER_ERROR", 6],
    ["is behind a proxy that gives up", { status: 503 }, "ENGINE_SERVER_ERROR", 6],
    ["refuses the key", { status: 401, body: { detail: `no such key: ${key}` } }, "ENGINE_UNAUTHORIZED", 1],
    ["refuses the request", { status: 422, body: { detail: [{ msg: "loss_fn: no" }] } }, "ENGINE_REFUSED", 1],
    ["answers with a page", { body: "<html>welcome</html>" }, "ENGINE_BAD_REPLY", 1],
  ])("say what a server that %s did", async (_, answer, code, calls) => {
    const { http, calls: made } = open(answer);
    const error = await failureOf(http.sendForJson("/api/v1/thing", { json: {} }));
    expect(error.code).toBe(code);
    expect(made).toHaveLength(calls);
    expect(made[0]?.headers.get("x-api-key")).toBe(key);
    expect(error.message).toContain("/api/v1/thing");
  });

  it("succeed when the server is back, after the wait it asked for", async () => {
    const { fetch, calls } = scripted({ status: 503, headers: { "retry-after": "0.05" } }, refused, {
      body: { ok: 1 },
    });
    const waits: number[] = [];
    const http = new RemoteHttp({ url, fetch, maxDelayMs: 40, onRetry: ({ delayMs }) => waits.push(delayMs) });
    expect(await http.sendForJson("/x", { json: {} })).toEqual({ ok: 1 });
    expect(calls).toHaveLength(3);
    expect(waits[0]).toBeCloseTo(50, 5);
  });

  it("end in time, and at once when stopped", async () => {
    const { http } = open("hang");
    const late = await failureOf(http.sendForJson("/x", { json: {}, timeoutMs: 20, attempts: 1 }));
    expect(late).toMatchObject({ code: "ENGINE_TIMEOUT", retryable: true });
    const controller = new AbortController();
    const attempt = http.sendForJson("/x", { json: {}, signal: controller.signal });
    controller.abort();
    await expect(attempt).rejects.toBeInstanceOf(AbortError);
  });

  it("wait for a server that is away once, and ask it once from then on until it answers", async () => {
    const { http, calls } = open(...Array.from({ length: 8 }, () => refused), { body: {} }, refused);
    const lengths: number[] = [];
    // What is asked once by its nature, such as a heartbeat, is no waiting.
    await failureOf(http.send("/x", { json: {}, attempts: 1 }));
    for (const code of ["ENGINE_UNREACHABLE", "ENGINE_UNREACHABLE", undefined, "ENGINE_UNREACHABLE"]) {
      const before = calls.length;
      const attempt = http.sendForJson("/x", { json: {} });
      if (code) expect((await failureOf(attempt)).code).toBe(code);
      else await attempt;
      lengths.push(calls.length - before);
    }
    expect(lengths).toEqual([6, 1, 1, 6]);
  });

  it("carry the server's id of the request", async () => {
    const { http } = open({ status: 400, headers: { "x-request-id": "req-7" } });
    const error = await failureOf(http.sendForJson("/x", { json: {} }));
    expect(error.requestId).toBe("req-7");
    expect(error.message).toContain("req-7");
  });

  it.each([
    ["ftp://x", /is not one/],
    ["not a url", /is not one/],
    ["http://user:hunter2@host", /name or password/],
    ["http://host?key=hunter2", /query/],
  ])("refuse the address %s without repeating what is secret in it", (address, message) => {
    expect(() => parseServerUrl(address)).toThrow(message);
    try {
      parseServerUrl(address);
    } catch (error) {
      expect((error as Error).message).not.toContain("hunter2");
    }
  });

  it("are no more at once than may be, in order", async () => {
    const limit = new RequestLimit(2);
    const started: number[] = [];
    let open = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 7 }, (_, i) =>
        limit
          .run(async () => {
            started.push(i);
            most = Math.max(most, ++open);
            await new Promise((resolve) => setTimeout(resolve, 2));
            open--;
            if (i === 3) throw new Error("one fails");
          })
          .catch(() => undefined),
      ),
    );
    expect(most).toBe(2);
    expect(started).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });
});

/** Answers by path; results of requests come from `future`. */
function tinkerServer(answers: Record<string, Answer[]>): ReturnType<typeof scripted> {
  const byPath = new Map(Object.entries(answers).map(([path, list]) => [path, scripted(...list)]));
  const calls: ReturnType<typeof scripted>["calls"] = [];
  const fake: typeof fetch = (input, init) => {
    const path = new URL(String(input)).pathname.replace("/api/v1/", "");
    calls.push({ url: path, headers: new Headers(init?.headers), body: String(init?.body ?? "") });
    return (byPath.get(path) ?? scripted({ status: 404, body: { detail: "Not Found" } })).fetch(input, init);
  };
  return { fetch: fake, calls };
}

const session = [{ body: { session_id: "s1" } }];
const pending = { body: { request_id: "7" } };

function client(
  answers: Record<string, Answer[]>,
  more: object = {},
): { client: TinkerClient; calls: { url: string }[] } {
  const { fetch, calls } = tinkerServer({ create_session: session, ...answers });
  const made = new TinkerClient({ url, apiKey: key, fetch, maxDelayMs: 1, attempts: 3, ...more });
  onTestFinished(() => made.close());
  return { client: made, calls };
}

const adam = { learning_rate: 1, beta1: 0.9, beta2: 0.9, eps: 1e-8, weight_decay: 0, grad_clip_norm: 0 };

describe("the Tinker client", () => {
  it("waits for a result through time-outs, try-agains and failures in between", async () => {
    const { client: made, calls } = client({
      optim_step: [pending],
      retrieve_future: [
        { status: 408 },
        { body: { type: "try_again", request_id: "7", queue_state: "active" } },
        { status: 502 },
        refused,
        { body: { metrics: { grad_norm: 2 } } },
      ],
    });
    expect(await made.optimStep("m", 1, adam)).toEqual({ grad_norm: 2 });
    expect(calls.filter(({ url }) => url === "retrieve_future")).toHaveLength(5);
  });

  it.each<[string, Answer, string]>([
    [
      "failed, in the hosted service's words",
      { body: { error: `bad ${key}`, category: "user" } },
      "TINKER_FUTURE_FAILED",
    ],
    ["failed, in SkyRL's words", { status: 400, body: { detail: "out of memory" } }, "TINKER_FUTURE_FAILED"],
    ["was forgotten", { status: 404, body: { detail: "Future not found" } }, "TINKER_FUTURE_LOST"],
    ["expired", { status: 410 }, "TINKER_FUTURE_LOST"],
    ["is of an unknown shape", { body: { metrics: "none" } }, "ENGINE_BAD_REPLY"],
  ])("says that a result %s", async (_, answer, code) => {
    const { client: made } = client({ optim_step: [pending], retrieve_future: [answer] });
    const error = await failureOf(made.optimStep("m", 1, adam));
    expect(error.code).toBe(code);
    expect(error.message).not.toContain(key);
  });

  it("gives up on a future that never ends", async () => {
    const { client: made } = client(
      { optim_step: [pending], retrieve_future: ["hang"] },
      { futureTimeoutMs: 60, pollMs: 20 },
    );
    const error = await failureOf(made.optimStep("m", 1, adam));
    expect(error).toMatchObject({ code: "TINKER_FUTURE_TIMEOUT", requestId: "7" });
  });

  it("says when the session or the model is gone", async () => {
    const gone = { status: 404, body: { detail: "Model not found" } };
    const { client: made } = client({ optim_step: [gone], create_sampling_session: [gone] });
    expect(await failureOf(made.optimStep("m", 1, adam))).toMatchObject({ code: "TINKER_LOST", status: 404 });
    const attempt = made.createSamplingSession({ base_model: "b" });
    expect(await failureOf(attempt)).toMatchObject({ code: "TINKER_LOST" });
  });

  it("says when the server wants another client version", async () => {
    const told = { body: { session_id: "s", error_message: "This SDK is no longer supported." } };
    const { client: made } = client({ create_session: [told] });
    const attempt = made.createModel({ baseModel: "b", loraRank: 1, seed: 0 });
    const error = await failureOf(attempt);
    expect(error.code).toBe("TINKER_VERSION");
    expect(error.message).toContain("no longer supported");
  });

  it("goes on when a heartbeat fails, and says so", async () => {
    const warnings: string[] = [];
    const { client: made } = client(
      { create_sampling_session: [{ body: { sampling_session_id: "x" } }], session_heartbeat: [{ status: 500 }] },
      { heartbeatMs: 5, onWarning: (message: string) => warnings.push(message) },
    );
    await made.createSamplingSession({ base_model: "b" });
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(warnings[0]).toContain("heartbeat");
    expect(warnings.join()).not.toContain(key);
  });

  it("sends training requests again under the same numbers and key", async () => {
    const { client: made, calls } = client({
      optim_step: [{ status: 503 }, pending],
      retrieve_future: [{ body: { metrics: {} } }],
    });
    await made.optimStep("m", 5, adam);
    const sent = calls.filter(({ url }) => url === "optim_step") as ReturnType<typeof scripted>["calls"];
    expect(sent).toHaveLength(2);
    expect(sent[0]?.body).toBe(sent[1]?.body);
    expect(sent[0]?.headers.get("x-idempotency-key")).toBe(sent[1]?.headers.get("x-idempotency-key"));
  });
});

const capabilities = [
  { body: { supported_models: [{ model_name: "a" }, { model_name: "b", max_context_length: 64 }] } },
];
const letters = { encodeChat: () => [1], encode: () => [1], decode: () => "", endIds: [0] };

describe("connecting an engine", () => {
  it("names the models that there are when the one asked for is not", async () => {
    const { fetch } = tinkerServer({ get_server_capabilities: capabilities });
    const attempt = TinkerEngine.connect({ url, fetch, apiKey: key, baseModel: "c", tokenizer: letters });
    await expect(attempt).rejects.toMatchObject({ code: "TINKER_MODEL" });
    await expect(attempt).rejects.toThrow(/it has: a, b/);
  });

  it("keeps the key out of its description, and refuses what the API hasn't got", async () => {
    const { fetch } = tinkerServer({ get_server_capabilities: capabilities });
    const engine = await TinkerEngine.connect({ url, fetch, apiKey: key, baseModel: "b", tokenizer: letters });
    onTestFinished(() => engine.close());
    expect(JSON.stringify(engine.description)).not.toContain(key);
    // One less than the server has: a text's log-probs come with a sample behind it.
    expect(engine.contextLength).toBe(63);
    const params = { n: 1, maxTokens: 4, temperature: 1, seed: 0 };
    await expect(engine.sample([[1]], { ...params, minP: 0.1 })).rejects.toThrow(/no minP/);
    await expect(engine.sample([[1]], { ...params, ignoreEnd: true })).rejects.toThrow(/ignore end/);
    await expect(engine.sample([[1]], { ...params, maxTokens: 64 })).rejects.toMatchObject({ code: "ENGINE_CONTEXT" });
    const datum = { prompt: [1], completion: [2] };
    const hot = engine.forwardBackward([datum], { name: "cross_entropy", temperature: 0.7 });
    await expect(hot).rejects.toMatchObject({ code: "TINKER_TEMPERATURE" });
  });

  it("falls back to importance sampling where the server has no such loss, and says so where it has neither", async () => {
    const output = { loss_fn_outputs: [{ logprobs: { data: [-1] } }], metrics: {} };
    const base = {
      get_server_capabilities: capabilities,
      create_session: session,
      create_model: [{ body: { model_id: "m", request_id: "1" } }],
      retrieve_future: [{ body: output }],
      forward: [pending],
    };
    const no = { status: 422, body: { detail: "loss_fn: expected importance_sampling" } };
    const datum = { prompt: [1], completion: [2], oldLogprobs: Float32Array.of(-1), advantage: 1 };
    const options = { url, baseModel: "b", tokenizer: letters, wire: "json" } as const;

    const first = tinkerServer({ ...base, forward_backward: [no, pending] });
    const engine = await TinkerEngine.connect({ ...options, fetch: first.fetch });
    onTestFinished(() => engine.close());
    expect((await engine.forwardBackward([datum], { name: "ppo" })).loss).toBeCloseTo(-1);
    const losses = first.calls
      .filter(({ url }) => url === "forward_backward" || url === "forward")
      .map(({ body }) => /"loss_fn":"(\w+)"/.exec(body)?.[1]);
    expect(losses).toEqual(["ppo", "cross_entropy", "importance_sampling"]);

    const second = tinkerServer({ ...base, forward_backward: [no] });
    const other = await TinkerEngine.connect({ ...options, fetch: second.fetch });
    onTestFinished(() => other.close());
    const error = await failureOf(other.forwardBackward([datum], { name: "ppo" }));
    expect(error.code).toBe("TINKER_LOSS_UNSUPPORTED");
    expect(error.message).toContain("expected importance_sampling");
  });
});
