/**
 * A real policy that is small enough to reason about: for every prompt and position a softmax over a dozen words, with
 * exact gradients of the grpo, ppo, importance-sampling and cross-entropy losses and AdamW, so that the training loop
 * provably learns.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { throwIfAborted } from "../../src/core/errors.ts";
import { randomStream } from "../../src/core/random.ts";
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
  Weights,
} from "../../src/engines/engine.ts";

type Table = Record<string, number[]>;

interface Parameters {
  weights: Table;
  mean: Table;
  square: Table;
  updates: number;
}

/** Words of the vocabulary; id 0 ends a completion, ids from {@link promptBase} on are characters of prompts. */
const promptBase = 1000;

export class TabularEngine implements Engine {
  readonly description = { kind: "tabular" };
  readonly contextLength = 10_000;
  readonly tokenizer: ChatTokenizer;
  /** Called before every forwardBackward and sample; tests throw or abort from it. */
  onCall: (call: "sample" | "forwardBackward") => void = () => {};
  /** Multiplies every loss; NaN spoils it. */
  lossFactor = 1;
  /** Data of every forwardBackward. */
  readonly seen: { data: readonly Datum[]; loss: Loss }[] = [];
  private readonly words: readonly string[];
  private params: Parameters = { weights: {}, mean: {}, square: {}, updates: 0 };
  private grads: Table = {};

  constructor(words: readonly string[]) {
    this.words = ["", ...words];
    this.tokenizer = {
      encodeChat: (messages) => Array.from(JSON.stringify(messages), (char) => promptBase + (char.codePointAt(0) ?? 0)),
      encode: (text) => text.split(" ").map((word) => this.words.indexOf(word)),
      decode: (ids) => this.decode(ids),
      endIds: [0],
    };
  }

  async sample(prompts: readonly TokenIds[], params: SamplingParams): Promise<Sample[][]> {
    this.onCall("sample");
    throwIfAborted(params.signal);
    await Promise.resolve();
    return prompts.map((prompt) =>
      Array.from({ length: params.n }, (_, index) => this.sampleOne(prompt, index, params)),
    );
  }

  async forwardBackward(
    data: readonly Datum[],
    loss: Loss,
    options: { signal?: AbortSignal } = {},
  ): Promise<ForwardBackwardResult> {
    this.onCall("forwardBackward");
    throwIfAborted(options.signal);
    await Promise.resolve();
    this.seen.push({ data, loss });
    const temperature = loss.temperature ?? 1;
    const tokens = loss.batch?.tokens ?? data.reduce((sum, datum) => sum + datum.completion.length, 0);
    const completions = loss.batch?.completions ?? data.length;
    const bySequence = loss.name === "grpo";
    let total = 0;
    const logprobs = data.map((datum) => {
      const scale = bySequence ? 1 / (datum.completion.length * completions) : 1 / tokens;
      const out = new Float32Array(datum.completion.length);
      datum.completion.forEach((id, t) => {
        const logits = this.logits(datum.prompt, t, "policy");
        const logprob = logSoftmax(logits, temperature)[id] as number;
        out[t] = logprob;
        const term = tokenLoss(datum, loss, t, logprob);
        total += term.loss * scale;
        const probabilities = logSoftmax(logits, temperature).map(Math.exp);
        const grad = (this.grads[key(datum.prompt, t)] ??= logits.map(() => 0));
        probabilities.forEach((p, v) => {
          grad[v] = (grad[v] as number) + (term.slope * scale * ((v === id ? 1 : 0) - p)) / temperature;
        });
      });
      return out;
    });
    return { loss: total * this.lossFactor, logprobs, metrics: {} };
  }

  async optimStep({ learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 }: AdamParams): Promise<OptimResult> {
    await Promise.resolve();
    const { params } = this;
    params.updates++;
    let squared = 0;
    for (const [name, grad] of Object.entries(this.grads)) {
      const weights = (params.weights[name] ??= grad.map(() => 0));
      const mean = (params.mean[name] ??= grad.map(() => 0));
      const square = (params.square[name] ??= grad.map(() => 0));
      grad.forEach((g, v) => {
        squared += g * g;
        mean[v] = beta1 * (mean[v] as number) + (1 - beta1) * g;
        square[v] = beta2 * (square[v] as number) + (1 - beta2) * g * g;
        const step = (mean[v] as number) / (1 - beta1 ** params.updates);
        const spread = Math.sqrt((square[v] as number) / (1 - beta2 ** params.updates));
        weights[v] = (weights[v] as number) - (learningRate * step) / (spread + epsilon);
      });
    }
    this.grads = {};
    return { gradNorm: Math.sqrt(squared), applied: true };
  }

  async zeroGrad(): Promise<void> {
    this.grads = {};
    await Promise.resolve();
  }

  async logprobs(
    data: readonly Pick<Datum, "prompt" | "completion">[],
    { weights = "policy", temperature = 1 }: LogprobsOptions = {},
  ): Promise<Float32Array[]> {
    await Promise.resolve();
    return data.map(({ prompt, completion }) =>
      Float32Array.from(completion, (id, t) => logSoftmax(this.logits(prompt, t, weights), temperature)[id] as number),
    );
  }

  async saveState(dir: string): Promise<void> {
    await mkdir(dir, { recursive: true });
    await writeFile(join(dir, "tabular.json"), JSON.stringify(this.params));
  }

  async loadState(dir: string): Promise<void> {
    this.params = JSON.parse(await readFile(join(dir, "tabular.json"), "utf8")) as Parameters;
    this.grads = {};
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }

  /** Trained weights, for comparing two runs. */
  get state(): string {
    return JSON.stringify(this.params);
  }

  private sampleOne(prompt: TokenIds, index: number, params: SamplingParams): Sample {
    const random = randomStream(params.seed, key(prompt, 0), index);
    const ids: number[] = [];
    const logprobs: number[] = [];
    let stopReason: Sample["stopReason"] = "length";
    while (ids.length < params.maxTokens && stopReason === "length") {
      const logits = this.logits(prompt, ids.length, params.weights ?? "policy");
      const logs = logSoftmax(logits, params.temperature || 1);
      const id = params.temperature === 0 ? logs.indexOf(Math.max(...logs)) : draw(logs, random.next());
      ids.push(id);
      logprobs.push(logs[id] as number);
      if (id === 0) stopReason = "stop";
    }
    return { ids, logprobs: Float32Array.from(logprobs), text: this.decode(ids), stopReason };
  }

  private decode(ids: TokenIds): string {
    return ids
      .filter((id) => id > 0)
      .map((id) => this.words[id])
      .join(" ");
  }

  private logits(prompt: TokenIds, position: number, weights: Weights): number[] {
    const trained = weights === "policy" ? this.params.weights[key(prompt, position)] : undefined;
    return trained ?? this.words.map(() => 0);
  }
}

function key(prompt: TokenIds, position: number): string {
  // Words of an answer that the prompt begins (unknown ones are -1) go to a private area of Unicode.
  return `${position}:${String.fromCodePoint(...prompt.map((id) => (id < promptBase ? 0xe001 + id : id - promptBase)))}`;
}

function logSoftmax(logits: readonly number[], temperature: number): number[] {
  const scaled = logits.map((logit) => logit / temperature);
  const max = Math.max(...scaled);
  const log = max + Math.log(scaled.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
  return scaled.map((logit) => logit - log);
}

function draw(logs: readonly number[], uniform: number): number {
  let left = uniform;
  for (let id = 0; id < logs.length; id++) {
    left -= Math.exp(logs[id] as number);
    if (left < 0) return id;
  }
  return logs.length - 1;
}

/** A token's loss, and its derivative by the token's log-prob. */
function tokenLoss(datum: Datum, loss: Loss, t: number, logprob: number): { loss: number; slope: number } {
  const weight = datum.weight ?? 1;
  if (loss.name === "cross_entropy") return { loss: -weight * logprob, slope: -weight };
  const ratio = Math.exp(logprob - (datum.oldLogprobs?.[t] as number));
  const advantage = datum.advantage as number;
  const clipped = Math.min(Math.max(ratio, 1 - (loss.clipLow ?? 0.2)), 1 + (loss.clipHigh ?? 0.2));
  const isFree = loss.name === "importance_sampling" || ratio * advantage <= clipped * advantage;
  let value = isFree ? -ratio * advantage : -clipped * advantage;
  let slope = isFree ? -ratio * advantage : 0;
  if (loss.klCoef) {
    const d = (datum.refLogprobs?.[t] as number) - logprob;
    value += loss.klCoef * (Math.exp(d) - d - 1);
    slope += loss.klCoef * (1 - Math.exp(d));
  }
  return { loss: weight * value, slope: weight * slope };
}
