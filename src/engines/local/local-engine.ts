/**
 * The local engine: a model trained and sampled in this process, on the CPU, by onnxruntime. Here the parts are wired:
 * weights, graphs, packing, sampling, optimizer, state.
 */
import { EngineError } from "../../core/errors.ts";
import { type AnyTensor, Session, type TensorData } from "../../graph/session.ts";
import { loadModel, type LoadOptions } from "../../models/load.ts";
import type { ChatTokenizer, LoadedModel, ModelConfig } from "../../models/model.ts";
import type {
  AdamParams,
  Datum,
  Engine,
  ForwardBackwardResult,
  LogprobsOptions,
  LongestStep,
  Loss,
  OptimResult,
  Sample,
  SamplingParams,
  TokenIds,
} from "../engine.ts";
import { adamStep, type AdamState, checkAdamParams, gradientNorm, initAdam } from "../../graph/adamw.ts";
import { lossMetrics, type TokenRecord } from "../loss-metrics.ts";
import { countBatch, resolveLoss } from "../loss-settings.ts";
import { groupData, lossFeeds, runBatches } from "./batches.ts";
import { buildDecodeGraph, buildPrefillGraph, buildScoreGraph, buildTrainGraph, type BuiltGraph } from "./graphs.ts";
import { type BatchSizes, countScoreChunks, estimateBatchBytes, type MemoryBudget, planMemory } from "./memory.ts";
import { makeLargestBatch, makeLongestPrompts } from "./longest-step.ts";
import { checkTokens, type Group, type PackedBatch } from "./packing.ts";
import { type BatchLimits, planBatches } from "./plan-batches.ts";
import { PolicyWeights } from "./policy-weights.ts";
import { howToChoose } from "./next-tokens.ts";
import { sampleCompletions, type SamplerModel, trySampling } from "./sampler.ts";
import { readState, writeState } from "./state.ts";
import { rotaryFeeds } from "./transformer.ts";
import { type LoraOptions, type ProjectionName, projectionNames, type Training } from "./weight-inputs.ts";

export interface LocalEngineOptions {
  /** Rank of the LoRA adapter on the linear layers. Default 16. */
  loraRank?: number;
  /** Default twice the rank. */
  loraAlpha?: number;
  /** Which linear layers get an adapter. Default all seven. */
  loraTargets?: readonly ProjectionName[];
  /** Trains every weight and no adapter. Default false. */
  full?: boolean;
  /** With `full`: keeps a copy of the weights, so that a KL term has its reference. Default false. */
  keepReference?: boolean;
  /** Of the adapter's first weights. Default 0. */
  seed?: number;
  /** CPU threads. Default: the physical cores. */
  threads?: number;
  /** Rows (tokens) that one run of the training graph takes; more is faster and needs more memory. Default 512. */
  maxRows?: number;
  /**
   * Most memory that the process may use, in 10⁹ bytes: batches are cut to fit. Default: what is free when the engine is
   * made.
   */
  memoryGb?: number;
}

/** What {@link LocalEngine.load} takes besides. */
export interface LocalEngineLoadOptions extends LocalEngineOptions {
  /** Further variables of the model's chat template. Default `{ enable_thinking: false }`. */
  templateVariables?: LoadOptions["templateVariables"];
}

export class LocalEngine implements Engine {
  readonly description: Readonly<Record<string, unknown>>;
  readonly tokenizer: ChatTokenizer;
  readonly contextLength: number;
  readonly givesKeptMass = true;
  private readonly model: LoadedModel;
  private readonly options: LocalEngineOptions;
  private readonly weights: PolicyWeights;
  private readonly memory: MemoryBudget;
  private readonly rope: Readonly<Record<string, AnyTensor>>;
  private readonly sessions = new Map<string, Promise<Session>>();
  private gradients = new Map<string, Float32Array>();
  private adam: AdamState | undefined;
  private closed = false;

  /** From a model in memory; {@link LocalEngine.load} takes a name or path. */
  constructor(model: LoadedModel, options: LocalEngineOptions = {}) {
    const { loraRank = 16, loraAlpha = 2 * loraRank, loraTargets = projectionNames, full = false, seed = 0 } = options;
    if (!full && !(Number.isInteger(loraRank) && loraRank >= 1)) {
      throw new EngineError("ENGINE_LORA", `loraRank must be a whole number from 1, got ${loraRank}.`);
    }
    const unknown = loraTargets.filter((target) => !projectionNames.includes(target));
    if (unknown.length > 0 || loraTargets.length === 0) {
      const got = loraTargets.length === 0 ? "none" : unknown.join(", ");
      throw new EngineError("ENGINE_LORA", `loraTargets must be some of ${projectionNames.join(", ")}; got ${got}.`);
    }
    const { maxRows = 512 } = options;
    if (!(Number.isInteger(maxRows) && maxRows >= 1)) {
      throw new EngineError("ENGINE_MEMORY", `maxRows must be a whole number from 1, got ${maxRows}.`);
    }
    const training: Training = full
      ? { kind: "full" }
      : { kind: "lora", lora: { rank: loraRank, alpha: loraAlpha, targets: loraTargets } };
    this.model = model;
    this.options = options;
    this.tokenizer = model.tokenizer ?? missingTokenizer(model.name);
    this.contextLength = model.config.contextLength;
    const { memoryGb, keepReference } = options;
    this.memory = planMemory(model.config, training, { memoryGb, keepReference });
    this.weights = new PolicyWeights(model, training, seed, keepReference);
    this.rope = rotaryFeeds(model.config);
    this.description = {
      engine: "local",
      model: model.name,
      fingerprint: model.fingerprint,
      training: full ? "full" : `LoRA rank ${loraRank}, alpha ${loraAlpha}`,
      trainedParameters: [...this.weights.trained.values()].reduce((sum, { length }) => sum + length, 0),
    };
  }

  /**
   * Loads a model: a Hugging Face folder, a GGUF file, or a known name (fetched on first use).
   * @throws ModelError, ConfigError, EngineError
   */
  static async load(
    source: string,
    { templateVariables, ...options }: LocalEngineLoadOptions = {},
  ): Promise<LocalEngine> {
    return new LocalEngine(await loadModel(source, templateVariables ? { templateVariables } : {}), options);
  }

  async sample(prompts: readonly TokenIds[], params: SamplingParams): Promise<Sample[][]> {
    this.checkOpen();
    if (prompts.length === 0) return [];
    return sampleCompletions(await this.sampler(params), prompts, params);
  }

  async tryStep(step: LongestStep): Promise<void> {
    this.checkOpen();
    const { vocabSize } = this.model.config;
    const { sampling, loss } = step;
    const options = sampling.signal ? { signal: sampling.signal } : {};
    const prompts = makeLongestPrompts(step, vocabSize);
    // What is known to be too large isn't tried: a process that the system kills says nothing.
    const data = makeLargestBatch(prompts, step, vocabSize, this.limits(this.weights.training));
    await trySampling(await this.sampler(sampling), prompts, sampling);
    if ((loss.klCoef ?? 0) > 0) await this.logprobs(data, { ...options, weights: "reference" });
    const { gradients } = this;
    this.gradients = new Map();
    try {
      await this.forwardBackward(data, loss, options);
    } finally {
      this.gradients = gradients;
    }
  }

  async forwardBackward(
    data: readonly Datum[],
    loss: Loss,
    options: { signal?: AbortSignal } = {},
  ): Promise<ForwardBackwardResult> {
    this.checkOpen();
    const { config } = this.model;
    const shape = resolveLoss(loss);
    const { training } = this.weights;
    const limits = this.limits(training);
    const session = await this.session(`train ${JSON.stringify(shape)}`, () =>
      buildTrainGraph(config, limits.chunks, training, shape),
    );
    const groups = groupData(data);
    this.checkGroups(groups);
    const batch = loss.batch ?? countBatch(data);
    const feeds = {
      ...(await this.feeds("policy")),
      ...this.weights.trainedFeeds(),
      ...temperatureFeed(loss.temperature),
    };
    let total = 0;
    const stepGradients = this.gradientArrays();
    let scratch: Map<string, Float32Array> | undefined;
    const plan = planBatches(groups, limits);
    const packing = { heads: config, chunks: limits.chunks, signal: options.signal };
    const records = await runBatches<TokenRecord>(groups, plan, packing, async (planned, packed) => {
      const isFirst = scratch === undefined;
      scratch ??= plan.length > 1 ? this.gradientArrays() : new Map();
      const results = this.trainResults(packed, isFirst ? stepGradients : scratch);
      await session.run({ ...feeds, ...packed.feeds, ...lossFeeds(loss, batch, groups, planned, packed) }, results);
      if (!isFirst) addGradientsTo(stepGradients, scratch);
      total += results.loss.data[0] as number;
      return (start, length) => ({
        logprobs: results.logprobs.data.slice(start, start + length),
        entropy: results.entropy.data.slice(start, start + length),
      });
    });
    if (this.gradients.size === 0) this.gradients = stepGradients;
    else addGradientsTo(this.gradients, stepGradients);
    return {
      loss: total,
      logprobs: data.map((datum) => (records.get(datum) as TokenRecord).logprobs),
      metrics: lossMetrics(data, records, shape),
    };
  }

  async optimStep(params: AdamParams): Promise<OptimResult> {
    this.checkOpen();
    checkAdamParams(params);
    const { gradients } = this;
    this.gradients = new Map();
    if (gradients.size === 0) return { gradNorm: 0, applied: false };
    const gradNorm = gradientNorm(gradients);
    if (!Number.isFinite(gradNorm)) return { gradNorm, applied: false };
    const maxGradNorm = params.maxGradNorm ?? 1;
    // PyTorch's clip_grad_norm_ adds the same 1e-6.
    const scale = Math.min(1, maxGradNorm / (gradNorm + 1e-6));
    this.adam ??= initAdam(this.weights.trained);
    adamStep(this.weights.trained, gradients, this.adam, params, scale);
    this.weights.touch();
    return { gradNorm, applied: true };
  }

  async zeroGrad(): Promise<void> {
    this.checkOpen();
    this.gradients = new Map();
  }

  async logprobs(
    data: readonly Pick<Datum, "prompt" | "completion">[],
    options: LogprobsOptions = {},
  ): Promise<Float32Array[]> {
    this.checkOpen();
    const { config } = this.model;
    const limits = this.limits(undefined);
    const session = await this.session("score", () => buildScoreGraph(config, limits.chunks));
    const groups = groupData(data);
    this.checkGroups(groups);
    const feeds = { ...(await this.feeds(options.weights ?? "policy")), ...temperatureFeed(options.temperature) };
    const plan = planBatches(groups, limits);
    const packing = { heads: config, chunks: limits.chunks, signal: options.signal };
    const found = await runBatches<Float32Array>(groups, plan, packing, async (_planned, packed) => {
      const logprobs = { shape: [packed.scored, 1], data: new Float32Array(packed.scored) };
      await session.run({ ...feeds, ...packed.feeds }, { logprobs });
      return (start, length) => logprobs.data.slice(start, start + length);
    });
    return data.map((datum) => found.get(datum) as Float32Array);
  }

  /** The trained weights themselves, by name: reading is free, writing must be told by {@link replaceTrained}. */
  get trained(): ReadonlyMap<string, Float32Array> {
    return this.weights.trained;
  }

  /** The policy's weights as graphs read them, an adapter merged in, by Hugging Face name. They are not copies. */
  async policyWeights(): Promise<ReadonlyMap<string, TensorData>> {
    this.checkOpen();
    const feeds = await this.weights.feeds("policy", this.options.threads);
    return new Map([...this.model.weights.keys()].map((name) => [name, feeds[name] as TensorData]));
  }

  get modelConfig(): ModelConfig {
    return this.model.config;
  }

  /** The adapter that is trained; undefined where every weight is. */
  get lora(): LoraOptions | undefined {
    const { training } = this.weights;
    return training.kind === "lora" ? training.lora : undefined;
  }

  /** Shapes of {@link trained}. */
  get trainedShapes(): ReadonlyMap<string, readonly number[]> {
    return this.weights.shapes;
  }

  /** Gradients gathered since the last optimizer step, by weight name. */
  get pendingGradients(): ReadonlyMap<string, Float32Array> {
    return this.gradients;
  }

  /** Overwrites trained weights, such as with an adapter from elsewhere. @throws EngineError on an unknown name or size */
  replaceTrained(values: ReadonlyMap<string, Float32Array>): void {
    for (const [name, { length }] of values) {
      const expected = this.weights.trained.get(name)?.length;
      if (expected === length) continue;
      throw new EngineError(
        "ENGINE_WEIGHT",
        `${name} has ${length} numbers, expected ${expected ?? "no such weight"}.`,
      );
    }
    for (const [name, data] of values) this.weights.trained.get(name)?.set(data);
    this.weights.touch();
  }

  async saveState(dir: string): Promise<void> {
    this.checkOpen();
    const { trained, shapes } = this.weights;
    await writeState(dir, { description: this.description, trained, shapes, adam: this.adam });
  }

  async loadState(dir: string): Promise<void> {
    this.checkOpen();
    const { trained, shapes } = this.weights;
    const state = await readState(dir, shapes, this.description);
    for (const [name, data] of state.trained) (trained.get(name) as Float32Array).set(data);
    this.adam = state.adam;
    this.gradients = new Map();
    this.weights.touch();
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    const sessions = await Promise.allSettled(this.sessions.values());
    for (const session of sessions) if (session.status === "fulfilled") await session.value.close();
    await this.weights.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private session(name: string, build: () => BuiltGraph): Promise<Session> {
    let session = this.sessions.get(name);
    if (!session) {
      const { threads } = this.options;
      session = Session.create(name, build().graph, threads === undefined ? {} : { threads });
      session.catch(() => this.sessions.delete(name));
      this.sessions.set(name, session);
    }
    return session;
  }

  private async feeds(which: "policy" | "reference"): Promise<Readonly<Record<string, AnyTensor>>> {
    if (which === "reference" && !this.weights.hasReference) {
      throw new EngineError(
        "ENGINE_NO_REFERENCE",
        "Full fine-tuning keeps no reference policy unless it is told to. Set keepReference, train an adapter (leave `full` off), or set klCoef to 0.",
      );
    }
    return { ...(await this.weights.feeds(which, this.options.threads)), ...this.rope };
  }

  /** Zeroed arrays for every trained weight's gradient. */
  private gradientArrays(): Map<string, Float32Array> {
    return new Map([...this.weights.trained].map(([name, { length }]) => [name, new Float32Array(length)]));
  }

  /** Where the training graph writes a batch's results, with `gradients` for those of the weights. */
  private trainResults(
    packed: PackedBatch,
    gradients: ReadonlyMap<string, Float32Array>,
  ): Record<"loss" | "logprobs" | "entropy", TensorData> & Record<string, TensorData> {
    const perToken = (): TensorData => ({ shape: [packed.scored, 1], data: new Float32Array(packed.scored) });
    const byWeight = [...gradients].map(([name, data]): [string, TensorData] => [
      `gradient.${name}`,
      { shape: this.weights.shapes.get(name) as readonly number[], data },
    ]);
    return {
      ...Object.fromEntries(byWeight),
      loss: { shape: [1, 1], data: new Float32Array(1) },
      logprobs: perToken(),
      entropy: perToken(),
    };
  }

  private async sampler(params: SamplingParams): Promise<SamplerModel> {
    const { config } = this.model;
    const choosing = howToChoose(params);
    const [prefill, decode] = await Promise.all([
      this.session(`prefill ${choosing}`, () => buildPrefillGraph(config, choosing)),
      this.session(`decode ${choosing}`, () => buildDecodeGraph(config, choosing)),
    ]);
    const feeds = await this.feeds(params.weights ?? "policy");
    return { config, tokenizer: this.tokenizer, prefill, decode, feeds, maxBytes: this.memory.runBytes };
  }

  /**
   * What one run may take, and into how many chunks its scored tokens are cut: of the training graph, or of the scoring graph
   * where `training` is undefined.
   */
  private limits(training: Training | undefined): BatchLimits & { chunks: number } {
    const { config } = this.model;
    const { maxRows: trainedRows = 512 } = this.options;
    const { runBytes } = this.memory;
    const maxRows = training ? trainedRows : 2 * trainedRows;
    const chunks = countScoreChunks(config, maxRows, runBytes);
    const estimate = (sizes: BatchSizes): number => estimateBatchBytes(config, sizes, chunks, training);
    return { maxRows, chunks, memory: { estimate, maxBytes: runBytes } };
  }

  private checkGroups(groups: readonly Group[]): void {
    const { vocabSize } = this.model.config;
    for (const { prompt, completions } of groups) {
      for (const ids of [prompt, ...completions]) checkTokens(ids, vocabSize);
      const longest = Math.max(...completions.map((completion) => completion.length));
      if (prompt.length + longest > this.contextLength) {
        throw new EngineError(
          "ENGINE_CONTEXT",
          `A prompt of ${prompt.length} tokens with a completion of ${longest} exceeds the model's ${this.contextLength}.`,
        );
      }
    }
  }

  private checkOpen(): void {
    if (this.closed) throw new EngineError("ENGINE_CLOSED", "The engine was closed.");
  }
}

function temperatureFeed(temperature = 1): Record<string, TensorData> {
  if (!(temperature > 0)) {
    throw new EngineError("ENGINE_TEMPERATURE", `Log-probs need a temperature above 0, got ${temperature}.`);
  }
  return { inverseTemperature: { shape: [], data: Float32Array.of(1 / temperature) } };
}

function addGradientsTo(target: ReadonlyMap<string, Float32Array>, more: ReadonlyMap<string, Float32Array>): void {
  for (const [name, data] of more) {
    const sum = target.get(name) as Float32Array;
    for (let i = 0; i < data.length; i++) sum[i] = (sum[i] as number) + (data[i] as number);
  }
}

/** Stands in where a model folder has no tokenizer: token ids work, text does not. */
function missingTokenizer(name: string): ChatTokenizer {
  const refuse = (): never => {
    throw new EngineError("ENGINE_NO_TOKENIZER", `The model ${name} came without a tokenizer; only token ids work.`);
  };
  return { encodeChat: refuse, encode: refuse, decode: () => "", endIds: [] };
}
