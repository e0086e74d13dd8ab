/** The server's paths without a socket: what it takes, what it refuses, what it keeps. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { Engine } from "../../../src/engines/engine.ts";
import { LocalEngine } from "../../../src/engines/local/index.ts";
import { TinkerApi, type TinkerApiOptions } from "../../../src/server/tinker/api.ts";
import { Futures, RequestError } from "../../../src/server/tinker/futures.ts";
import { makeTinyModel, temporaryFolder } from "../../engines/local/tiny-models.ts";

vi.setConfig({ testTimeout: 120_000 });

type Json = Record<string, unknown>;

async function makeApi(options: Partial<TinkerApiOptions> = {}): Promise<{
  post: (path: string, body: unknown, headers?: Record<string, string>) => Promise<{ status: number; body: Json }>;
  remove: (path: string) => Promise<number>;
  result: (reply: { body: Json }) => Promise<Json>;
  model: () => Promise<string>;
  opened: Engine[];
}> {
  const tiny = await makeTinyModel();
  const opened: Engine[] = [];
  const api = new TinkerApi({
    modelName: "tiny",
    contextLength: 64,
    dir: await temporaryFolder(),
    openPolicy: async ({ loraRank, seed }) => {
      const engine = new LocalEngine(tiny, { loraRank, seed, threads: 1 });
      opened.push(engine);
      return engine;
    },
    ...options,
  });
  onTestFinished(() => api.close());
  const post = async (
    path: string,
    body: unknown,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; body: Json }> => {
    const bytes =
      body instanceof Uint8Array ? body : Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
    const own = { "content-type": "application/json", ...headers };
    const reply = await api.handle({ method: "POST", path: `/api/v1/${path}`, headers: own, body: bytes });
    return { status: reply.status, body: JSON.parse(Buffer.from(reply.body).toString()) as Json };
  };
  const remove = async (path: string): Promise<number> => {
    const request = { method: "DELETE", path: `/api/v1/${path}`, headers: {}, body: new Uint8Array() };
    return (await api.handle(request)).status;
  };
  const result = async ({ body }: { body: Json }): Promise<Json> =>
    (await post("retrieve_future", { request_id: body.request_id })).body;
  const model = async (): Promise<string> => {
    const { body: session } = await post("create_session", { tags: [], sdk_version: "0.25.0" });
    const made = await post("create_model", {
      session_id: session.session_id,
      base_model: "tiny",
      lora_config: { rank: 2, seed: 1 },
    });
    await result(made);
    return made.body.model_id as string;
  };
  return { post, remove, result, model, opened };
}

const tokens = [1, 2, 3, 4, 5];
const datum = (inputs: Json = {}): Json => ({
  model_input: { chunks: [{ tokens: tokens.slice(0, -1) }] },
  loss_fn_inputs: { target_tokens: { data: tokens.slice(1) }, ...inputs },
});
const pass = (model_id: string, data: Json[], loss_fn = "cross_entropy", more: Json = {}): Json => ({
  model_id,
  seq_id: 1,
  forward_backward_input: { data, loss_fn, ...more },
});
const row = (...data: number[]): Json => ({ data });

describe("the Tinker server", () => {
  it.each<[string, string, unknown, number, RegExp]>([
    ["an unknown path", "no_such_thing", {}, 404, /Not Found/],
    ["an unknown session", "create_model", { session_id: "s", base_model: "tiny" }, 404, /Session not found/],
    ["a heartbeat that is not JSON", "session_heartbeat", "{", 422, /not JSON/],
    [
      "a field of the wrong type",
      "optim_step",
      { model_id: "m", adam_params: { learning_rate: "fast" } },
      422,
      /learning_rate/,
    ],
    ["an unknown model", "optim_step", { model_id: "m", adam_params: {} }, 404, /Model not found/],
    ["a result that never was", "retrieve_future", { request_id: "77" }, 404, /Future not found/],
    ["a path out of its folder", "weights_info", { tinker_path: "tinker://../weights/.." }, 400, /expected tinker/],
  ])("answers %s", async (_, path, body, status, said) => {
    const { post } = await makeApi();
    const reply = await post(path, body);
    expect(reply.status).toBe(status);
    expect(JSON.stringify(reply.body)).toMatch(said);
  });

  it.each<[string, (id: string) => Json, RegExp]>([
    ["a loss it hasn't got", (id) => pass(id, [datum()], "dro"), /loss_fn: got 'dro', expected one of cross_entropy/],
    [
      "settings of another loss",
      (id) => pass(id, [datum()], "cross_entropy", { loss_fn_config: { beta: 1 } }),
      /has no 'beta'/,
    ],
    [
      "a policy loss without advantages",
      (id) => pass(id, [datum({ logprobs: row(0, 0, 0, 0) })], "ppo"),
      /needs 'advantages'/,
    ],
    ["too few weights", (id) => pass(id, [datum({ weights: row(1) })]), /'weights' has 1 numbers for 4 tokens/],
    [
      "targets that don't follow",
      (id) => pass(id, [datum({ target_tokens: row(2, 9, 4, 5) })]),
      /target 1 is not the token/,
    ],
    ["no data", (id) => pass(id, []), /data: empty/],
  ])("refuses %s before it becomes work", async (_, body, said) => {
    const { post, model } = await makeApi();
    const reply = await post("forward_backward", body(await model()));
    expect(reply.status).toBe(422);
    expect(reply.body.detail).toMatch(said);
  });

  it("makes a model from a saved state in one request, under the name that the client goes on with", async () => {
    const { post, result, model } = await makeApi();
    const saved = await result(await post("save_weights", { model_id: await model(), seq_id: 1, path: "kept" }));
    const { session_id } = (await post("create_session", {})).body;
    const load = { session_id, model_seq_id: 5, path: saved.path, optimizer: true };
    expect(await result(await post("load_weights", load))).toMatchObject({ path: saved.path });
    const model_id = `${session_id as string}:train:5`;
    expect((await post("get_info", { model_id })).body).toMatchObject({ model_data: { lora_config: { rank: 2 } } });
    expect(await post("load_weights", load)).toMatchObject({ status: 409 });
    const again = await result(await post("save_weights", { model_id, seq_id: 1, path: "again" }));
    expect(again.path).toBe(`tinker://${model_id}/weights/again`);
    expect((await post("weights_info", { tinker_path: again.path })).body).toMatchObject({ lora_rank: 2 });
  });

  it("samples from what is saved under a name now, not from what was removed", async () => {
    const { post, remove, result, model } = await makeApi();
    const model_id = await model();
    const kept = { model_id, path: "eval" };
    const { session_id } = (await post("create_session", {})).body;
    const open = async () => {
      const { path } = await result(await post("save_weights_for_sampler", { ...kept, seq_id: ++sequence }));
      const session = await post("create_sampling_session", { session_id, model_path: path });
      return session.body.sampling_session_id;
    };
    const sample = async (sampling_session_id: unknown) => {
      const sampling_params = { max_tokens: 4, seed: 1, temperature: 1 };
      const prompt = { chunks: [{ tokens: [1, 2] }] };
      return post("asample", { sampling_session_id, num_samples: 1, prompt, sampling_params });
    };
    let sequence = 0;
    const learn = async () => {
      const seq_id = ++sequence;
      await result(
        await post("forward_backward", { ...pass(model_id, [datum({ weights: row(1, 1, 1, 1) })]), seq_id }),
      );
      const adam_params = { learning_rate: 0.1 };
      await result(await post("optim_step", { model_id, seq_id: ++sequence, adam_params }));
    };
    const first = await open();
    await learn();
    const before = await result(await sample(first));
    expect(before).toMatchObject({ sequences: [{}] });
    expect(await remove(`training_runs/${model_id}/checkpoints/sampler_weights/eval`)).toBe(204);
    expect(await sample(first)).toMatchObject({ status: 404 });
    const second = await open();
    await learn();
    const after = await result(await sample(second));
    expect(after).toMatchObject({ sequences: [{}] });
    expect(after.sequences).not.toEqual(before.sequences);
  });

  it("names the samples to come, and refuses what it doesn't offer of them", async () => {
    const { post, result } = await makeApi();
    const ask = { base_model: "tiny", num_samples: 3, prompt: { chunks: [{ tokens: [1, 2] }] } };
    const sampling_params = { max_tokens: 2, seed: 1 };
    const promise = await post("asample", { ...ask, sampling_params, topk_sample_logprobs: 0 });
    expect(new Set(promise.body.sample_sequence_ids as string[]).size).toBe(3);
    expect((await result(promise)).sequences).toHaveLength(3);
    const more = await post("asample", { ...ask, sampling_params, topk_sample_logprobs: 5 });
    expect(more).toMatchObject({ status: 400, body: { detail: "topk_sample_logprobs is not offered here." } });
  });

  it("refuses other content types and damaged protobuf", async () => {
    const { post } = await makeApi();
    expect((await post("forward_backward", "x", { "content-type": "text/plain" })).status).toBe(415);
    const damaged = await post("forward_backward", Uint8Array.of(0x0a, 0xff), {
      "content-type": "application/x-protobuf",
    });
    expect(damaged).toMatchObject({ status: 422 });
    const packed = await post("forward_backward", "x", { "content-encoding": "br" });
    expect(packed.status).toBe(415);
  });

  it("asks for the key on every path, where it has one", async () => {
    const { post } = await makeApi({ apiKey: "secret" });
    const bare = await post("create_session", {});
    expect(bare).toMatchObject({ status: 401 });
    expect((await post("create_session", {}, { "x-api-key": "secret" })).status).toBe(200);
    expect((await post("create_session", {}, { authorization: "Bearer secret" })).status).toBe(200);
    expect((await post("create_session", {}, { "x-api-key": "secre" })).status).toBe(401);
  });

  it("carries out a request that is sent twice once, and keeps to its number of models", async () => {
    const { post, result, model } = await makeApi({ maxModels: 1 });
    const id = await model();
    const weights = row(0, 0, 1, 1);
    const [first, second] = [
      await post("forward_backward", pass(id, [datum({ weights })])),
      await post("forward_backward", pass(id, [datum({ weights })])),
    ];
    expect(second.body.request_id).toBe(first.body.request_id);
    await result(first);
    const step = { model_id: id, seq_id: 2, adam_params: { learning_rate: 0.1 } };
    const metrics = (await result(await post("optim_step", step))).metrics as Json;
    expect(metrics).toMatchObject({ applied: 1 });
    expect((await result(await post("optim_step", { ...step, seq_id: 3 }))).metrics).toEqual({
      grad_norm: 0,
      applied: 0,
    });
    const { body: session } = await post("create_session", {});
    const more = await post("create_model", { session_id: session.session_id, base_model: "tiny" });
    expect(more).toMatchObject({ status: 429 });
    await result(await post("unload_model", { model_id: id }));
    expect((await post("create_model", { session_id: session.session_id, base_model: "tiny" })).status).toBe(200);
  });

  it("gives log-probs of every position, those before the first weight too", async () => {
    const { post, result, model } = await makeApi();
    const id = await model();
    const logprobs = async (body: Json, path = "forward_backward"): Promise<number[]> => {
      const { loss_fn_outputs } = (await result(await post(path, body))) as {
        loss_fn_outputs: { logprobs: { data: number[] } }[];
      };
      return loss_fn_outputs[0]!.logprobs.data;
    };
    const forward = { model_id: id, seq_id: 5, forward_input: { data: [datum()], loss_fn: "cross_entropy" } };
    const all = await logprobs(forward, "forward");
    expect(all).toHaveLength(4);
    const some = await logprobs(pass(id, [datum({ weights: row(0, 0, 1, 1) })]));
    some.forEach((value, t) => expect(value).toBeCloseTo(all[t]!, 4));
    const none = await logprobs({ ...pass(id, [datum({ weights: row(0, 0, 0, 0) })]), seq_id: 9 });
    none.forEach((value, t) => expect(value).toBeCloseTo(all[t]!, 4));
  });

  it("frees the models of a session that went quiet", async () => {
    const { post, model, opened } = await makeApi({ sessionTimeoutMs: 30 });
    const id = await model();
    await new Promise((resolve) => setTimeout(resolve, 60));
    await post("create_session", {});
    await vi.waitFor(async () => expect((await post("get_info", { model_id: id })).status).toBe(404));
    await expect(opened[0]!.logprobs([])).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  });
});

describe("work that waits", () => {
  it("is done in order, together where it can be, and tells whose fault a failure was", async () => {
    const errors: unknown[] = [];
    const futures = new Futures({ onError: (error) => errors.push(error), gatherMs: 5 });
    const done: unknown[] = [];
    const together = (items: number[]): Promise<number[]> => {
      done.push(items);
      return Promise.resolve(items.map((item) => item * 2));
    };
    const ids = [
      futures.addTogether("a", 1, together),
      futures.addTogether("a", 2, together),
      futures.addTogether("b", 3, together),
      futures.add(() => Promise.reject(new RequestError(400, "not so"))),
      futures.add(() => Promise.reject(new Error("disk full"))),
    ];
    const outcomes = await Promise.all(ids.map((id) => futures.fetch(id, 5000)));
    expect(done).toEqual([[1, 2], [3]]);
    expect(outcomes).toEqual([
      { kind: "done", value: 2 },
      { kind: "done", value: 4 },
      { kind: "done", value: 6 },
      { kind: "failed", message: "not so", category: "user" },
      { kind: "failed", message: "disk full", category: "server" },
    ]);
    expect(errors).toHaveLength(1);
    await futures.close();
  });

  it("is pending for those who can't wait, and forgotten some time after it was fetched", async () => {
    const futures = new Futures({ keepFetchedMs: -1 });
    let end: (value: string) => void = () => {};
    const id = futures.add(() => new Promise<string>((resolve) => (end = resolve)));
    expect(await futures.fetch(id, 5)).toBe("pending");
    end("there");
    expect(await futures.fetch(id, 1000)).toMatchObject({ value: "there" });
    futures.add(async () => undefined);
    expect(await futures.fetch(id, 5)).toBeUndefined();
    await futures.close();
  });
});
