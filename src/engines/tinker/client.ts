/**
 * The Tinker API's HTTP calls, typed: a session kept alive, models, training, sampling, saved states, and the results
 * ("futures") that are fetched by long polling. forward_backward is spoken as protobuf (client 0.25 and later, SkyRL 0.4)
 * or JSON (SkyRL 0.3), whichever the server takes. Knows nothing of losses, prompts or rewards.
 */
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { sleep } from "../../core/abort.ts";
import { AbortError, throwIfAborted } from "../../core/errors.ts";
import { RemoteEngineError, RemoteHttp } from "../remote-http.ts";
import type { RemoteHttpOptions, RemoteReply } from "../remote-http.ts";
import {
  decodeForwardBackwardReply,
  decodeSampleReply,
  encodeForwardBackward,
  ProtobufError,
  protobufContentType,
} from "./protobuf.ts";
import {
  capabilitiesSchema,
  clientConfigSchema,
  createdModelSchema,
  failedSchema,
  forwardBackwardReplySchema,
  futureSchema,
  optimReplySchema,
  sampleReplySchema,
  samplerWeightsSchema,
  samplingSessionSchema,
  savedWeightsSchema,
  sessionSchema,
  toForwardBackwardJson,
  tryAgainSchema,
} from "./wire.ts";
import type { ForwardBackwardReply, ForwardBackwardWire, SampleReply } from "./wire.ts";

export type WireForm = "protobuf" | "json";

export interface TinkerClientOptions extends Omit<RemoteHttpOptions, "keyHeader"> {
  /** `auto`: protobuf, and JSON once the server has refused that. Default `auto`. */
  wire?: WireForm | "auto";
  /** Longest wait for one result, in milliseconds. Default 30 minutes. */
  futureTimeoutMs?: number;
  /** How long one call waits for a result before it asks again, in milliseconds. Default 45,000. */
  pollMs?: number;
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

interface Call<T> {
  path: string;
  /** For headers and messages. */
  kind: string;
  schema: z.ZodType<T>;
  decode?: (bytes: Uint8Array) => T;
  signal?: AbortSignal | undefined;
}

export class TinkerClient {
  readonly origin: string;
  private readonly http: RemoteHttp;
  private readonly options: TinkerClientOptions;
  private wire: WireForm | undefined;
  private session: Promise<string> | undefined;
  private heartbeat: NodeJS.Timeout | undefined;
  private models = 0;
  private samplingSessions = 0;
  private samples = 0;

  /** @throws ConfigError on a malformed URL */
  constructor(options: TinkerClientOptions) {
    this.options = options;
    this.http = new RemoteHttp({ ...options, keyHeader: { name: "x-api-key" } });
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
    const reply = this.check(path, capabilitiesSchema, await this.http.sendForJson(path, { method: "GET", signal }));
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
    await this.retrieve(created.request_id, { path, kind: "CreateModel", schema: anything, signal });
    return created.model_id;
  }

  /** Frees what the server holds for a model. */
  async unloadModel(modelId: string): Promise<void> {
    const path = "/api/v1/unload_model";
    const reply = await this.post(path, { model_id: modelId, type: "unload_model" });
    const { request_id } = this.check(path, futureSchema, reply);
    await this.retrieve(request_id, { path, kind: "UnloadModel", schema: anything });
  }

  /** Submits data; the promise inside is that of the result, so that submissions keep their order. */
  async forwardBackward(
    request: ForwardBackwardWire,
    signal?: AbortSignal,
  ): Promise<{ result: Promise<ForwardBackwardReply> }> {
    const path = "/api/v1/forward_backward";
    const submitted = await this.submitForwardBackward(path, request, signal);
    const { request_id } = this.check(path, futureSchema, submitted);
    const kind = request.forwardOnly ? "Forward" : "ForwardBackward";
    const call = { path, kind, schema: forwardBackwardReplySchema, decode: decodeForwardBackwardReply, signal };
    const result = this.retrieve(request_id, call);
    // Whoever awaits it gets its error; until then it is nobody's fault.
    result.catch(() => undefined);
    return { result };
  }

  /** One optimizer step, and what the server measured. */
  async optimStep(modelId: string, seqId: number, adam: AdamWire): Promise<Record<string, number>> {
    const path = "/api/v1/optim_step";
    const json = { adam_params: adam, model_id: modelId, seq_id: seqId, type: "optim_step" };
    const reply = await this.submit(path, json, { path, kind: "OptimStep", schema: optimReplySchema });
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
    const call = { path, kind: "SaveWeightsForSampler", schema: samplerWeightsSchema, signal };
    const saved = await this.submit(path, json, call);
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
    const call = { path, kind: "Sample", schema: sampleReplySchema, decode: decodeSampleReply, signal };
    return this.submit(path, json, call);
  }

  /** Keeps weights and optimizer state on the server under `name`, and gives their address there. */
  async saveWeights(modelId: string, seqId: number, name: string): Promise<string> {
    const path = "/api/v1/save_weights";
    const json = { model_id: modelId, path: name, seq_id: seqId, overwrite: false, type: "save_weights" };
    return (await this.submit(path, json, { path, kind: "SaveWeights", schema: savedWeightsSchema })).path;
  }

  /** Restores what {@link saveWeights} kept. Only a model's first operation may be this. */
  async loadWeights(modelId: string, seqId: number, address: string): Promise<void> {
    const path = "/api/v1/load_weights";
    const json = { model_id: modelId, seq_id: seqId, path: address, optimizer: true, type: "load_weights" };
    await this.submit(path, json, { path, kind: "LoadWeights", schema: anything });
  }

  /** Ends the heartbeat. */
  close(): void {
    clearInterval(this.heartbeat);
    this.heartbeat = undefined;
  }

  private async submit<T>(path: string, json: object, call: Call<T>): Promise<T> {
    const { request_id } = this.check(path, futureSchema, await this.post(path, json, call.signal));
    return this.retrieve(request_id, call);
  }

  private async submitForwardBackward(
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

  /**
   * Waits for a result by asking again and again.
   * @throws RemoteEngineError `TINKER_FUTURE_FAILED`, `TINKER_FUTURE_LOST`, `TINKER_FUTURE_TIMEOUT` …
   */
  private async retrieve<T>(requestId: string, call: Call<T>): Promise<T> {
    const { futureTimeoutMs = 30 * 60_000, pollMs = 45_000 } = this.options;
    const path = "/api/v1/retrieve_future";
    const deadline = Date.now() + futureTimeoutMs;
    for (let iteration = 0; Date.now() < deadline; iteration++) {
      throwIfAborted(call.signal);
      const started = Date.now();
      let reply: RemoteReply;
      try {
        reply = await this.http.send(path, {
          json: { request_id: requestId, allow_metadata_only: false },
          // JSON is named second for servers that have nothing else.
          ...(call.decode ? { accept: `${protobufContentType}, application/json` } : {}),
          headers: { "x-tinker-request-iteration": String(iteration), "x-tinker-request-type": call.kind },
          timeoutMs: Math.min(pollMs, Math.max(1, deadline - Date.now())),
          signal: call.signal,
          isRetryable: isTransient,
        });
      } catch (error) {
        if (!isPending(error)) throw this.futureError(error, requestId, call);
        // A server that answers "not yet" at once must not be asked without pause.
        await sleep(Math.max(0, 250 - (Date.now() - started)), call.signal);
        continue;
      }
      if (reply.contentType === protobufContentType) return this.decodeResult(path, reply, call);
      const result = this.http.parseJson(path, reply);
      if (tryAgainSchema.safeParse(result).success) {
        await sleep(Math.max(0, 250 - (Date.now() - started)), call.signal);
        continue;
      }
      const failed = failedSchema.safeParse(result);
      if (failed.success) throw this.failed(requestId, call, failed.data.error);
      return this.check(call.path, call.schema, result);
    }
    throw new RemoteEngineError(
      "TINKER_FUTURE_TIMEOUT",
      `${this.origin}${call.path}: no result of request ${requestId} (${call.kind}) within ${Math.round(futureTimeoutMs / 1000)} s. The server may be overloaded or stuck; look at its log, or allow more time.`,
      { retryable: true, requestId },
    );
  }

  private decodeResult<T>(path: string, reply: RemoteReply, call: Call<T>): T {
    if (!call.decode) throw this.http.badReply(path, reply, `${call.kind} was answered in protobuf`);
    try {
      return call.decode(reply.bytes);
    } catch (error) {
      if (!(error instanceof ProtobufError)) throw error;
      throw this.http.badReply(path, reply, error.message, error);
    }
  }

  private futureError(error: unknown, requestId: string, call: Call<unknown>): unknown {
    if (!(error instanceof RemoteEngineError) || error instanceof AbortError) return error;
    if (error.status === 404 || error.status === 410) {
      return new RemoteEngineError(
        "TINKER_FUTURE_LOST",
        `${this.origin} no longer knows request ${requestId} (${call.kind}): it was restarted, or the session expired. Go on from the last saved state.`,
        { status: error.status, requestId, cause: error },
      );
    }
    return error.status === 400 ? this.failed(requestId, call, error.message, error) : error;
  }

  private failed(requestId: string, call: Call<unknown>, said: string, cause?: unknown): RemoteEngineError {
    return new RemoteEngineError(
      "TINKER_FUTURE_FAILED",
      `${this.origin}: request ${requestId} (${call.kind}) failed on the server: ${this.http.redact(said)}`,
      { requestId, cause },
    );
  }

  private check<T>(path: string, schema: z.ZodType<T>, value: unknown): T {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    const what = result.error.issues
      .map(({ path: at, message }) => `${at.join(".") || "reply"}: ${message}`)
      .join("; ");
    throw new RemoteEngineError(
      "ENGINE_BAD_REPLY",
      `${this.origin}${path} answered in an unknown shape (${what}). Check that it is a Tinker server, and its version.`,
      { cause: result.error },
    );
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

/** Whether a result is still being waited for. */
function isPending(error: unknown): boolean {
  return error instanceof RemoteEngineError && (error.status === 408 || error.code === "ENGINE_TIMEOUT");
}

/** Whether asking for a result may soon work again; a wait that ran out is no failure. */
function isTransient(error: unknown): boolean {
  return error instanceof RemoteEngineError && error.retryable && !isPending(error);
}
