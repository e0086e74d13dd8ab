/** The Tinker API from both sides: bodies that a server is sent, and replies that a client gets. */
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  decodeForwardBackward,
  decodeForwardBackwardReply,
  decodeSampleReply,
  encodeForwardBackward,
  encodeForwardBackwardReply,
  encodeSampleReply,
  ProtobufError,
} from "../../src/engines/tinker/protobuf.ts";
import { TinkerClient } from "../../src/engines/tinker/index.ts";
import { TinkerApi } from "../../src/server/tinker/api.ts";
import { TabularEngine } from "../support/tabular-engine.ts";
import { damaged, damagedJson, faultOf, fuzz, fuzzFolder, timeout } from "./fuzz.ts";

const request = {
  modelId: "model_1",
  seqId: 3,
  lossFn: "importance_sampling",
  lossFnConfig: { clip: 0.2 },
  forwardOnly: false,
  data: [
    {
      tokens: [1, 2, 3],
      inputs: {
        target_tokens: { dtype: "int64" as const, data: [2, 3, 4] },
        advantages: { dtype: "float32" as const, data: [0, 1, 0.5] },
        logprobs: { dtype: "float32" as const, data: [0, -1, -2] },
      },
    },
  ],
};
const sampleReply = {
  sequences: [{ stopReason: "stop" as const, tokens: [1, 2], logprobs: Float32Array.of(-0.5, -1) }],
  promptLogprobs: Float32Array.of(Number.NaN, -1),
};
const backwardReply = {
  outputs: [{ logprobs: Float32Array.of(-1, -2), elementwise_loss: Float32Array.of(1, 2) }],
  metrics: { "loss:sum": 3 },
};

test("protobuf messages", { timeout }, async () => {
  const messages: [Uint8Array, (bytes: Uint8Array) => unknown][] = [
    [encodeForwardBackward(request), decodeForwardBackward],
    [encodeSampleReply(sampleReply), decodeSampleReply],
    [encodeForwardBackwardReply(backwardReply), decodeForwardBackwardReply],
  ];
  await fuzz({
    name: "protobuf messages",
    inputs: fc.oneof(...messages.map(([bytes, decode]) => damaged(bytes).map((input) => ({ input, decode })))),
    sizeOf: ({ input }) => input.length,
    run: ({ input, decode }) => decode(input),
    // The server answers with 422, the client with a RemoteEngineError.
    check: (error) => (error instanceof ProtobufError ? undefined : faultOf(error)),
  });
});

/** Every request that the API knows, with a body that is right. */
const bodies: Record<string, unknown> = {
  "client/config": { sdk_version: "0.25.0" },
  create_session: { tags: [], user_metadata: {}, sdk_version: "0.25.0", type: "create_session" },
  session_heartbeat: { session_id: "SESSION" },
  create_model: { session_id: "SESSION", model_seq_id: 0, base_model: "tiny", lora_config: { rank: 4, seed: 1 } },
  get_info: { model_id: "MODEL" },
  weights_info: { tinker_path: "tinker://MODEL/weights/one" },
  forward_backward: {
    model_id: "MODEL",
    seq_id: 1,
    forward_backward_input: {
      loss_fn: "cross_entropy",
      data: [
        {
          model_input: { chunks: [{ tokens: [1, 2], type: "encoded_text" }] },
          loss_fn_inputs: { target_tokens: { data: [2, 3] }, weights: { data: [1, 1] } },
        },
      ],
    },
  },
  optim_step: { model_id: "MODEL", seq_id: 2, adam_params: { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8 } },
  save_weights: { model_id: "MODEL", seq_id: 3, path: "one" },
  load_weights: { model_id: "MODEL", seq_id: 4, path: "tinker://MODEL/weights/one" },
  save_weights_for_sampler: { model_id: "MODEL", seq_id: 5, sampling_session_seq_id: 0 },
  create_sampling_session: { session_id: "SESSION", base_model: "tiny" },
  asample: {
    num_samples: 2,
    prompt: { chunks: [{ tokens: [1, 2], type: "encoded_text" }] },
    sampling_params: { max_tokens: 2, seed: 1, temperature: 1, top_k: -1, top_p: 1, stop: [0] },
    base_model: "tiny",
  },
  retrieve_future: { request_id: "1" },
  unload_model: { model_id: "MODEL" },
};

test("bodies that the Tinker server is sent", { timeout }, async () => {
  const faults: unknown[] = [];
  const api = new TinkerApi({
    modelName: "tiny",
    contextLength: 64,
    openPolicy: () => Promise.resolve(new TabularEngine(["a", "b"])),
    dir: await fuzzFolder(),
    holdMs: 1,
    keepMs: 50,
    keepFetchedMs: 50,
    gatherMs: 0,
    onError: (error) => faults.push(error),
  });
  const headers = { "content-type": "application/json" };
  const send = (path: string, body: Uint8Array, type = "application/json") =>
    api.handle({ method: "POST", path: `/api/v1/${path}`, headers: { ...headers, "content-type": type }, body });
  const ask = async (path: string, body: unknown): Promise<Record<string, unknown>> =>
    JSON.parse(String((await send(path, Buffer.from(JSON.stringify(body)))).body)) as Record<string, unknown>;
  const { session_id } = await ask("create_session", bodies.create_session);
  const { model_id } = await ask("create_model", { session_id, base_model: "tiny", lora_config: { rank: 4 } });
  const known = (value: unknown): unknown =>
    JSON.parse(JSON.stringify(value).replaceAll("SESSION", String(session_id)).replaceAll("MODEL", String(model_id)));
  const json = Object.entries(bodies)
    // What ends the model would leave nothing to ask the others about.
    .filter(([path]) => path !== "unload_model")
    .map(([path, body]) => damagedJson(known(body)).map((bytes) => ({ path, bytes, type: "application/json" })));
  const protobuf = damaged(encodeForwardBackward({ ...request, modelId: String(model_id) })).map((bytes) => ({
    path: "forward_backward",
    bytes,
    type: "application/x-protobuf",
  }));
  await fuzz({
    name: "bodies that the Tinker server is sent",
    inputs: fc.oneof(...json, protobuf),
    sizeOf: ({ bytes }) => bytes.length,
    run: async ({ path, bytes, type }) => {
      const { status, body } = await send(path, bytes, type);
      expect([200, 400, 404, 408, 409, 413, 415, 422, 429]).toContain(status);
      if (status >= 400) expect(JSON.parse(String(body))).toMatchObject({ detail: expect.any(String) as string });
    },
    leastRefused: 0,
  });
  await api.close();
});

test("replies that the Tinker client gets", { timeout }, async () => {
  const replies = [
    { path: "create_session", json: { type: "create_session", session_id: "s1", error_message: null } },
    { path: "get_server_capabilities", json: { supported_models: [{ model_name: "tiny", max_context_length: 64 }] } },
    { path: "asample", json: { request_id: "1", future_id: "1", status: "pending" } },
    {
      path: "retrieve_future",
      json: { sequences: [{ stop_reason: "stop", tokens: [1], logprobs: [-1] }], type: "sample" },
    },
  ];
  await fuzz({
    name: "replies that the Tinker client gets",
    // A client that is told to wait does.
    share: 0.1,
    inputs: fc.oneof(...replies.map(({ path, json }) => damagedJson(json).map((bytes) => ({ path, bytes })))),
    sizeOf: ({ bytes }) => bytes.length,
    run: async ({ path, bytes }) => {
      const client = new TinkerClient({
        url: "http://127.0.0.1:9",
        attempts: 1,
        futureTimeoutMs: 20,
        pollMs: 10,
        fetch: (input) => {
          const asked = new URL(String(input)).pathname.replace("/api/v1/", "");
          const own = replies.find((reply) => reply.path === asked);
          const body = asked === path ? bytes : Buffer.from(JSON.stringify(own?.json ?? {}));
          return Promise.resolve(
            new Response(new Uint8Array(body), { headers: { "content-type": "application/json" } }),
          );
        },
      });
      try {
        await client.capabilities();
        await client.createSamplingSession({ base_model: "tiny" }).catch((error: unknown) => {
          if (faultOf(error) !== undefined) throw error;
        });
        await client.sample({
          ...{ samplingSessionId: "x", prompt: [1], n: 1, maxTokens: 1, temperature: 1, topP: 1, topK: 0, seed: 0 },
          stopIds: [],
        });
      } finally {
        client.close();
      }
    },
    leastRefused: 0.02,
  });
});
