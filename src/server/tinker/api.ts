/**
 * The Tinker API over the server's models: each path checks its request, queues the work and answers with the id of its
 * result. Requests and answers are plain values here; sockets are in `listen.ts`.
 */
import { createHash, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import * as zlib from "node:zlib";
import type { z } from "zod";
import type { SamplingParams } from "../../engines/engine.ts";
import {
  decodeForwardBackward,
  encodeForwardBackwardReply,
  encodeSampleReply,
  ProtobufError,
  protobufContentType,
} from "../../engines/tinker/protobuf.ts";
import { forwardBackwardInputSchema } from "../../engines/tinker/wire.ts";
import type { ForwardBackwardReply, ForwardBackwardWire, SampleReply } from "../../engines/tinker/wire.ts";
import { isSameSecret, secretOf } from "../http/token.ts";
import { type FutureOptions, Futures, RequestError } from "./futures.ts";
import { type OpenPolicy, Policies } from "./policies.ts";
import * as bodies from "./request-bodies.ts";
import { readTrainRequest, runTrainRequest } from "./train-data.ts";

export interface TinkerApiOptions extends FutureOptions {
  /** The model's name, as clients ask for it. */
  modelName: string;
  /** In tokens. */
  contextLength: number;
  openPolicy: OpenPolicy;
  /** Saved states are kept here. */
  dir: string;
  /** Models held at once. Default 4. */
  maxModels?: number;
  /** Asked of every request, where given. */
  apiKey?: string;
  /** How long a client's wait for a result is held open, in milliseconds. Default 30,000. */
  holdMs?: number;
  /** A session without a heartbeat for so long is over, in milliseconds. Default 30 minutes. */
  sessionTimeoutMs?: number;
}

export interface ApiRequest {
  method: string;
  path: string;
  /** Names in lower case. */
  headers: Readonly<Record<string, string | undefined>>;
  body: Uint8Array;
}

export interface ApiResponse {
  status: number;
  contentType: string;
  body: Uint8Array | string;
}

/** What a forward_backward body may hold, unpacked. */
const maxBodyBytes = 256 * 1024 * 1024;

/** A result that goes out as protobuf where the client takes it. */
interface Encoded {
  json: () => unknown;
  protobuf: () => Uint8Array;
}

type Handler = (request: ApiRequest) => Promise<unknown>;

/** Answers kept for requests that may be sent again. */
const keptAnswers = 4096;

export class TinkerApi {
  private readonly options: TinkerApiOptions;
  private readonly futures: Futures;
  private readonly policies: Policies;
  /** By id: when it was last heard of. */
  private readonly sessions = new Map<string, number>();
  private readonly handlers: ReadonlyMap<string, Handler>;
  /** Answers by idempotency key: a request that is sent again, since its answer was lost, is carried out once. */
  private readonly answered = new Map<string, Promise<ApiResponse>>();

  constructor(options: TinkerApiOptions) {
    this.options = options;
    this.futures = new Futures(options);
    this.policies = new Policies({ open: options.openPolicy, dir: options.dir, maxModels: options.maxModels ?? 4 });
    this.handlers = new Map<string, Handler>(
      Object.entries({
        "GET healthz": async () => ({ status: "ok" }),
        "GET get_server_capabilities": async () => this.capabilities(),
        "POST client/config": async () => ({
          pjwt_auth_enabled: false,
          fwdbwd_max_chunk_len: 1024,
          sample_max_concurrent_requests: 256,
        }),
        "POST telemetry": async () => ({ status: "accepted" }),
        "POST create_session": async () => this.createSession(),
        "POST session_heartbeat": async (request) => this.heartbeat(request),
        "POST create_model": async (request) => this.createModel(request),
        "POST unload_model": async (request) => this.unloadModel(request),
        "POST get_info": async (request) => this.getInfo(request),
        "POST weights_info": async (request) => this.weightsInfo(request),
        "POST forward_backward": async (request) => this.forwardBackward(request),
        "POST forward": async (request) => this.forwardBackward(request),
        "POST optim_step": async (request) => this.optimStep(request),
        "POST save_weights": async (request) => this.saveWeights(request),
        "POST load_weights": async (request) => this.loadWeights(request),
        "POST save_weights_for_sampler": async (request) => this.saveWeightsForSampler(request),
        "POST create_sampling_session": async (request) => this.createSamplingSession(request),
        "POST asample": async (request) => this.sample(request),
        "POST retrieve_future": async (request) => this.retrieve(request),
      } satisfies Record<string, Handler>),
    );
  }

  /** Answers a request; never throws. */
  async handle(request: ApiRequest): Promise<ApiResponse> {
    const key = request.headers["x-idempotency-key"];
    if (request.method !== "POST" || !key) return this.answer(request);
    const name = `${request.path} ${createHash("sha256")
      .update(`${secretOf(request.headers)}\n${key}`)
      .digest("hex")}`;
    const before = this.answered.get(name);
    if (before) return before;
    const answer = this.answer(request);
    this.answered.set(name, answer);
    const [oldest] = this.answered.keys();
    if (this.answered.size > keptAnswers && oldest !== undefined) this.answered.delete(oldest);
    const response = await answer;
    // A refusal changed nothing, so the same request may be tried anew.
    if (response.status >= 400) this.answered.delete(name);
    return response;
  }

  private async answer(request: ApiRequest): Promise<ApiResponse> {
    try {
      this.authorise(request);
      const name = `${request.method} ${request.path.replace(/^\/api\/v1\//, "")}`;
      const handler = request.path.startsWith("/api/v1/") ? this.handlers.get(name) : undefined;
      const answer = handler ? await handler(request) : await this.handleNamed(request);
      return isResponse(answer) ? answer : json(200, answer);
    } catch (error) {
      if (error instanceof RequestError) return json(error.status, { detail: error.message });
      this.options.onError?.(error);
      return json(500, { detail: error instanceof Error ? error.message : String(error) });
    }
  }

  /** Ends what is being done and frees the models. */
  async close(): Promise<void> {
    await this.futures.close();
    await this.policies.close();
  }

  private authorise({ headers }: ApiRequest): void {
    const { apiKey } = this.options;
    if (apiKey === undefined) return;
    if (!isSameSecret(secretOf(headers), apiKey)) throw new RequestError(401, "Wrong or missing API key.");
  }

  private capabilities(): unknown {
    const { modelName, contextLength } = this.options;
    return { supported_models: [{ model_name: modelName, max_context_length: contextLength }] };
  }

  private createSession(): unknown {
    this.endOldSessions();
    const session_id = `session_${randomBytes(4).toString("hex")}`;
    this.sessions.set(session_id, performance.now());
    return { type: "create_session", info_message: null, warning_message: null, error_message: null, session_id };
  }

  private heartbeat(request: ApiRequest): unknown {
    const { session_id } = read(request, bodies.session);
    this.touchSession(session_id);
    return { type: "session_heartbeat" };
  }

  private createModel(request: ApiRequest): unknown {
    const { session_id, base_model, lora_config } = read(request, bodies.createModel);
    this.touchSession(session_id);
    this.checkModel(base_model);
    const settings = {
      loraRank: lora_config?.rank ?? 32,
      seed: lora_config?.seed ?? randomBytes(4).readUInt32LE() % 2 ** 31,
    };
    this.endOldSessions();
    const model_id = this.policies.reserve(session_id, settings);
    const lora = { rank: settings.loraRank, alpha: 2 * settings.loraRank, seed: settings.seed };
    const made = {
      model_id,
      base_model,
      lora_config: { ...lora, train_attn: true, train_mlp: true, train_unembed: false },
    };
    const request_id = this.futures.add(async () => {
      await this.policies.make(model_id);
      return made;
    });
    return { model_id, base_model, lora_config: lora, status: "created", request_id };
  }

  private unloadModel(request: ApiRequest): unknown {
    const { model_id } = read(request, bodies.model);
    this.policies.get(model_id);
    const request_id = this.futures.add(async () => {
      await this.policies.unload(model_id);
      return { model_id, type: "unload_model" };
    });
    return { request_id, model_id };
  }

  private getInfo(request: ApiRequest): unknown {
    const { model_id } = read(request, bodies.model);
    const { settings } = this.policies.get(model_id);
    const { modelName } = this.options;
    const lora_config = { rank: settings.loraRank, seed: settings.seed };
    return { model_id, status: "created", model_data: { base_model: modelName, lora_config, model_name: modelName } };
  }

  private async weightsInfo(request: ApiRequest): Promise<unknown> {
    const { tinker_path } = read(request, bodies.weightsInfo);
    const { loraRank } = await this.policies.settingsOf(tinker_path);
    return { base_model: this.options.modelName, is_lora: true, lora_rank: loraRank };
  }

  private async forwardBackward(request: ApiRequest): Promise<unknown> {
    const { modelId, seqId, ...wire } = await readForwardBackward(request);
    const work = readTrainRequest(wire);
    return this.train(modelId, seqId, async () => {
      const reply = await runTrainRequest(this.policies.engineOf(modelId), work);
      return {
        json: () => forwardBackwardJson(reply),
        protobuf: () => encodeForwardBackwardReply(reply),
      } satisfies Encoded;
    });
  }

  private optimStep(request: ApiRequest): unknown {
    const { model_id, seq_id, adam_params: adam } = read(request, bodies.optimStep);
    return this.train(model_id, seq_id, async () => {
      await this.policies.beforeChange(model_id);
      const { gradNorm, applied } = await this.policies.engineOf(model_id).optimStep({
        learningRate: adam.learning_rate,
        beta1: adam.beta1,
        beta2: adam.beta2,
        epsilon: adam.eps,
        weightDecay: adam.weight_decay,
        maxGradNorm: adam.grad_clip_norm > 0 ? adam.grad_clip_norm : Infinity,
      });
      // Every metric is a number for clients; what isn't finite has no JSON.
      const norm = Number.isFinite(gradNorm) ? { grad_norm: gradNorm } : {};
      return { metrics: { ...norm, applied: applied ? 1 : 0 }, type: "optim_step" };
    });
  }

  private saveWeights(request: ApiRequest): unknown {
    const { model_id, seq_id, path } = read(request, bodies.saveWeights);
    return this.train(model_id, seq_id, async () => {
      return { path: await this.policies.saveState(model_id, path, "weights"), type: "save_weights" };
    });
  }

  private async loadWeights(request: ApiRequest): Promise<unknown> {
    const asked = read(request, bodies.loadWeights);
    if ("session_id" in asked) return this.createFromWeights(asked);
    const { model_id, seq_id, path } = asked;
    if (this.policies.get(model_id).isUsed) {
      throw new RequestError(
        400,
        "Weights can be loaded only as a model's first operation; make a new model for them.",
      );
    }
    return this.train(model_id, seq_id, async () => {
      await this.policies.loadState(model_id, path);
      return { path, type: "load_weights" };
    });
  }

  /** A new model that begins with a saved state. */
  private async createFromWeights(asked: {
    session_id: string;
    model_seq_id: number;
    base_model?: string | null | undefined;
    path: string;
  }): Promise<unknown> {
    const { session_id, model_seq_id, base_model, path } = asked;
    this.touchSession(session_id);
    if (base_model) this.checkModel(base_model);
    const settings = await this.policies.settingsOf(path);
    // The name by which such clients go on asking for it.
    const model_id = this.policies.reserve(session_id, settings, `${session_id}:train:${model_seq_id}`);
    const request_id = this.futures.add(async () => {
      await this.policies.make(model_id);
      await this.policies.loadState(model_id, path);
      return { path, type: "load_weights" };
    });
    return { future_id: request_id, status: "pending", request_id };
  }

  private saveWeightsForSampler(request: ApiRequest): unknown {
    const { model_id, seq_id, path } = read(request, bodies.saveWeightsForSampler);
    return this.train(model_id, seq_id, async () => {
      const type = "save_weights_for_sampler";
      if (path) {
        const address = await this.policies.saveState(model_id, path, "sampler_weights");
        return { path: address, type, sampling_session_id: null };
      }
      return { path: null, type, sampling_session_id: this.policies.addSampler(model_id) };
    });
  }

  private async createSamplingSession(request: ApiRequest): Promise<unknown> {
    const { session_id, base_model, model_path } = read(request, bodies.createSamplingSession);
    this.touchSession(session_id);
    return { type: "create_sampling_session", sampling_session_id: await this.openSampler(base_model, model_path) };
  }

  /** @throws RequestError */
  private async openSampler(baseModel: string | null | undefined, path: string | null | undefined): Promise<string> {
    if (Boolean(baseModel) === Boolean(path)) {
      throw new RequestError(400, "Exactly one of base_model and model_path must be given.");
    }
    if (path) return this.policies.addSavedSampler(path);
    this.checkModel(baseModel as string);
    return this.policies.addSampler(undefined);
  }

  private async sample(request: ApiRequest): Promise<unknown> {
    const asked = read(request, bodies.sample);
    const { num_samples: n, sampling_params: own, sampling_session_id, prompt_logprobs } = asked;
    const prompt = asked.prompt.chunks.flatMap(({ tokens }) => tokens);
    const foreign = bodies.notOffered.find((name) => Boolean(asked[name]));
    if (foreign) throw new RequestError(400, `${foreign} is not offered here.`);
    const samplerId = sampling_session_id ?? (await this.openSampler(asked.base_model, asked.model_path));
    if (!this.policies.hasSampler(samplerId)) throw new RequestError(404, "Sampling session not found");
    const { max_tokens, temperature, top_k, top_p, seed, stop } = own;
    const params: SamplingParams = {
      n,
      maxTokens: max_tokens ?? this.options.contextLength - prompt.length,
      temperature,
      topP: top_p,
      topK: Math.max(0, top_k),
      seed: seed ?? randomBytes(4).readUInt32LE() % 2 ** 31,
      ...bodies.readStop(stop),
    };
    const key = JSON.stringify([samplerId, params]);
    const future_id = this.futures.addTogether(key, prompt, (prompts) =>
      this.draw(samplerId, prompts, params, prompt_logprobs),
    );
    // Newer clients (0.38) want a name for each sample to come.
    const sample_sequence_ids = Array.from({ length: n }, (_, index) => `sequence_${future_id}_${index}`);
    return { future_id, status: "pending", request_id: future_id, sample_sequence_ids };
  }

  private async draw(
    samplerId: string,
    prompts: readonly (readonly number[])[],
    params: SamplingParams,
    promptLogprobs: boolean,
  ): Promise<Encoded[]> {
    const samples_P_G = await this.policies.sample(samplerId, prompts, params);
    const data = samples_P_G.flatMap((samples, p) =>
      samples.map(({ ids }) => ({ prompt: prompts[p] as readonly number[], completion: ids })),
    );
    // The API's log-probs are those at temperature 1; greedy ones are so already.
    const isOther = params.temperature !== 1 && params.temperature !== 0;
    const logprobs = isOther ? await this.policies.logprobs(samplerId, data) : undefined;
    const ofPrompts = promptLogprobs ? await this.scorePrompts(samplerId, prompts) : undefined;
    return samples_P_G.map((samples, p): Encoded => {
      const reply: SampleReply = {
        sequences: samples.map((sample, g) => ({
          stopReason: sample.stopReason,
          tokens: sample.ids,
          logprobs: logprobs?.[p * params.n + g] ?? sample.logprobs,
        })),
        promptLogprobs: ofPrompts?.[p] ?? null,
      };
      return { json: () => sampleJson(reply), protobuf: () => encodeSampleReply(reply) };
    });
  }

  /** Log-probs of each prompt's tokens `[T]`; the first has none. */
  private async scorePrompts(samplerId: string, prompts: readonly (readonly number[])[]): Promise<Float32Array[]> {
    const long = prompts.filter((prompt) => prompt.length > 1);
    const data = long.map((prompt) => ({ prompt: prompt.slice(0, 1), completion: prompt.slice(1) }));
    const found = data.length > 0 ? await this.policies.logprobs(samplerId, data) : [];
    const byPrompt = new Map(long.map((prompt, i) => [prompt, found[i] as Float32Array]));
    return prompts.map((prompt) => {
      const scored = new Float32Array(prompt.length).fill(Number.NaN);
      scored.set(byPrompt.get(prompt) ?? [], Math.min(1, prompt.length));
      return scored;
    });
  }

  private async retrieve({ headers, ...request }: ApiRequest): Promise<ApiResponse> {
    const { request_id } = read({ headers, ...request }, bodies.future);
    const outcome = await this.futures.fetch(request_id, this.options.holdMs ?? 30_000);
    if (outcome === undefined) throw new RequestError(404, "Future not found");
    if (outcome === "pending") return json(408, { detail: "Timeout waiting for result", queue_state: "active" });
    if (outcome.kind === "failed") return json(200, { error: outcome.message, category: outcome.category });
    if (!isEncoded(outcome.value)) return json(200, outcome.value);
    if (!(headers.accept ?? "").includes(protobufContentType)) return json(200, outcome.value.json());
    return { status: 200, contentType: protobufContentType, body: outcome.value.protobuf() };
  }

  /** Queues work on a model; a request with a sequence number that was seen before gets the same result. */
  private train(modelId: string, seqId: number | null | undefined, run: () => Promise<unknown>): unknown {
    const policy = this.policies.get(modelId);
    this.touchSession(policy.sessionId);
    policy.isUsed = true;
    const before = seqId ? policy.requests.get(seqId) : undefined;
    const request_id = before ?? this.futures.add(run);
    if (seqId) {
      policy.requests.set(seqId, request_id);
      const [oldest] = policy.requests.keys();
      if (policy.requests.size > 1000 && oldest !== undefined) policy.requests.delete(oldest);
    }
    return { future_id: request_id, status: "pending", request_id };
  }

  /** Paths with names in them. */
  private async handleNamed({ method, path }: ApiRequest): Promise<unknown> {
    const [, sampler_id] = /^\/api\/v1\/samplers\/([\w-]+)$/.exec(path) ?? [];
    if (method === "GET" && sampler_id !== undefined && this.policies.hasSampler(sampler_id)) {
      return { sampler_id, base_model: this.options.modelName, model_path: null };
    }
    const [, model, state] =
      /^\/api\/v1\/training_runs\/([\w:-]+)\/checkpoints\/((?:sampler_)?weights\/[\w-]+)$/.exec(path) ?? [];
    if (method !== "DELETE" || model === undefined) throw new RequestError(404, "Not Found");
    await this.policies.deleteState(`tinker://${model}/${state}`);
    return { status: 204, contentType: "application/json", body: "" } satisfies ApiResponse;
  }

  private checkModel(name: string): void {
    const { modelName } = this.options;
    if (name !== modelName) throw new RequestError(400, `No model ${name.slice(0, 80)} here; there is ${modelName}.`);
  }

  private touchSession(id: string): void {
    if (!this.sessions.has(id)) throw new RequestError(404, "Session not found");
    this.sessions.set(id, performance.now());
  }

  private endOldSessions(): void {
    const { sessionTimeoutMs = 30 * 60_000, onError } = this.options;
    for (const [id, heardAt] of this.sessions) {
      if (performance.now() - heardAt < sessionTimeoutMs) continue;
      this.sessions.delete(id);
      this.futures.add(() => this.policies.unloadSession(id).catch((error: unknown) => onError?.(error)));
    }
  }
}

const json = (status: number, value: unknown): ApiResponse => ({
  status,
  contentType: "application/json",
  body: JSON.stringify(value),
});

function isResponse(value: unknown): value is ApiResponse {
  return typeof value === "object" && value !== null && "contentType" in value && "body" in value;
}

function isEncoded(value: unknown): value is Encoded {
  return typeof value === "object" && value !== null && "protobuf" in value;
}

/** A JSON body of a known shape. @throws RequestError 422 */
function read<T>({ body }: ApiRequest, schema: z.ZodType<T>): T {
  return bodies.parse(bodies.parseJson(body), schema);
}

const decompressZstd = (zlib as { zstdDecompress?: typeof zlib.gunzip }).zstdDecompress;

/** Either form of forward_backward. @throws RequestError 415, 422 */
async function readForwardBackward(request: ApiRequest): Promise<ForwardBackwardWire> {
  const type = request.headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  const encoding = request.headers["content-encoding"]?.trim().toLowerCase();
  let { body } = request;
  if (encoding === "zstd" && decompressZstd) {
    body = await promisify(decompressZstd)(body, { maxOutputLength: maxBodyBytes } as zlib.ZlibOptions).catch(
      (error: Error) => {
        throw new RequestError(422, `The body is not zstd: ${error.message}`);
      },
    );
  } else if (encoding && encoding !== "identity") {
    throw new RequestError(415, `Bodies with content-encoding ${encoding.slice(0, 20)} can't be read here.`);
  }
  if (type === protobufContentType) {
    try {
      return decodeForwardBackward(body);
    } catch (error) {
      if (!(error instanceof ProtobufError)) throw error;
      throw new RequestError(422, `Invalid forward_backward body: ${error.message}`);
    }
  }
  if (type !== "application/json") throw new RequestError(415, "Expected application/x-protobuf or application/json.");
  const { model_id, seq_id, ...rest } = bodies.parse(bodies.parseJson(body), bodies.forwardBackward);
  const forwardOnly = rest.forward_input !== undefined;
  const input = bodies.parse(
    forwardOnly ? rest.forward_input : rest.forward_backward_input,
    forwardBackwardInputSchema,
  );
  return {
    modelId: model_id,
    seqId: seq_id ?? 0,
    lossFn: input.loss_fn,
    lossFnConfig: input.loss_fn_config ?? {},
    forwardOnly,
    data: input.data.map(({ model_input, loss_fn_inputs }) => ({
      tokens: model_input.chunks.flatMap(({ tokens }) => tokens),
      inputs: Object.fromEntries(
        Object.entries(loss_fn_inputs).map(([name, { data }]) => [name, { dtype: "float32", data }]),
      ),
    })),
  };
}

function forwardBackwardJson({ outputs, metrics }: ForwardBackwardReply): unknown {
  const tensor = (data: Float32Array): unknown => ({ data: Array.from(data), dtype: "float32", shape: [data.length] });
  return {
    loss_fn_output_type: "scalar",
    loss_fn_outputs: outputs.map((output) =>
      Object.fromEntries(Object.entries(output).map(([name, data]) => [name, tensor(data)])),
    ),
    metrics,
  };
}

function sampleJson({ sequences, promptLogprobs }: SampleReply): unknown {
  return {
    sequences: sequences.map(({ stopReason, tokens, logprobs }) => ({
      stop_reason: stopReason,
      tokens,
      logprobs: logprobs && Array.from(logprobs),
    })),
    prompt_logprobs: promptLogprobs && Array.from(promptLogprobs, (value) => (Number.isNaN(value) ? null : value)),
    type: "sample",
  };
}
