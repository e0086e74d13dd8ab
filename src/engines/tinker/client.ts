/**
 * The Tinker API's HTTP calls, typed: a session kept alive, models, training, sampling, saved states, and the results
 * ("futures") that are fetched by long polling. forward_backward is spoken as protobuf (client 0.25 and later, SkyRL 0.4)
 * or JSON (SkyRL 0.3), whichever the server takes. Knows nothing of losses, prompts or rewards.
 */
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { RemoteEngineError, RemoteHttp } from "../remote-http.ts";
import type { RemoteHttpOptions } from "../remote-http.ts";
import {
  decodeForwardBackwardReply,
  decodeSampleReply,
  encodeForwardBackward,
  protobufContentType,
} from "./protobuf.ts";
import { checkShape, type FutureKind, type FutureOptions, FutureResults } from "./future-results.ts";
import {
  capabilitiesSchema,
  clientConfigSchema,
  createdModelSchema,
  forwardBackwardReplySchema,
  futureSchema,
  optimReplySchema,
  sampleReplySchema,
  samplerWeightsSchema,
  samplingSessionSchema,
  savedWeightsSchema,
  sessionSchema,
  toForwardBackwardJson,
} from "./wire.ts";
import type { ForwardBackwardReply, ForwardBackwardWire, SampleReply } from "./wire.ts";

export type WireForm = "protobuf" | "json";

export interface TinkerClientOptions extends Omit<RemoteHttpOptions, "keyHeader">, FutureOptions {
  /** `auto`: protobuf, and JSON once the server has refused that. Default `auto`. */
  wire?: WireForm | "auto";
  /** Between heartbeats of the session, in milliseconds. Default 10,000. */
  heartbeatMs?: number;
  /** Told of what doesn't stop anything, such as a heartbeat that failed. */
  onWarning?: (message: string) => void;
}

export interface ServerModel {
  name: string;
  /** In tokens; undefined where the server doesn't say. */
  contextLength: number | undefined;
}

/** What the server asks of its clients. */
export interface ServerLimits {
  /** Data in one request of forward_backward. */
  chunkData: number;
  /** Bytes of one request of forward_backward, roughly. */
  chunkBytes: number;
  /** Sampling requests open at once; undefined: it doesn't say. */
  openSamples: number | undefined;
}

export interface SampleRequest {
  samplingSessionId: string;
  prompt: readonly number[];
  n: number;
  maxTokens: number;
  temperature: number;
  topP: number;
  /** 0: off. */
  topK: number;
  seed: number;
  stopIds: readonly number[];
  promptLogprobs?: boolean;
}

export interface AdamWire {
  learning_rate: number;
  beta1: number;
  beta2: number;
  eps: number;
  weight_decay: number;
  /** 0: off. */
  grad_clip_norm: number;
}

/** The client whose messages these are; servers may ask. */
const sdkVersion = "0.25.0";

/** For results of which nothing is needed. */
const anything = z.unknown();

/** A pass that the server has taken on. */
export interface SubmittedPass {
  requestId: string;
  forwardOnly: boolean;
}

export class TinkerClient {
  readonly origin: string;
  private readonly http: RemoteHttp;
  private readonly options: TinkerClientOptions;
  private readonly futures: FutureResults;
  private wire: WireForm | undefined;
  private session: Promise<string> | undefined;
  private heartbeat: NodeJS.Timeout | undefined;
  private models = 0;
  private samplingSessions = 0;
  private samples = 0;
  /** Ends when the last request with a sequence number was taken on. */
  private lastInOrder: Promise<unknown> = Promise.resolve();

  /** @throws ConfigError on a malformed URL or key */
  constructor(options: TinkerClientOptions) {
    this.options = options;
    this.http = new RemoteHttp({ ...options, keyHeader: { name: "x-api-key" } });
    this.futures = new FutureResults(this.http, options);
    this.origin = this.http.origin;
    this.wire = options.wire === "auto" ? undefined : options.wire;
  }

  /** The form in which forward_backward is spoken; undefined until the first call found out. */
  get wireForm(): WireForm | undefined {
    return this.wire;
  }

  /** Models that the server trains. @throws RemoteEngineError, AbortError */
  async capabilities(signal?: AbortSignal): Promise<ServerModel[]> {
    const path = "/api/v1/get_server_capabilities";
    // The first call of all: a wrong address shows within seconds.
    const asked = await this.http.sendForJson(path, { method: "GET", attempts: 4, signal });
    const reply = this.check(path, capabilitiesSchema, asked);
    return reply.supported_models.flatMap(({ model_name, max_context_length }) =>
      model_name ? [{ name: model_name, contextLength: max_context_length ?? undefined }] : [],
    );
  }

  /** What the server asks of its clients; the API's defaults where it has no say. */
  async limits(signal?: AbortSignal): Promise<ServerLimits> {
    const path = "/api/v1/client/config";
    const asked = await this.http.sendForJson(path, { json: { sdk_version: sdkVersion }, signal }).catch((error) => {
      // Servers before client 0.25 have no such path.
      if (error instanceof RemoteEngineError && (error.status === 404 || error.status === 405)) return {};
      throw error;
    });
    const config = this.check(path, clientConfigSchema, asked);
    return {
      chunkData: config.fwdbwd_max_chunk_len ?? 1024,
      chunkBytes: config.fwdbwd_max_chunk_bytes_count ?? 5_000_000,
      openSamples: config.sample_max_concurrent_requests,
    };
  }

  /** What kind of server it is, by its own description; undefined where it has none. */
  async serverTitle(signal?: AbortSignal): Promise<string | undefined> {
    try {
      const reply = await this.http.sendForJson("/openapi.json", { method: "GET", attempts: 1, signal });
      return (reply as { info?: { title?: string } }).info?.title;
    } catch (error) {
      if (error instanceof RemoteEngineError) return undefined;
      throw error;
    }
  }

  /** A new model with a LoRA adapter on `baseModel`, and its id. @throws RemoteEngineError, AbortError */
  async createModel(
    { baseModel, loraRank, seed }: { baseModel: string; loraRank: number; seed: number },
    signal?: AbortSignal,
  ): Promise<string> {
    const path = "/api/v1/create_model";
    const json = {
      session_id: await this.openSession(signal),
      model_seq_id: this.models++,
      base_model: baseModel,
      lora_config: { rank: loraRank, seed, train_unembed: false, train_mlp: true, train_attn: true },
      type: "create_model",
    };
    const created = this.check(path, createdModelSchema, await this.post(path, json, signal));
    await this.futures.retrieve(created.request_id, { path, name: "CreateModel", schema: anything, signal });
    return created.model_id;
  }

  /**
   * Asks the server once to free what it holds for a model, which it does by itself when nobody uses it.
   * @returns the request's id, for {@link TinkerClient.awaitUnload}
   */
  async requestUnload(modelId: string): Promise<string> {
    const path = "/api/v1/unload_model";
    const json = { model_id: modelId, type: "unload_model" };
    const reply = await this.http.sendForJson(path, { json, headers: idempotency(), attempts: 1, timeoutMs: 10_000 });
    return this.check(path, futureSchema, reply).request_id;
  }

  /** Waits until a model is freed. */
  async awaitUnload(requestId: string): Promise<void> {
    await this.futures.retrieve(requestId, { path: "/api/v1/unload_model", name: "UnloadModel", schema: anything });
  }

  /** Hands a pass to the server, which carries passes out in the order in which it got them. */
  async submitForwardBackward(request: ForwardBackwardWire, signal?: AbortSignal): Promise<SubmittedPass> {
    const path = "/api/v1/forward_backward";
    const reply = await this.inOrder(() => this.sendForwardBackward(path, request, signal));
    const { request_id: requestId } = this.check(path, futureSchema, reply);
    return { requestId, forwardOnly: request.forwardOnly };
  }

  /** What came of a pass. */
  async retrieveForwardBackward(pass: SubmittedPass, signal?: AbortSignal): Promise<ForwardBackwardReply> {
    return this.futures.retrieve(pass.requestId, {
      path: "/api/v1/forward_backward",
      name: pass.forwardOnly ? "Forward" : "ForwardBackward",
      schema: forwardBackwardReplySchema,
      decode: decodeForwardBackwardReply,
      signal,
    });
  }

  /** One optimizer step, and what the server measured. */
  async optimStep(modelId: string, seqId: number, adam: AdamWire): Promise<Record<string, number>> {
    const path = "/api/v1/optim_step";
    const json = { adam_params: adam, model_id: modelId, seq_id: seqId, type: "optim_step" };
    const reply = await this.submit(json, { path, name: "OptimStep", schema: optimReplySchema });
    return reply.metrics ?? {};
  }

  /** A sampling session on the weights as they are when the server gets to it. */
  async saveWeightsForSampler(modelId: string, seqId: number, signal?: AbortSignal): Promise<string> {
    const path = "/api/v1/save_weights_for_sampler";
    const json = {
      model_id: modelId,
      sampling_session_seq_id: this.samplingSessions++,
      seq_id: seqId,
      type: "save_weights_for_sampler",
    };
    const kind = { path, name: "SaveWeightsForSampler", schema: samplerWeightsSchema, signal };
    const saved = await this.submit(json, kind);
    if (saved.sampling_session_id) return saved.sampling_session_id;
    if (saved.path) return this.createSamplingSession({ model_path: saved.path }, signal);
    throw new RemoteEngineError("ENGINE_BAD_REPLY", `${this.origin}${path} gave neither a session nor a path.`);
  }

  /** A sampling session on an untrained model, or on saved weights. */
  async createSamplingSession(
    source: { base_model: string } | { model_path: string },
    signal?: AbortSignal,
  ): Promise<string> {
    const path = "/api/v1/create_sampling_session";
    const json = {
      session_id: await this.openSession(signal),
      sampling_session_seq_id: this.samplingSessions++,
      ...source,
      type: "create_sampling_session",
    };
    return this.check(path, samplingSessionSchema, await this.post(path, json, signal)).sampling_session_id;
  }

  async sample(request: SampleRequest, signal?: AbortSignal): Promise<SampleReply> {
    const path = "/api/v1/asample";
    const { samplingSessionId, prompt, n, maxTokens, temperature, topP, topK, seed, stopIds } = request;
    const json = {
      num_samples: n,
      prompt: { chunks: [{ tokens: prompt, type: "encoded_text" }] },
      sampling_params: {
        max_tokens: maxTokens,
        seed,
        ...(stopIds.length > 0 ? { stop: stopIds } : {}),
        temperature,
        top_k: topK > 0 ? topK : -1,
        top_p: topP,
      },
      sampling_session_id: samplingSessionId,
      seq_id: this.samples++,
      prompt_logprobs: request.promptLogprobs ?? false,
      topk_prompt_logprobs: 0,
      type: "sample",
    };
    return this.submit(json, { path, name: "Sample", schema: sampleReplySchema, decode: decodeSampleReply, signal });
  }

  /** Keeps weights and optimizer state on the server under `name`, and gives their address there. */
  async saveWeights(modelId: string, seqId: number, name: string): Promise<string> {
    const path = "/api/v1/save_weights";
    const json = { model_id: modelId, path: name, seq_id: seqId, overwrite: false, type: "save_weights" };
    return (await this.submit(json, { path, name: "SaveWeights", schema: savedWeightsSchema })).path;
  }

  /** Restores what {@link saveWeights} kept. Only a model's first operation may be this. */
  async loadWeights(modelId: string, seqId: number, address: string): Promise<void> {
    const path = "/api/v1/load_weights";
    const json = { model_id: modelId, seq_id: seqId, path: address, optimizer: true, type: "load_weights" };
    await this.submit(json, { path, name: "LoadWeights", schema: anything });
  }

  /** Removes what {@link saveWeights} kept. Asked once. */
  async deleteWeights(address: string): Promise<void> {
    const [, modelId, name] = /^tinker:\/\/([^/]+)\/weights\/([^/]+)$/.exec(address) ?? [];
    if (modelId === undefined || name === undefined) return;
    const path = `/api/v1/training_runs/${encodeURIComponent(modelId)}/checkpoints/weights/${encodeURIComponent(name)}`;
    await this.http.send(path, { method: "DELETE", attempts: 1 });
  }

  /** Ends the heartbeat. */
  close(): void {
    clearInterval(this.heartbeat);
    this.heartbeat = undefined;
  }

  private async submit<T>(json: object, kind: FutureKind<T>): Promise<T> {
    const send = (): Promise<unknown> => this.post(kind.path, json, kind.signal);
    const reply = await ("model_id" in json ? this.inOrder(send) : send());
    const { request_id } = this.check(kind.path, futureSchema, reply);
    return this.futures.retrieve(request_id, kind);
  }

  private async sendForwardBackward(
    path: string,
    request: ForwardBackwardWire,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    let refusal: unknown;
    if (this.wire !== "json") {
      try {
        const body = { type: protobufContentType, bytes: encodeForwardBackward(request) };
        const reply = await this.http.sendForJson(path, { body, headers: idempotency(), signal });
        this.wire = "protobuf";
        return reply;
      } catch (error) {
        if (this.wire === "protobuf" || !refusesProtobuf(error)) throw asLost(error);
        refusal = error;
      }
    }
    const { path: jsonPath, body } = toForwardBackwardJson(request);
    try {
      const reply = await this.post(jsonPath, body, signal);
      this.wire = "json";
      return reply;
    } catch (error) {
      if (!(error instanceof RemoteEngineError) || error.status !== 415) throw error;
      // It was the contents that were refused, not the form.
      if (refusal) {
        this.wire = "protobuf";
        throw refusal;
      }
      throw new RemoteEngineError(
        "TINKER_WIRE",
        `${this.origin}${jsonPath} takes forward_backward as protobuf only, and JSON was asked for. Leave \`wire\` at "auto". (${error.message})`,
        { status: 415, cause: error },
      );
    }
  }

  private async post(path: string, json: object, signal?: AbortSignal): Promise<unknown> {
    try {
      return await this.http.sendForJson(path, { json, headers: idempotency(), signal });
    } catch (error) {
      throw asLost(error);
    }
  }

  /** The session, opened once and kept alive from then on. */
  private openSession(signal?: AbortSignal): Promise<string> {
    this.session ??= this.createSession(signal).catch((error: unknown) => {
      this.session = undefined;
      throw error;
    });
    return this.session;
  }

  private async createSession(signal?: AbortSignal): Promise<string> {
    const path = "/api/v1/create_session";
    const json = { tags: [], user_metadata: {}, sdk_version: sdkVersion, type: "create_session" };
    const reply = this.check(path, sessionSchema, await this.post(path, json, signal));
    if (reply.error_message) {
      throw new RemoteEngineError(
        "TINKER_VERSION",
        `${this.origin} opened no session: ${this.http.redact(reply.error_message)} (this client speaks the API of tinker ${sdkVersion}).`,
      );
    }
    this.heartbeat = setInterval(() => void this.beat(reply.session_id), this.options.heartbeatMs ?? 10_000);
    this.heartbeat.unref();
    return reply.session_id;
  }

  private async beat(session_id: string): Promise<void> {
    try {
      const json = { session_id, type: "session_heartbeat" };
      await this.http.send("/api/v1/session_heartbeat", { json, attempts: 1, timeoutMs: 10_000 });
    } catch (error) {
      this.options.onWarning?.(`The heartbeat of the session failed: ${(error as Error).message}`);
    }
  }

  private check<T>(path: string, schema: z.ZodType<T>, value: unknown): T {
    return checkShape(`${this.origin}${path}`, schema, value);
  }

  /** Sends a request with a sequence number when the one before has arrived, so that they arrive in order. */
  private inOrder<T>(send: () => Promise<T>): Promise<T> {
    const sent = this.lastInOrder.then(send);
    this.lastInOrder = sent.catch(() => undefined);
    return sent;
  }
}

/** So that a request that is sent twice is carried out once. */
const idempotency = (): Record<string, string> => ({ "x-idempotency-key": `rec-r1-${randomUUID()}` });

/** A 404 on what was there before means that the server has forgotten it. */
function asLost(error: unknown): unknown {
  if (!(error instanceof RemoteEngineError) || error.status !== 404) return error;
  return new RemoteEngineError(
    "TINKER_LOST",
    `${error.message} Either the address is not that of a Tinker server, or it was restarted or the session expired: go on from the last saved state.`,
    { status: 404, cause: error, ...(error.requestId ? { requestId: error.requestId } : {}) },
  );
}

/** Whether a server that knows JSON only would answer so. */
function refusesProtobuf(error: unknown): boolean {
  return error instanceof RemoteEngineError && [400, 415, 422].includes(error.status ?? 0);
}
