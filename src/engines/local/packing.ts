/**
 * Packs groups (one prompt, n completions) into rows without padding: what all prompts begin with once, the rest of
 * every prompt once, then its completions. Plain data in, index arrays for the graphs out; nothing here runs a graph.
 */
import { EngineError } from "../../core/errors.ts";
import type { AnyTensor, TensorData } from "../../graph/session.ts";
import type { TokenIds } from "../engine.ts";
import { emptyLevel, type HeadCounts, indexSlots, type SlotLevel } from "./slots.ts";

/** A prompt and the completions that are scored after it. */
export interface Group {
  prompt: TokenIds;
  completions: readonly TokenIds[];
}

/** Added to a score to take a key out of the softmax: its exponential is 0 in float32. */
const masked = -1e9;

export const int64 = (
  data: readonly number[],
  shape: readonly number[] = [data.length],
): TensorData<BigInt64Array> => ({
  shape,
  data: BigInt64Array.from(data, BigInt),
});

/** @throws EngineError where an id is not one of the model's tokens */
export function checkTokens(ids: TokenIds, vocabSize: number): void {
  const wrong = ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (wrong < 0) return;
  throw new EngineError(
    "ENGINE_TOKEN",
    `Token ${wrong + 1} has the id ${ids[wrong]}; the model knows the ids 0 to ${vocabSize - 1}. ` +
      "Was the text tokenized for another model?",
  );
}

/** How many tokens all prompts begin with, at most all but one of the shortest; 0 for a single prompt. */
export function commonPrefix(prompts: readonly TokenIds[]): number {
  const [first, ...others] = prompts;
  if (!first || others.length === 0) return 0;
  let length = Math.min(...prompts.map((prompt) => prompt.length)) - 1;
  for (const other of others) {
    let same = 0;
    while (same < length && other[same] === first[same]) same++;
    length = same;
  }
  return length;
}

/**
 * Rows that a group takes in a packed batch beside the common prefix. A completion's last token needs no row: nothing
 * is predicted from it.
 */
export function countRows({ prompt, completions }: Group, prefix = 0): number {
  return completions.reduce((rows, completion) => rows + Math.max(0, completion.length - 1), prompt.length - prefix);
}

export interface PackedBatch {
  feeds: Record<string, AnyTensor>;
  /** For each group and completion where its scored tokens begin among all `[M]`. */
  offsets: number[][];
  /** Scored tokens, M, padding included. */
  scored: number;
}

/** Mask `[P, 1, G·T, T]`: causal, and only real keys. `lengths` are the prompts'. */
function promptMask(lengths: readonly number[], slots: number, queriesPerKey: number): TensorData {
  const data = new Float32Array(lengths.length * queriesPerKey * slots * slots).fill(masked);
  lengths.forEach((length, p) => {
    for (let g = 0; g < queriesPerKey; g++) {
      for (let query = 0; query < slots; query++) {
        const start = ((p * queriesPerKey + g) * slots + query) * slots;
        data.fill(0, start, start + Math.min(query + 1, length));
      }
    }
  });
  return { shape: [lengths.length, 1, queriesPerKey * slots, slots], data };
}

/** Mask `[P, 1, 1, T]`: which of T keys each of P prompts has. */
export function keyMask(lengths: readonly number[], slots: number): TensorData {
  const data = new Float32Array(lengths.length * slots).fill(masked);
  lengths.forEach((length, p) => data.fill(0, p * slots, p * slots + length));
  return { shape: [lengths.length, 1, 1, slots], data };
}

/** Mask `[1, 1, 1, L]`: the first `filled` of `capacity` keys. */
export function filledMask(filled: number, capacity: number): TensorData {
  return { shape: [1, 1, 1, capacity], data: new Float32Array(capacity).fill(masked, filled) };
}

/** Causal mask `[1 .. 1, G·S, S]` with `ones` axes of size 1 in front. */
function causalMask(slots: number, queriesPerKey: number, ones: number): TensorData {
  const data = new Float32Array(queriesPerKey * slots * slots).fill(masked);
  for (let row = 0; row < queriesPerKey * slots; row++) {
    data.fill(0, row * slots, row * slots + (row % slots) + 1);
  }
  return { shape: [...Array<number>(ones).fill(1), queriesPerKey * slots, slots], data };
}

/** Rows in the making: the token and its position. */
class Rows {
  readonly ids: number[] = [];
  private readonly positions: number[] = [];

  /** Adds a token and returns its row. */
  add(id: number, position: number): number {
    this.positions.push(position);
    return this.ids.push(id) - 1;
  }

  get feeds(): Record<string, AnyTensor> {
    return { ids: int64(this.ids), positions: int64(this.positions, [this.positions.length, 1]) };
  }
}

/**
 * The two upper levels: fills `rows` with the prefix and leaves the prompts' slots empty.
 * @returns the levels, and the feeds of their masks
 */
function upperLevels(
  prompts: readonly TokenIds[],
  prefix: number,
  slots: number,
  queriesPerKey: number,
  rows: Rows,
): { prefixLevel: SlotLevel; promptLevel: SlotLevel; feeds: Record<string, AnyTensor> } {
  const prefixSlots = Math.max(1, prefix);
  const prefixLevel = emptyLevel(1, undefined, prefixSlots);
  for (let t = 0; t < prefix; t++) prefixLevel.rows[t] = rows.add(prompts[0]?.[t] as number, t);
  const lengths = prompts.map((prompt) => prompt.length - prefix);
  const prefixKeyMask = new Float32Array(prefixSlots).fill(prefix === 0 ? masked : 0);
  return {
    prefixLevel,
    promptLevel: emptyLevel(prompts.length, undefined, slots),
    feeds: {
      prefixMask: causalMask(prefixSlots, queriesPerKey, 2),
      prefixKeyMask: { shape: [1, 1, 1, prefixSlots], data: prefixKeyMask },
      promptMask: promptMask(lengths, slots, queriesPerKey),
      promptKeySizes: int64([prefixSlots, slots]),
    },
  };
}

/**
 * Packs `groups` for the scoring and training graphs.
 * @param chunks into how many parts the scored tokens are cut; they are padded to at least one each
 */
export function packGroups(groups: readonly Group[], heads: HeadCounts, chunks: number): PackedBatch {
  const prompts = groups.map(({ prompt }) => prompt);
  const prefix = commonPrefix(prompts);
  const queriesPerKey = heads.heads / heads.kvHeads;
  // One slot more than the longest prompt, so that the dummy row has a slot that is padding.
  const promptSlots = Math.max(...prompts.map((prompt) => prompt.length)) - prefix + 1;
  const perGroup = Math.max(1, ...groups.map(({ completions }) => completions.length));
  const completionSlots = Math.max(1, ...groups.flatMap((g) => g.completions.map((c) => c.length - 1)));
  const rows = new Rows();
  const { prefixLevel, promptLevel, feeds } = upperLevels(prompts, prefix, promptSlots, queriesPerKey, rows);
  const completionLevel = emptyLevel(groups.length, perGroup, completionSlots);
  const scoreRows: number[] = [];
  const targets: number[] = [];
  const offsets = groups.map(({ prompt, completions }, p) => {
    let last = 0;
    for (let t = prefix; t < prompt.length; t++) {
      last = rows.add(prompt[t] as number, t);
      promptLevel.rows[p * promptSlots + t - prefix] = last;
    }
    const lastPromptRow = last;
    return completions.map((completion, i) => {
      const offset = targets.length;
      completion.forEach((id, t) => {
        scoreRows.push(t === 0 ? lastPromptRow : last);
        targets.push(id);
        if (t === completion.length - 1) return;
        last = rows.add(id, prompt.length + t);
        completionLevel.rows[(p * perGroup + i) * completionSlots + t] = last;
      });
      return offset;
    });
  });
  const dummy = rows.add(0, 0);
  while (targets.length < chunks) {
    scoreRows.push(dummy);
    targets.push(0);
  }
  const scored = targets.length;
  const chunkSizes = Array.from(
    { length: chunks },
    (_, i) => Math.floor((scored * (i + 1)) / chunks) - Math.floor((scored * i) / chunks),
  );
  const ownLengths = prompts.map((prompt) => prompt.length - prefix);
  const levels = { prefix: prefixLevel, prompt: promptLevel, completion: completionLevel };
  return {
    offsets,
    scored,
    feeds: {
      ...feeds,
      ...rows.feeds,
      ...indexSlots(levels, rows.ids.length, dummy, heads),
      promptKeyMask: keyMask(ownLengths, promptSlots),
      completionMask: causalMask(completionSlots, queriesPerKey, 3),
      completionKeySizes: int64([prefixLevel.length, promptSlots, completionSlots]),
      ownScoreSizes: int64([0, 0, -1, completionSlots]),
      scoreRows: int64(scoreRows),
      targets: int64(targets, [scored, 1]),
      chunkSizes: int64(chunkSizes),
    },
  };
}

/**
 * Packs prompts for the prefill graph.
 * @param prefix how many tokens all of them begin with
 * @param slots slots for the rest of each
 */
export function packPrompts(
  prompts: readonly TokenIds[],
  prefix: number,
  slots: number,
  heads: HeadCounts,
): Record<string, AnyTensor> {
  const rows = new Rows();
  const { prefixLevel, promptLevel, feeds } = upperLevels(prompts, prefix, slots, heads.heads / heads.kvHeads, rows);
  const lastRows = prompts.map((prompt, p) => {
    let last = 0;
    for (let t = prefix; t < prompt.length; t++) {
      last = rows.add(prompt[t] as number, t);
      promptLevel.rows[p * slots + t - prefix] = last;
    }
    return last;
  });
  return {
    ...feeds,
    ...rows.feeds,
    // Nothing is trained here, so padding may read any row.
    ...indexSlots({ prefix: prefixLevel, prompt: promptLevel }, rows.ids.length, 0, heads),
    lastRows: int64(lastRows),
  };
}
