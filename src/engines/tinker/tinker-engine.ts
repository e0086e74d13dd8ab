/**
 * The policy on a server that speaks the Tinker API: SkyRL on GPUs, the hosted service, or `rec-r1 engine serve` on another
 * machine. Weights, gradients and optimizer are there; here are prompts, completions and the losses' bookkeeping.
 */
import { allOrStopped } from "../../core/abort.ts";
import { CheckpointError, ConfigError, EngineError } from "../../core/errors.ts";
import { loadTokenizer } from "../../models/load.ts";
import type {
  AdamParams,
  ChatTokenizer,
  Datum,
  Engine,
  ForwardBackwardResult,
  LogprobsOptions,
  Loss,
  OptimResult,
  Sample,
  SamplingParams,
  TokenIds,
} from "../engine.ts";
import { lossMetrics, type TokenRecord } from "../loss-metrics.ts";
import { countBatch, resolveLoss } from "../loss-settings.ts";
import { RemoteEngineError } from "../remote-http.ts";
import { RequestLimit } from "../request-limit.ts";
import { type ServerLimits, type ServerModel, TinkerClient, type TinkerClientOptions } from "./client.ts";
import { chunkData } from "./chunk-data.ts";
import {
  findServerLoss,
  type Reduction,
  reductionFactor,
  type ServerLoss,
  surrogateLoss,
  toForwardDatum,
  toServerDatum,
  toSurrogateDatum,
} from "./express-loss.ts";
import { checkData, checkSampling, checkTemperature } from "./check-requests.ts";
import { computeTerms, tokenWeights } from "./loss-terms.ts";
import { readSavedState, writeSavedState } from "./saved-state.ts";
import { toSample } from "./samples.ts";
import { ServerPolicy } from "./server-policy.ts";
import type { DatumWire } from "./wire.ts";

export interface TinkerEngineOptions extends TinkerClientOptions {
  /** Where the tokenizer comes from: a Hugging Face folder (weights not needed), a GGUF file or a known name. */
  model?: string;
  /** A tokenizer at hand, instead of one from `model`. */
  tokenizer?: ChatTokenizer;
  /** Further variables of the chat template that comes with `model`. Default `{ enable_thinking: false }`. */
  templateVariables?: Readonly<Record<string, unknown>>;
  /** The model's name on the server. Default: `model`, or the only one that the server has. */
  baseModel?: string;
  /** Default 16. */
  loraRank?: number;
  /** Of the adapter's first weights. Default 0. */
  seed?: number;
  /**
   * Longest prompt plus completion, in tokens; a reference's log-probs are asked for with one more. Default: one less than
   * the server says, else than the model has.
   */
  contextLength?: number;
  /** How the server adds up a batch; `auto` finds out (see {@link Reduction}). Default `auto`. */
  reduction?: Reduction | "auto";
  /** Requests open at once, 4 at least; all but two of them may be sampling, where the server allows so many. Default 64. */
  maxOpenRequests?: number;
}

const defaultOpenRequests = 64;
/** Requests that sampling leaves to training and to the heartbeat. */
const keptFree = 2;

interface Connection {
  client: TinkerClient;
  limits: ServerLimits;
  baseModel: string;
  tokenizer: ChatTokenizer;
  contextLength: number;
  /** Undefined: to be found out. */
  reduction: Reduction | undefined;
}

/** How SkyRL's server calls itself, whatever it computes with. */
const skyrlTitle = "Tinker API Mock";

export class TinkerEngine implements Engine {
  readonly description: Readonly<Record<string, unknown>>;
  readonly tokenizer: ChatTokenizer;
  readonly contextLength: number;
  readonly samplesWhileTraining = true;
  private readonly client: TinkerClient;
  private readonly limits: ServerLimits;
  private readonly baseModel: string;
  private reduction: Reduction | undefined;
  private readonly loraRank: number;
  private readonly policy: ServerPolicy;
  private readonly openSamples: RequestLimit;
  /** Data whose gradients wait on the server: of the first call and in all. */
  private pending = { first: 0, total: 0 };
  /** Losses that the server turned out not to have. */
  private readonly refusedLosses = new Set<string>();
  private closed = false;

  private constructor(connection: Connection, options: TinkerEngineOptions) {
    const { client, limits, baseModel, tokenizer, contextLength, reduction } = connection;
    const { loraRank = 16, seed = 0, maxOpenRequests = defaultOpenRequests } = options;
    this.client = client;
    this.limits = limits;
    this.baseModel = baseModel;
    this.tokenizer = tokenizer;
    this.contextLength = contextLength;
    this.reduction = reduction;
    this.loraRank = loraRank;
    this.policy = new ServerPolicy(client, { baseModel, loraRank, seed });
    this.openSamples = new RequestLimit(Math.min(maxOpenRequests - keptFree, limits.openSamples ?? Infinity));
    this.description = {
      engine: "tinker",
      server: client.origin,
      model: baseModel,
      training: `LoRA rank ${loraRank}`,
    };
  }

  /**
   * Asks the server what it has, and readies the tokenizer. A model is made there when it is first needed.
   * @throws ConfigError, ModelError, RemoteEngineError, AbortError
   */
  static async connect(options: TinkerEngineOptions, signal?: AbortSignal): Promise<TinkerEngine> {
    const { maxOpenRequests = defaultOpenRequests } = options;
    if (!(maxOpenRequests >= 4)) {
      throw new ConfigError("BAD_OPTION", `maxOpenRequests: expected a number of at least 4, got ${maxOpenRequests}.`);
    }
    const client = new TinkerClient({ ...options, maxOpenRequests });
    try {
      const models = await client.capabilities(signal);
      const [limits, title] = await Promise.all([client.limits(signal), client.serverTitle(signal)]);
      const served = chooseModel(models, options, client.origin);
      const { reduction = "auto", templateVariables } = options;
      const local = options.tokenizer
        ? undefined
        : await loadTokenizer(options.model ?? served.name, templateVariables ? { templateVariables } : {});
      const whole = served.contextLength ?? local?.contextLength;
      // A text's log-probs come with a sample behind it, which needs a place, too.
      const contextLength = options.contextLength ?? (whole === undefined ? undefined : whole - 1);
      if (contextLength === undefined) {
        throw new ConfigError(
          "NO_CONTEXT_LENGTH",
          `${client.origin} doesn't say its context length: give contextLength.`,
        );
      }
      const connection = {
        client,
        limits,
        baseModel: served.name,
        tokenizer: options.tokenizer ?? (local as { tokenizer: ChatTokenizer }).tokenizer,
        contextLength,
        reduction: reduction !== "auto" ? reduction : title === skyrlTitle ? undefined : "sum",
      } as const;
      return new TinkerEngine(connection, options);
    } catch (error) {
      client.close();
      throw error;
    }
  }

  async sample(prompts: readonly TokenIds[], params: SamplingParams): Promise<Sample[][]> {
    this.checkOpen();
    if (prompts.length === 0) return [];
    checkSampling(prompts, params, this.contextLength);
    const { signal, temperature, topP = 1, topK = 0, seed, n, maxTokens, onProgress } = params;
    const samplingSessionId = await (params.weights === "reference"
      ? this.policy.openReference()
      : this.policy.openSampler());
    const stopIds = [...this.tokenizer.endIds, ...(params.stopIds ?? [])];
    const shared = { samplingSessionId, n, maxTokens, temperature, topP, topK, seed, stopIds };
    let done = 0;
    return this.each(prompts, signal, async (prompt, own) => {
      const { sequences } = await this.client.sample({ ...shared, prompt }, own);
      if (sequences.length !== n) throw this.badReply(`${sequences.length} completions, asked for ${n}`);
      done += n;
      onProgress?.(done);
      return sequences.map((sequence) => toSample(sequence, { tokenizer: this.tokenizer, stopIds, params }));
    });
  }

  async forwardBackward(
    data: readonly Datum[],
    loss: Loss,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<ForwardBackwardResult> {
    this.checkOpen();
    const shape = resolveLoss(loss);
    checkTemperature(loss.temperature);
    checkData(data, this.contextLength);
    if (data.length === 0) return { loss: 0, logprobs: [], metrics: {} };
    const pending = this.pendingNow();
    const batch = loss.batch ?? countBatch(data);
    const weights = data.map((datum) => tokenWeights(datum, loss, shape, batch));
    // Later calls before the same optimizer step are scaled alike, so that all weigh as they should.
    const averagedOver = pending.first || data.length;
    this.reduction ??= await this.findReduction(data[0] as Datum, signal);
    const { reduction } = this;
    const factors = data.map((datum) => reductionFactor(reduction, datum, averagedOver));
    const expressed = (serverLoss: ServerLoss): DatumWire[] =>
      data.map((datum, i) =>
        toServerDatum(
          datum,
          loss,
          serverLoss,
          (weights[i] as Float64Array).map((weight) => weight * (factors[i] as number)),
        ),
      );
    const surrogate = async (): Promise<DatumWire[]> => {
      const now = await this.forward(data, signal);
      return data.map((datum, i) =>
        toSurrogateDatum(datum, now[i] as Float32Array, {
          loss,
          shape,
          weights: weights[i] as Float64Array,
          factor: factors[i] as number,
        }),
      );
    };
    const logprobs = await this.trainOn(findServerLoss(shape, reduction), { data, expressed, surrogate, signal });
    this.pending = { first: averagedOver, total: pending.total + data.length };
    const records = new Map(data.map((datum, i) => [datum, { logprobs: logprobs[i] as Float32Array } as TokenRecord]));
    const total = data.reduce((sum, datum, i) => {
      const own = { loss, shape, weights: weights[i] as Float64Array };
      return sum + computeTerms(datum, logprobs[i] as Float32Array, own).loss;
    }, 0);
    return { loss: total, logprobs, metrics: lossMetrics(data, records, shape) };
  }

  async optimStep(params: AdamParams): Promise<OptimResult> {
    this.checkOpen();
    const { first, total } = this.pendingNow();
    if (total === 0) return { gradNorm: 0, applied: false };
    const { learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0, maxGradNorm = 1 } = params;
    const metrics = await this.policy.optimStep({
      learning_rate: learningRate,
      beta1,
      beta2,
      eps: epsilon,
      weight_decay: weightDecay,
      grad_clip_norm: Number.isFinite(maxGradNorm) ? maxGradNorm : 0,
    });
    this.pending = { first: 0, total: 0 };
    if (metrics.applied === 0) return { gradNorm: metrics.grad_norm ?? Number.NaN, applied: false };
    const [, reported = Number.NaN] = Object.entries(metrics).find(([name]) => /grad_?norm/i.test(name)) ?? [];
    // The server's average was over the data of all calls, ours over those of the first.
    return { gradNorm: this.reduction === "sequence_mean" ? (reported * total) / first : reported, applied: true };
  }

  async zeroGrad(): Promise<void> {
    this.checkOpen();
    if (this.pending.total > 0) this.policy.dropGradients();
    await Promise.resolve();
  }

  async logprobs(
    data: readonly Pick<Datum, "prompt" | "completion">[],
    { weights = "policy", temperature, signal }: LogprobsOptions = {},
  ): Promise<Float32Array[]> {
    this.checkOpen();
    checkTemperature(temperature);
    checkData(data, this.contextLength);
    if (data.length === 0) return [];
    if (weights === "policy") return this.forward(data, signal);
    const samplingSessionId = await this.policy.openReference();
    const shared = { samplingSessionId, n: 1, maxTokens: 1, temperature: 1, topP: 1, topK: 0, seed: 0, stopIds: [] };
    return this.each(data, signal, async ({ prompt, completion }, own) => {
      const asked = { ...shared, prompt: [...prompt, ...completion], promptLogprobs: true };
      const { promptLogprobs } = await this.client.sample(asked, own);
      const found = promptLogprobs?.slice(-completion.length);
      if (found?.length !== completion.length) throw this.badReply("too few log-probs of a prompt");
      return found;
    });
  }

  async saveState(dir: string): Promise<void> {
    this.checkOpen();
    const address = await this.policy.save();
    const { baseModel, loraRank } = this;
    await writeSavedState(dir, { address, server: this.client.origin, baseModel, loraRank });
  }

  async loadState(dir: string): Promise<void> {
    this.checkOpen();
    const { address, server } = await readSavedState(dir, { baseModel: this.baseModel, loraRank: this.loraRank });
    try {
      this.pending = { first: 0, total: 0 };
      await this.policy.load(address);
    } catch (error) {
      if (!(error instanceof RemoteEngineError) || error.retryable) throw error;
      throw new CheckpointError(
        "CHECKPOINT_NOT_ON_SERVER",
        `${this.client.origin} can't load ${address}, which was saved on ${server}: ${error.message} Give the same server, with the same storage.`,
        { cause: error, details: { address, server } },
      );
    }
  }

  async dropState(dir: string): Promise<void> {
    const expected = { baseModel: this.baseModel, loraRank: this.loraRank };
    const state = await readSavedState(dir, expected).catch(() => undefined);
    if (state?.server === this.client.origin) await this.policy.drop(state.address);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.policy.close();
    this.client.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Trains on data expressed in the server's loss, or in importance sampling where it has none or refuses it. */
  private async trainOn(
    own: ServerLoss | undefined,
    {
      data,
      expressed,
      surrogate,
      signal,
    }: {
      data: readonly Datum[];
      expressed: (serverLoss: ServerLoss) => DatumWire[];
      surrogate: () => Promise<DatumWire[]>;
      signal: AbortSignal | undefined;
    },
  ): Promise<Float32Array[]> {
    if (own && !this.refusedLosses.has(own.lossFn)) {
      try {
        return await this.pass(expressed(own), data, { ...own, forwardOnly: false }, signal);
      } catch (error) {
        // A part of the batch that was taken on already can't be taken back alone.
        const isFinal = own.lossFn === surrogateLoss.lossFn || this.policy.dropsGradients || !refusesLoss(error);
        if (isFinal) throw explainRefusal(error, own.lossFn);
        this.refusedLosses.add(own.lossFn);
      }
    }
    try {
      return await this.pass(await surrogate(), data, { ...surrogateLoss, forwardOnly: false }, signal);
    } catch (error) {
      throw explainRefusal(error, surrogateLoss.lossFn);
    }
  }

  /**
   * SkyRL averages on JAX and sums on GPUs, and says nowhere which it is; but only JAX gives a forward pass's losses along
   * with its log-probs.
   */
  private async findReduction(datum: Datum, signal: AbortSignal | undefined): Promise<Reduction> {
    const part = { data: [toForwardDatum(datum)], lossFn: "cross_entropy", lossFnConfig: {} };
    const [output] = await this.policy.pass([part], { forwardOnly: true, signal });
    return output?.elementwise_loss ? "sequence_mean" : "sum";
  }

  private forward(
    data: readonly Pick<Datum, "prompt" | "completion">[],
    signal: AbortSignal | undefined,
  ): Promise<Float32Array[]> {
    const loss = { lossFn: "cross_entropy", config: {}, forwardOnly: true };
    return this.pass(data.map(toForwardDatum), data, loss, signal);
  }

  /** One pass in chunks that the server takes; log-probs of the completions' tokens. */
  private async pass(
    wire: readonly DatumWire[],
    data: readonly Pick<Datum, "completion">[],
    { lossFn, config, forwardOnly }: ServerLoss & { forwardOnly: boolean },
    signal: AbortSignal | undefined,
  ): Promise<Float32Array[]> {
    const parts = chunkData(wire, this.limits).map((chunk) => ({ data: chunk, lossFn, lossFnConfig: config }));
    const outputs = await this.policy.pass(parts, { forwardOnly, signal });
    return data.map(({ completion }, i) => {
      const logprobs = outputs[i]?.logprobs?.slice(-completion.length);
      if (logprobs?.length === completion.length) return logprobs;
      throw this.badReply(`${logprobs?.length ?? "no"} log-probs for a completion of ${completion.length} tokens`);
    });
  }

  /** Calls `ask` for all items, no more at once than may be; the first failure cancels the rest. */
  private async each<T, R>(
    items: readonly T[],
    signal: AbortSignal | undefined,
    ask: (item: T, signal: AbortSignal) => Promise<R>,
  ): Promise<R[]> {
    return allOrStopped(signal, (own) => items.map((item) => this.openSamples.run(() => ask(item, own))));
  }

  /** Data whose gradients wait, but for those that are to be dropped. */
  private pendingNow(): { first: number; total: number } {
    if (this.policy.dropsGradients) this.pending = { first: 0, total: 0 };
    return this.pending;
  }

  private badReply(what: string): RemoteEngineError {
    return new RemoteEngineError("ENGINE_BAD_REPLY", `${this.client.origin} gave ${what}.`);
  }

  private checkOpen(): void {
    if (this.closed) throw new EngineError("ENGINE_CLOSED", "The engine was closed.");
  }
}

/** The server's model that is meant. @throws ConfigError `TINKER_MODEL` */
function chooseModel(models: readonly ServerModel[], options: TinkerEngineOptions, origin: string): ServerModel {
  const wanted = options.baseModel ?? options.model;
  const found = models.find(({ name }) => name === wanted);
  if (found) return found;
  const [only] = models;
  if (models.length === 1 && only && options.baseModel === undefined) return only;
  const names = models.map(({ name }) => name).slice(0, 20);
  throw new ConfigError(
    "TINKER_MODEL",
    `${origin} has no model ${JSON.stringify(wanted ?? "")}; it has: ${names.join(", ") || "none"}. Give one of them as baseModel.`,
  );
}

/** Whether the server refused the request's contents. */
function refusesLoss(error: unknown): boolean {
  return error instanceof RemoteEngineError && (error.status === 422 || error.status === 400);
}

function explainRefusal(error: unknown, lossFn: string): unknown {
  if (!refusesLoss(error)) return error;
  const { message, status, requestId } = error as RemoteEngineError;
  return new RemoteEngineError(
    "TINKER_LOSS_UNSUPPORTED",
    `The server doesn't take the loss "${lossFn}" with these inputs: ${message}`,
    { cause: error, ...(status ? { status } : {}), ...(requestId ? { requestId } : {}) },
  );
}
