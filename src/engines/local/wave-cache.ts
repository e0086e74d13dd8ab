/**
 * Keys and values of completions that are decoded together, and the decoding step that reads and adds to them. Knows
 * nothing of choosing tokens.
 */
import type { AnyTensor, Session, TensorData } from "../../graph/session.ts";
import type { ModelConfig } from "../../models/model.ts";
import type { TokenIds } from "../engine.ts";
import { filledMask, int64, keyMask } from "./packing.ts";

/** Keys and values get room for this many more tokens at a time. */
const cacheStep = 16;

/** Keys and values of a wave: the prompts', and those of the running completions in rows that close up. */
export class WaveCache {
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
  private maxTokens = 0;

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

  /**
   * Makes room for `rows` completions of at most `maxTokens`. The system gives memory only to what is written to; the
   * first steps use room for `firstTokens`, and more as they come.
   */
  start(rows: number, maxTokens: number, firstTokens: number = cacheStep): void {
    const { layers, kvHeads, headDim } = this.config;
    this.rows = rows;
    this.maxTokens = maxTokens;
    this.capacity = Math.min(firstTokens, maxTokens);
    const allocate = (size: number): Float32Array[] => Array.from({ length: layers }, () => new Float32Array(size));
    this.ownKeys = allocate(rows * kvHeads * maxTokens * headDim);
    this.ownValues = allocate(rows * kvHeads * maxTokens * headDim);
    this.newKeys = allocate(rows * kvHeads * headDim);
    this.newValues = allocate(rows * kvHeads * headDim);
  }

  /** Feeds each row its last token; fills `next`, what the graph says of the next ones, and remembers the new keys and values. */
  async step(
    decode: Session,
    feeds: Readonly<Record<string, AnyTensor>>,
    tokens: readonly { id: number; place: number }[],
    next: Readonly<Record<string, AnyTensor>>,
  ): Promise<void> {
    const { layers, kvHeads, headDim, heads } = this.config;
    const group = heads / kvHeads;
    const prompts = this.prompts.length;
    const byPrompt: number[][] = Array.from({ length: prompts }, () => []);
    tokens.forEach(({ place }, row) => (byPrompt[place] as number[]).push(row));
    const most = Math.max(...byPrompt.map((rows) => rows.length));
    const promptPlaces = new Int32Array(prompts * kvHeads * most * group);
    const queryPlaces = new Int32Array(tokens.length * heads);
    byPrompt.forEach((rows, p) =>
      rows.forEach((row, i) => {
        for (let head = 0; head < heads; head++) {
          const place = ((p * kvHeads + Math.floor(head / group)) * most + i) * group + (head % group);
          promptPlaces[place] = row * heads + head;
          queryPlaces[row * heads + head] = place;
        }
      }),
    );
    const positions = tokens.map(({ place }) => (this.prompts[place] as TokenIds).length + this.length);
    const inputs: Record<string, AnyTensor> = {
      ...feeds,
      ids: int64(tokens.map(({ id }) => id)),
      positions: int64(positions, [tokens.length, 1]),
      promptPlaces: { shape: [prompts, kvHeads, most * group], data: promptPlaces },
      queryPlaces: { shape: [tokens.length, kvHeads, group], data: queryPlaces },
      promptKeyMask: this.promptKeyMask,
      ownMask: filledMask(this.length, this.capacity),
      keySizes: int64([this.slots, this.capacity, 1]),
      promptScoreSizes: int64([-1, this.slots]),
    };
    const results: Record<string, AnyTensor> = { ...next };
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

  /** Spreads the heads' tokens to make room for more, last head first so that none is overwritten. */
  private grow(): void {
    const { kvHeads, headDim } = this.config;
    const heads = this.rows * kvHeads;
    const oldSize = this.capacity * headDim;
    this.capacity = Math.min(this.maxTokens, this.capacity + Math.max(cacheStep, Math.ceil(this.capacity / 2)));
    const newSize = this.capacity * headDim;
    for (const cache of [...this.ownKeys, ...this.ownValues]) {
      for (let h = heads - 1; h > 0; h--) cache.copyWithin(h * newSize, h * oldSize, (h + 1) * oldSize);
    }
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
