/**
 * Packs groups (one prompt, n completions) into rows without padding: every prompt once, then its completions. Plain
 * data in, index arrays for the graphs out; nothing here runs a graph.
 */
import { EngineError } from "../../core/errors.ts";
import type { AnyTensor, TensorData } from "../../graph/session.ts";
import type { TokenIds } from "../engine.ts";

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

/**
 * Rows that a group takes in a packed batch. A completion's last token needs no row: nothing is predicted from it.
 */
export function countRows({ prompt, completions }: Group): number {
  return completions.reduce((rows, completion) => rows + Math.max(0, completion.length - 1), prompt.length);
}

export interface PackedBatch {
  feeds: Record<string, AnyTensor>;
  /** For each group and completion where its scored tokens begin among all `[M]`. */
  offsets: number[][];
  /** Scored tokens, M, padding included. */
  scored: number;
}

/** Mask `[P, 1, G·T, T]`: causal, and only real keys. `lengths` are the prompts'. */
export function promptMask(lengths: readonly number[], slots: number, queriesPerKey: number): TensorData {
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

/** Mask `[P, .. 1, T]` with `ones` axes of size 1 between: which of T keys each of P prompts has. */
export function keyMask(lengths: readonly number[], slots: number, ones: number): TensorData {
  const data = new Float32Array(lengths.length * slots).fill(masked);
  lengths.forEach((length, p) => data.fill(0, p * slots, p * slots + length));
  return { shape: [lengths.length, ...Array<number>(ones).fill(1), slots], data };
}

/** Mask `[1, 1, 1, L]`: the first `filled` of `capacity` keys. */
export function filledMask(filled: number, capacity: number): TensorData {
  return { shape: [1, 1, 1, capacity], data: new Float32Array(capacity).fill(masked, filled) };
}

function causalMask(slots: number, queriesPerKey: number): TensorData {
  const data = new Float32Array(queriesPerKey * slots * slots).fill(masked);
  for (let row = 0; row < queriesPerKey * slots; row++) {
    data.fill(0, row * slots, row * slots + (row % slots) + 1);
  }
  return { shape: [1, 1, 1, queriesPerKey * slots, slots], data };
}

/**
 * Packs `groups` for the scoring and training graphs.
 * @param queriesPerKey heads / kvHeads
 * @param chunks into how many parts the scored tokens are cut; they are padded to at least one each
 */
export function packGroups(groups: readonly Group[], queriesPerKey: number, chunks: number): PackedBatch {
  const promptLengths = groups.map(({ prompt }) => prompt.length);
  // One slot more than the longest prompt, so that the dummy row has a slot that is padding.
  const promptSlots = Math.max(...promptLengths) + 1;
  const perGroup = Math.max(1, ...groups.map(({ completions }) => completions.length));
  const completionSlots = Math.max(1, ...groups.flatMap((g) => g.completions.map((c) => c.length - 1)));
  const ids: number[] = [];
  const positions: number[] = [];
  const rowSlots: number[] = [];
  const scoreRows: number[] = [];
  const targets: number[] = [];
  const rowCount = groups.reduce((sum, group) => sum + countRows(group), 0);
  const promptRows = new Array<number>(groups.length * promptSlots).fill(rowCount);
  const completionRows = new Array<number>(groups.length * perGroup * completionSlots).fill(rowCount);
  const firstCompletionSlot = groups.length * promptSlots;

  const offsets = groups.map(({ prompt, completions }, p) => {
    prompt.forEach((id, t) => {
      const slot = p * promptSlots + t;
      promptRows[slot] = ids.length;
      rowSlots.push(slot);
      ids.push(id);
      positions.push(t);
    });
    const lastPromptRow = ids.length - 1;
    return completions.map((completion, i) => {
      const offset = targets.length;
      completion.forEach((id, t) => {
        scoreRows.push(t === 0 ? lastPromptRow : ids.length - 1);
        targets.push(id);
        if (t === completion.length - 1) return;
        const slot = (p * perGroup + i) * completionSlots + t;
        completionRows[slot] = ids.length;
        rowSlots.push(firstCompletionSlot + slot);
        ids.push(id);
        positions.push(prompt.length + t);
      });
      return offset;
    });
  });
  ids.push(0);
  positions.push(0);
  rowSlots.push(promptSlots - 1);
  while (targets.length < chunks) {
    scoreRows.push(rowCount);
    targets.push(0);
  }
  const scored = targets.length;
  const chunkSizes = Array.from(
    { length: chunks },
    (_, i) => Math.floor((scored * (i + 1)) / chunks) - Math.floor((scored * i) / chunks),
  );
  return {
    offsets,
    scored,
    feeds: {
      ids: int64(ids),
      positions: int64(positions, [positions.length, 1]),
      promptRows: int64(promptRows, [groups.length, promptSlots]),
      completionRows: int64(completionRows, [groups.length, perGroup, completionSlots]),
      rowSlots: int64(rowSlots),
      promptMask: promptMask(promptLengths, promptSlots, queriesPerKey),
      promptKeyMask: keyMask(promptLengths, promptSlots, 3),
      completionMask: causalMask(completionSlots, queriesPerKey),
      keySizes: int64([promptSlots, completionSlots]),
      scoreRows: int64(scoreRows),
      targets: int64(targets, [scored, 1]),
      chunkSizes: int64(chunkSizes),
    },
  };
}

/** Packs prompts for the prefill graph, in `slots` slots each. */
export function packPrompts(
  prompts: readonly TokenIds[],
  slots: number,
  queriesPerKey: number,
): Record<string, AnyTensor> {
  const promptRows = new Array<number>(prompts.length * slots).fill(0);
  const ids: number[] = [];
  const positions: number[] = [];
  const rowSlots: number[] = [];
  const lastRows = prompts.map((prompt, p) => {
    prompt.forEach((id, t) => {
      promptRows[p * slots + t] = ids.length;
      rowSlots.push(p * slots + t);
      ids.push(id);
      positions.push(t);
    });
    return ids.length - 1;
  });
  const lengths = prompts.map((prompt) => prompt.length);
  return {
    ids: int64(ids),
    positions: int64(positions, [positions.length, 1]),
    promptRows: int64(promptRows, [prompts.length, slots]),
    rowSlots: int64(rowSlots),
    promptMask: promptMask(lengths, slots, queriesPerKey),
    lastRows: int64(lastRows),
  };
}

/**
 * Divides groups into batches of at most `maxRows` rows, longest first so that little is padded; a group that is too
 * large on its own is cut between completions, and each part computes the prompt again.
 * @returns for each batch its groups, with the original group's and completions' indices
 */
export function planBatches(groups: readonly Group[], maxRows: number): PlannedGroup[][] {
  const pieces = groups.flatMap((group, index) => cutGroup(group, index, maxRows));
  pieces.sort((a, b) => countRows(b) - countRows(a) || a.index - b.index);
  const batches: { rows: number; groups: PlannedGroup[] }[] = [];
  for (const piece of pieces) {
    const rows = countRows(piece);
    const open = batches.find((batch) => batch.rows + rows <= maxRows);
    if (open) {
      open.rows += rows;
      open.groups.push(piece);
    } else {
      batches.push({ rows, groups: [piece] });
    }
  }
  return batches.map((batch) => batch.groups);
}

export interface PlannedGroup extends Group {
  /** Which of the groups this is (a part of). */
  index: number;
  /** Which of that group's completions these are. */
  members: number[];
}

function cutGroup(group: Group, index: number, maxRows: number): PlannedGroup[] {
  const parts: PlannedGroup[] = [];
  let part: { completions: TokenIds[]; members: number[]; rows: number } | undefined;
  group.completions.forEach((completion, member) => {
    const rows = Math.max(0, completion.length - 1);
    if (!part || (part.rows + rows > maxRows && part.members.length > 0)) {
      part = { completions: [], members: [], rows: group.prompt.length };
      parts.push({ prompt: group.prompt, completions: part.completions, members: part.members, index });
    }
    part.completions.push(completion);
    part.members.push(member);
    part.rows += rows;
  });
  return parts;
}
