/**
 * Sampling with key/value caches: a prompt's keys and values are computed once and shared by its completions; finished
 * completions leave the batch. It knows graphs and caches, not training.
 */
import { EngineError, throwIfAborted } from "../../core/errors.ts";
import { type Random, randomStream } from "../../core/random.ts";
import type { AnyTensor, Session, TensorData } from "../../graph/session.ts";
import type { ChatTokenizer, ModelConfig } from "../../models/model.ts";
import type { Sample, SamplingParams, TokenIds } from "../engine.ts";
import { chooseToken, type TokenChoice } from "./choose-token.ts";
import { checkTokens, commonPrefix, filledMask, int64, keyMask, packPrompts } from "./packing.ts";

export interface SamplerModel {
  config: ModelConfig;
  tokenizer: ChatTokenizer;
  prefill: Session;
  decode: Session;
  /** Weights, rotary tables: whatever every run of the two graphs is fed. */
  feeds: Readonly<Record<string, AnyTensor>>;
}

/** Most rows that one prefill takes. */
const maxPrefillRows = 1024;
/** Most completions that are decoded together. */
const maxDecodeRows = 256;
/** Most memory for the completions' keys and values, in bytes. */
const maxCacheBytes = 2 ** 29;
/** Keys and values get room for this many more tokens at a time. */
const cacheStep = 16;

/** A completion in the making. */
interface Running {
  prompt: number;
  sample: number;
  random: Random;
  ids: number[];
  logprobs: number[];
}

/** `[prompts][n]` completions. */
export async function sampleCompletions(
  model: SamplerModel,
  prompts: readonly TokenIds[],
  params: SamplingParams,
): Promise<Sample[][]> {
  checkPrompts(model.config, prompts, params);
  const results: Sample[][] = prompts.map(() => []);
  let done = 0;
  const finish = (running: Running, stopReason: Sample["stopReason"], text: string): void => {
    const { ids, logprobs } = running;
    (results[running.prompt] as Sample[])[running.sample] = {
      ids,
      logprobs: Float32Array.from(logprobs),
      text,
      stopReason,
    };
    params.onProgress?.(++done);
  };
  const order = prompts.map((_, p) => p).sort((a, b) => lengthOf(prompts, b) - lengthOf(prompts, a) || a - b);
  for (const wave of planWaves(model.config, order, params)) {
    await sampleWave(model, prompts, wave, params, finish);
  }
  return results;
}

const lengthOf = (prompts: readonly TokenIds[], p: number): number => (prompts[p] as TokenIds).length;

function checkPrompts(config: ModelConfig, prompts: readonly TokenIds[], params: SamplingParams): void {
  checkParams(params);
  for (const prompt of prompts) {
    if (prompt.length === 0) throw new EngineError("ENGINE_EMPTY_PROMPT", "A prompt has no tokens.");
    checkTokens(prompt, config.vocabSize);
    if (prompt.length + params.maxTokens > config.contextLength) {
      throw new EngineError(
        "ENGINE_CONTEXT",
        `A prompt of ${prompt.length} tokens and ${params.maxTokens} new ones exceed the model's ${config.contextLength}. ` +
          "Shorten the prompt or lower maxTokens.",
      );
    }
  }
}

function checkParams(params: SamplingParams): void {
  const { n, maxTokens, temperature, topP = 1, topK = 0, minP = 0, stop = [] } = params;
  const check = (field: keyof SamplingParams, isRight: boolean, expected: string): void => {
    if (isRight) return;
    const got = field === "stop" ? JSON.stringify(params.stop) : String(params[field]);
    throw new EngineError("ENGINE_SAMPLING", `Sampling: ${field} must be ${expected}, got ${got}.`);
  };
  check("n", Number.isInteger(n) && n >= 1, "a whole number from 1");
  check("maxTokens", Number.isInteger(maxTokens) && maxTokens >= 1, "a whole number from 1");
  check("temperature", Number.isFinite(temperature) && temperature >= 0, "0 (greedy) or more");
  check("topP", topP > 0 && topP <= 1, "above 0 and at most 1");
  check("topK", Number.isInteger(topK) && topK >= 0, "a whole number, 0 for off");
  check("minP", minP >= 0 && minP <= 1, "from 0 to 1");
  check("stop", !stop.includes(""), "strings that are not empty");
}

/** Samples of prompts that are decoded together, as [prompt, sample] pairs in the order of the prompts. */
function planWaves(config: ModelConfig, order: readonly number[], params: SamplingParams): [number, number][][] {
  const bytesPerRow = config.layers * config.kvHeads * config.headDim * 2 * 4 * params.maxTokens;
  const rows = Math.max(1, Math.min(maxDecodeRows, Math.floor(maxCacheBytes / bytesPerRow)));
  const all = order.flatMap((p) => Array.from({ length: params.n }, (_, s): [number, number] => [p, s]));
  const waves = Math.ceil(all.length / rows);
  const size = Math.ceil(all.length / waves / params.n) * params.n;
  const waveSize = size <= rows ? size : rows;
  return Array.from({ length: Math.ceil(all.length / waveSize) }, (_, i) =>
    all.slice(i * waveSize, (i + 1) * waveSize),
  );
}

async function sampleWave(
  model: SamplerModel,
  prompts: readonly TokenIds[],
  wave: readonly [number, number][],
  params: SamplingParams,
  finish: (running: Running, stopReason: Sample["stopReason"], text: string) => void,
): Promise<void> {
  const { temperature, topP = 1, topK = 0, minP = 0 } = params;
  const choice: TokenChoice = { temperature, topP, topK, minP };
  const feeds = {
    ...model.feeds,
    inverseTemperature: { shape: [], data: Float32Array.of(temperature === 0 ? 1 : 1 / temperature) },
  };
  const ends = new Set([...(params.ignoreEnd ? [] : model.tokenizer.endIds), ...(params.stopIds ?? [])]);
  const stops = params.stop ?? [];

  /** Appends a token; false when the completion has ended. */
  const accept = (running: Running, probabilities: Float32Array): boolean => {
    const id = chooseToken(probabilities, choice, running.random.next());
    running.ids.push(id);
    running.logprobs.push(Math.log(probabilities[id] as number));
    if (ends.has(id)) {
      finish(running, "stop", model.tokenizer.decode(running.ids.slice(0, -1)));
      return false;
    }
    if (stops.length > 0) {
      const text = model.tokenizer.decode(running.ids);
      const cuts = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
      if (cuts.length > 0) {
        finish(running, "stop", text.slice(0, Math.min(...cuts)));
        return false;
      }
    }
    if (running.ids.length >= params.maxTokens) {
      finish(running, "length", model.tokenizer.decode(running.ids));
      return false;
    }
    return true;
  };

  const unique = [...new Set(wave.map(([p]) => p))];
  const cache = new WaveCache(
    model.config,
    unique.map((p) => prompts[p] as TokenIds),
  );
  const { vocabSize } = model.config;
  const first = await prefillPrompts(model, feeds, cache, params.signal);
  let rows: { running: Running; place: number }[] = [];
  for (const [p, s] of wave) {
    const place = unique.indexOf(p);
    const running: Running = {
      prompt: p,
      sample: s,
      random: randomStream(params.seed, "sample", (prompts[p] as TokenIds).join(), s),
      ids: [],
      logprobs: [],
    };
    if (accept(running, first.subarray(place * vocabSize, (place + 1) * vocabSize))) rows.push({ running, place });
  }
  cache.start(rows.length);
  let probabilities = new Float32Array(rows.length * vocabSize);
  while (rows.length > 0) {
    throwIfAborted(params.signal);
    const batch = rows;
    probabilities = probabilities.subarray(0, batch.length * vocabSize);
    await cache.step(
      model.decode,
      feeds,
      batch.map(({ running, place }) => ({ id: running.ids.at(-1) as number, place })),
      probabilities,
    );
    const kept = batch.flatMap(({ running }, r) =>
      accept(running, probabilities.subarray(r * vocabSize, (r + 1) * vocabSize)) ? [r] : [],
    );
    if (kept.length < batch.length) cache.keep(kept);
    rows = kept.map((r) => batch[r] as (typeof rows)[number]);
  }
}

/** Fills the cache's prompt keys and values; returns what follows each prompt, `[P, vocab]`. */
async function prefillPrompts(
  { prefill, config }: SamplerModel,
  feeds: Readonly<Record<string, AnyTensor>>,
  cache: WaveCache,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const { prompts, slots } = cache;
  const { kvHeads, headDim, vocabSize } = config;
  const prefix = commonPrefix(prompts);
  const probabilities = new Float32Array(prompts.length * vocabSize);
  for (let start = 0; start < prompts.length;) {
    throwIfAborted(signal);
    let end = start;
    let rows = prefix;
    while (end < prompts.length && (end === start || rows + lengthOf(prompts, end) - prefix <= maxPrefillRows)) {
      rows += lengthOf(prompts, end++) - prefix;
    }
    const part = prompts.slice(start, end);
    const results: Record<string, TensorData> = {
      probabilities: {
        shape: [part.length, vocabSize],
        data: probabilities.subarray(start * vocabSize, end * vocabSize),
      },
    };
    const room = (batch: number, length: number): TensorData => ({
      shape: [batch, kvHeads, length, headDim],
      data: new Float32Array(batch * kvHeads * length * headDim),
    });
    for (let layer = 0; layer < config.layers; layer++) {
      for (const kind of ["Keys", "Values"]) {
        results[`prefix${kind}.${layer}`] = room(1, Math.max(1, prefix));
        results[`prompt${kind}.${layer}`] = room(part.length, slots - prefix);
      }
    }
    await prefill.run({ ...feeds, ...packPrompts(part, prefix, slots - prefix, config.heads / kvHeads) }, results);
    cache.setPrompts(start, prefix, results);
    start = end;
  }
  return probabilities;
}

/** Keys and values of a wave: the prompts', and those of the running completions in rows that close up. */
class WaveCache {
  readonly prompts: readonly TokenIds[];
  readonly slots: number;
  readonly promptKeys: Float32Array[];
  readonly promptValues: Float32Array[];
  private readonly config: ModelConfig;
  private readonly promptKeyMask: TensorData;
  private ownKeys: Float32Array[] = [];
  private ownValues: Float32Array[] = [];
  private newKeys: Float32Array[] = [];
  private newValues: Float32Array[] = [];
  private rows = 0;
  private length = 0;
  private capacity = 0;

  constructor(config: ModelConfig, prompts: readonly TokenIds[]) {
    this.config = config;
    this.prompts = prompts;
    this.slots = Math.max(...prompts.map((prompt) => prompt.length));
    const size = prompts.length * config.kvHeads * this.slots * config.headDim;
    this.promptKeys = Array.from({ length: config.layers }, () => new Float32Array(size));
    this.promptValues = Array.from({ length: config.layers }, () => new Float32Array(size));
    this.promptKeyMask = keyMask(
      prompts.map((prompt) => prompt.length),
      this.slots,
      2,
    );
  }

  /** View of the prompts `start` to `end` in a layer's prompt cache. */
  promptPart(cache: Float32Array[], layer: number, start: number, end: number): TensorData {
    const { kvHeads, headDim } = this.config;
    const size = kvHeads * this.slots * headDim;
    return {
      shape: [end - start, kvHeads, this.slots, headDim],
      data: (cache[layer] as Float32Array).subarray(start * size, end * size),
    };
  }

  /** Takes over keys and values of prompts from `start` on, as the prefill graph gives them. */
  setPrompts(start: number, prefix: number, results: Readonly<Record<string, TensorData>>): void {
    const { layers, headDim, kvHeads } = this.config;
    const own = (this.slots - prefix) * headDim;
    const copy = (cache: Float32Array, kind: string, layer: number): void => {
      const shared = (results[`prefix${kind}.${layer}`] as TensorData).data;
      const rest = (results[`prompt${kind}.${layer}`] as TensorData).data;
      for (let from = 0, to = start * kvHeads; from * own < rest.length; from++, to++) {
        const head = from % kvHeads;
        const at = to * this.slots * headDim;
        cache.set(shared.subarray(head * prefix * headDim, (head + 1) * prefix * headDim), at);
        cache.set(rest.subarray(from * own, (from + 1) * own), at + prefix * headDim);
      }
    };
    for (let layer = 0; layer < layers; layer++) {
      copy(this.promptKeys[layer] as Float32Array, "Keys", layer);
      copy(this.promptValues[layer] as Float32Array, "Values", layer);
    }
  }

  /** Makes room for the first tokens of `rows` completions. */
  start(rows: number): void {
    const { layers, kvHeads, headDim } = this.config;
    this.rows = rows;
    this.capacity = cacheStep;
    const allocate = (size: number): Float32Array[] => Array.from({ length: layers }, () => new Float32Array(size));
    this.ownKeys = allocate(rows * kvHeads * this.capacity * headDim);
    this.ownValues = allocate(rows * kvHeads * this.capacity * headDim);
    this.newKeys = allocate(rows * kvHeads * headDim);
    this.newValues = allocate(rows * kvHeads * headDim);
  }

  /** Feeds each row its last token; fills `probabilities` `[rows, vocab]` and remembers the new keys and values. */
  async step(
    decode: Session,
    feeds: Readonly<Record<string, AnyTensor>>,
    tokens: readonly { id: number; place: number }[],
    probabilities: Float32Array,
  ): Promise<void> {
    const { layers, kvHeads, headDim, heads, vocabSize } = this.config;
    const group = heads / kvHeads;
    const prompts = this.prompts.length;
    const byPrompt: number[][] = Array.from({ length: prompts }, () => []);
    tokens.forEach(({ place }, row) => (byPrompt[place] as number[]).push(row));
    const most = Math.max(...byPrompt.map((rows) => rows.length));
    const promptPlaces = new Array<number>(prompts * most).fill(0);
    const rowPlaces = new Array<number>(tokens.length).fill(0);
    byPrompt.forEach((rows, p) =>
      rows.forEach((row, i) => {
        promptPlaces[p * most + i] = row;
        rowPlaces[row] = p * most + i;
      }),
    );
    const positions = tokens.map(({ place }) => lengthOf(this.prompts, place) + this.length);
    const inputs: Record<string, AnyTensor> = {
      ...feeds,
      ids: int64(tokens.map(({ id }) => id)),
      positions: int64(positions, [tokens.length, 1]),
      promptPlaces: int64(promptPlaces, [prompts, most]),
      rowPlaces: int64(rowPlaces),
      promptKeyMask: this.promptKeyMask,
      ownMask: filledMask(this.length, this.capacity),
      keySizes: int64([this.slots, this.capacity, 1]),
      splitSizes: int64([prompts, kvHeads, most, group, this.slots]),
      flatSizes: int64([prompts * most, kvHeads, group, this.slots]),
      placedSizes: int64([prompts, most, kvHeads, group, this.slots]),
      mergedSizes: int64([prompts, kvHeads, most * group, this.slots]),
    };
    const results: Record<string, TensorData> = {
      probabilities: { shape: [tokens.length, vocabSize], data: probabilities },
    };
    const own = [this.rows, kvHeads, this.capacity, headDim];
    const ownSize = own.reduce((a, b) => a * b, 1);
    const fresh = [this.rows, kvHeads, 1, headDim];
    const freshSize = this.rows * kvHeads * headDim;
    for (let layer = 0; layer < layers; layer++) {
      inputs[`promptKeys.${layer}`] = this.promptPart(this.promptKeys, layer, 0, prompts);
      inputs[`promptValues.${layer}`] = this.promptPart(this.promptValues, layer, 0, prompts);
      inputs[`ownKeys.${layer}`] = { shape: own, data: (this.ownKeys[layer] as Float32Array).subarray(0, ownSize) };
      inputs[`ownValues.${layer}`] = { shape: own, data: (this.ownValues[layer] as Float32Array).subarray(0, ownSize) };
      results[`newKeys.${layer}`] = {
        shape: fresh,
        data: (this.newKeys[layer] as Float32Array).subarray(0, freshSize),
      };
      results[`newValues.${layer}`] = {
        shape: fresh,
        data: (this.newValues[layer] as Float32Array).subarray(0, freshSize),
      };
    }
    await decode.run(inputs, results);
    this.append();
  }

  /** Leaves only the given rows, in order. */
  keep(kept: readonly number[]): void {
    const size = this.config.kvHeads * this.capacity * this.config.headDim;
    for (const cache of [...this.ownKeys, ...this.ownValues]) {
      kept.forEach((from, to) => {
        if (from !== to) cache.copyWithin(to * size, from * size, (from + 1) * size);
      });
    }
    this.rows = kept.length;
  }

  private append(): void {
    if (this.length === this.capacity) this.grow();
    const { layers, kvHeads, headDim } = this.config;
    const heads = this.rows * kvHeads;
    for (let layer = 0; layer < layers; layer++) {
      for (const [fresh, own] of [
        [this.newKeys, this.ownKeys],
        [this.newValues, this.ownValues],
      ] as const) {
        copyHeads(fresh[layer] as Float32Array, own[layer] as Float32Array, heads, headDim, this.capacity, this.length);
      }
    }
    this.length += 1;
  }

  private grow(): void {
    const { kvHeads, headDim } = this.config;
    const heads = this.rows * kvHeads;
    const oldSize = this.capacity * headDim;
    this.capacity += Math.max(cacheStep, Math.ceil(this.capacity / 2));
    const newSize = this.capacity * headDim;
    const enlarge = (old: Float32Array): Float32Array => {
      const larger = new Float32Array(heads * newSize);
      for (let h = 0; h < heads; h++) larger.set(old.subarray(h * oldSize, (h + 1) * oldSize), h * newSize);
      return larger;
    };
    this.ownKeys = this.ownKeys.map(enlarge);
    this.ownValues = this.ownValues.map(enlarge);
  }
}

/** Copies one token's `[heads, headDim]` to its place in `[heads, capacity, headDim]`. */
function copyHeads(
  from: Float32Array,
  to: Float32Array,
  heads: number,
  headDim: number,
  capacity: number,
  length: number,
): void {
  for (let head = 0; head < heads; head++) {
    const source = head * headDim;
    const target = (head * capacity + length) * headDim;
    for (let i = 0; i < headDim; i++) to[target + i] = from[source + i] as number;
  }
}
