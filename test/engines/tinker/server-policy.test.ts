/** The order of requests, how many are open, and a policy that fails in the middle. */
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { randomStream } from "../../../src/core/random.ts";
import type { Datum } from "../../../src/engines/engine.ts";
import { TinkerEngine, type TinkerEngineOptions } from "../../../src/engines/tinker/index.ts";
import { temporaryFolder } from "../local/tiny-models.ts";

const url = "http://127.0.0.1:9";
const letters = { encodeChat: () => [1], encode: () => [1], decode: () => "a", endIds: [0] };
type Json = Record<string, unknown>;

const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

interface Reply {
  status?: number;
  body: Json;
}

/**
 * A server of the API's older form, whose every answer takes a moment: samples one token, and gives log-prob −1 for every
 * target.
 */
class FakeServer {
  readonly asked: { path: string; body: Json }[] = [];
  /** Requests open right now, and the most that ever were. */
  open = 0;
  mostOpen = 0;
  /** Answers in place of the ordinary ones. */
  answer: (path: string, body: Json) => Reply | undefined = () => undefined;
  private readonly results = new Map<string, Json>();
  private counter = 0;
  delay: (path: string) => Promise<void> = soon;

  readonly fetch = (async (input: unknown, init?: RequestInit): Promise<Response> => {
    const path = new URL(String(input)).pathname.replace("/api/v1/", "");
    const body = JSON.parse(typeof init?.body === "string" ? init.body : "{}") as Json;
    this.mostOpen = Math.max(this.mostOpen, ++this.open);
    await this.delay(path);
    this.open--;
    this.asked.push({ path, body });
    const { status = 200, body: reply } = this.answer(path, body) ?? this.ordinary(path, body);
    return new Response(JSON.stringify(reply), { status, headers: { "content-type": "application/json" } });
  }) as typeof fetch;

  /** Paths with a sequence number, as they arrived. */
  get inOrder(): [string, number][] {
    return this.asked
      .filter(({ path, body }) => "seq_id" in body && path !== "asample")
      .map(({ path, body }) => [path, body.seq_id as number]);
  }

  count(path: string): number {
    return this.asked.filter((one) => one.path === path).length;
  }

  private ordinary(path: string, body: Json): Reply {
    const models = [{ model_name: "m", max_context_length: 64 }];
    if (path === "get_server_capabilities") return { body: { supported_models: models } };
    if (path === "client/config") return { body: { fwdbwd_max_chunk_len: 2 } };
    if (path === "create_session") return { body: { session_id: "s" } };
    if (path === "create_sampling_session") return { body: { sampling_session_id: "r" } };
    if (path === "session_heartbeat") return { body: {} };
    if (path === "retrieve_future") return { body: this.results.get(body.request_id as string) ?? {} };
    const request_id = String(++this.counter);
    this.results.set(request_id, this.resultOf(path, body));
    return { body: { request_id, model_id: `model-${this.count("create_model")}` } };
  }

  private resultOf(path: string, body: Json): Json {
    if (path === "asample") return { sequences: [{ stop_reason: "length", tokens: [3], logprobs: [-1] }] };
    if (path === "optim_step") return { metrics: { grad_norm: 1 } };
    if (path === "save_weights") return { path: `tinker://kept/weights/${String(body.path)}` };
    if (path === "save_weights_for_sampler") return { sampling_session_id: "p" };
    const { data = [] } = (body.forward_backward_input ?? body.forward_input ?? {}) as {
      data?: { loss_fn_inputs: { target_tokens: { data: number[] } } }[];
    };
    const outputs = data.map(({ loss_fn_inputs: { target_tokens } }) => ({
      logprobs: { data: target_tokens.data.map(() => -1) },
    }));
    return { loss_fn_outputs: outputs, metrics: {} };
  }
}

async function connect(options: Partial<TinkerEngineOptions> = {}): Promise<{
  server: FakeServer;
  engine: TinkerEngine;
}> {
  const server = new FakeServer();
  const engine = await TinkerEngine.connect({
    ...{ url, wire: "json", tokenizer: letters, fetch: server.fetch, maxDelayMs: 1, attempts: 3 },
    ...options,
  });
  onTestFinished(() => engine.close());
  return { server, engine };
}

const data = Array.from({ length: 7 }, (_, i): Datum => ({
  prompt: [1, 2],
  completion: [3, i + 4],
  oldLogprobs: Float32Array.of(-1, -1),
  advantage: i - 3,
}));
const adam = { learningRate: 1e-3 };
const params = { n: 1, maxTokens: 1, temperature: 1, seed: 0 };
const prompts = Array.from({ length: 40 }, (_, i) => [1, i + 2]);

describe("requests of an engine on a server", () => {
  it("are never more than may be open, with sampling, training and heartbeats at once", async () => {
    const { server, engine } = await connect({ maxOpenRequests: 5, heartbeatMs: 2 });
    const sampling = [engine.sample(prompts, params), engine.sample(prompts, { ...params, weights: "reference" })];
    for (let step = 0; step < 3; step++) {
      await engine.forwardBackward(data, { name: "ppo" });
      await engine.optimStep(adam);
    }
    await Promise.all(sampling);
    expect(server.count("asample")).toBe(2 * prompts.length);
    expect(server.count("session_heartbeat")).toBeGreaterThan(0);
    expect(server.mostOpen).toBeLessThanOrEqual(5);
    expect(server.mostOpen).toBeGreaterThanOrEqual(4);
  });

  it("leave training a place while every place for sampling is taken", async () => {
    const held: (() => void)[] = [];
    const { server, engine } = await connect({ maxOpenRequests: 4 });
    server.delay = (path) => (path === "asample" ? new Promise<void>((resolve) => held.push(resolve)) : soon());
    const sampling = engine.sample(prompts, params);
    await engine.forwardBackward(data, { name: "ppo" });
    expect((await engine.optimStep(adam)).applied).toBe(true);
    expect(server.count("asample")).toBe(0);
    const timer = setInterval(() => held.splice(0).forEach((end) => end()), 1);
    onTestFinished(() => clearInterval(timer));
    expect(await sampling).toHaveLength(prompts.length);
  });

  it("are refused fewer places than they need", async () => {
    await expect(connect({ maxOpenRequests: 2 })).rejects.toMatchObject({ code: "BAD_OPTION" });
  });

  it("arrive in the order of their numbers, also where some take longer or are sent twice", async () => {
    const { server, engine } = await connect();
    const random = randomStream(1, "delays");
    server.delay = () => new Promise((resolve) => setTimeout(resolve, 6 * random.next()));
    const refused = new Set<unknown>();
    server.answer = (_, { seq_id }) => {
      if (typeof seq_id !== "number" || seq_id % 3 !== 0 || refused.has(seq_id)) return undefined;
      refused.add(seq_id);
      return { status: 503, body: {} };
    };
    const sampling = [];
    for (let step = 0; step < 3; step++) {
      sampling.push(engine.sample([[1, 2]], params));
      const training = engine.forwardBackward(data, { name: "ppo" });
      sampling.push(engine.sample([[1, 3]], params));
      await training;
      await engine.optimStep(adam);
    }
    await Promise.all(sampling);
    const numbers = server.inOrder.map(([, number]) => number);
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    expect([...new Set(numbers)]).toEqual(Array.from({ length: numbers.at(-1)! }, (_, i) => i + 1));
    expect(numbers.length).toBeGreaterThan(new Set(numbers).size);
  });

  it("that a batch is cut into are open one at a time", async () => {
    const { server, engine } = await connect();
    const result = await engine.forwardBackward(data, { name: "ppo" });
    expect(result.logprobs).toHaveLength(data.length);
    expect(server.count("forward_backward")).toBe(4);
    expect(server.mostOpen).toBeLessThanOrEqual(2);
  });
});

describe("a policy on a server", () => {
  it("drops what a pass left behind that failed in the middle, before it learns again", async () => {
    const { server, engine } = await connect();
    server.answer = (path) =>
      path === "forward_backward" && server.count(path) > 2 ? { status: 500, body: {} } : undefined;
    await expect(engine.forwardBackward(data, { name: "ppo" })).rejects.toMatchObject({ code: "ENGINE_SERVER_ERROR" });
    server.answer = () => undefined;
    expect(await engine.optimStep(adam)).toEqual({ gradNorm: 0, applied: false });
    expect(server.count("optim_step")).toBe(0);
    await engine.logprobs(data);
    expect(server.count("load_weights")).toBe(0);

    const before = server.asked.length;
    await engine.forwardBackward(data, { name: "ppo" });
    expect((await engine.optimStep(adam)).applied).toBe(true);
    const paths = server.asked.slice(before).map(({ path }) => path);
    const changes = paths.filter(
      (path) => /_weights$|create_model|unload|optim/.test(path) || path.startsWith("forward"),
    );
    expect(changes.slice(0, 5)).toEqual([
      "save_weights",
      "unload_model",
      "create_model",
      "load_weights",
      "forward_backward",
    ]);
    const kept = server.asked.find(({ path }) => path === "save_weights")?.body.path as string;
    expect(server.asked.find(({ path }) => path === "load_weights")?.body.path).toBe(`tinker://kept/weights/${kept}`);
    expect(server.count(`training_runs/kept/checkpoints/weights/${kept}`)).toBe(1);
  });

  it("is not begun anew, untrained, where its state can't be loaded right now", async () => {
    const folder = await temporaryFolder();
    const { server, engine } = await connect();
    await engine.saveState(join(folder, "first"));
    server.answer = (path) => (path === "load_weights" ? { status: 503, body: {} } : undefined);
    await expect(engine.loadState(join(folder, "first"))).rejects.toMatchObject({ code: "ENGINE_SERVER_ERROR" });
    await expect(engine.saveState(join(folder, "second"))).rejects.toMatchObject({ code: "ENGINE_SERVER_ERROR" });
    expect(server.count("save_weights")).toBe(1);
    server.answer = () => undefined;
    const before = server.asked.length;
    await engine.saveState(join(folder, "third"));
    const paths = server.asked.slice(before).map(({ path }) => path);
    expect(paths.filter((path) => /weights|create_model/.test(path))).toEqual([
      "create_model",
      "load_weights",
      "save_weights",
    ]);
  });

  it("is freed by one request when the engine is closed, without waiting for it", async () => {
    const { server, engine } = await connect();
    await engine.forwardBackward(data, { name: "ppo" });
    server.answer = (path) => (path === "unload_model" ? { status: 503, body: {} } : undefined);
    const before = server.asked.length;
    await engine.close();
    expect(server.asked.slice(before).map(({ path }) => path)).toEqual(["unload_model"]);
  });
});
