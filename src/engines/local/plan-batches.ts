/**
 * Which groups are computed together: as many tokens as a run may take, in the memory that is left for it. Plain data in
 * and out.
 */
import { EngineError } from "../../core/errors.ts";
import type { TokenIds } from "../engine.ts";
import { type BatchSizes, gigabytes } from "./memory.ts";
import { commonPrefix, countRows, type Group } from "./packing.ts";

/** Sizes of the batch that `packGroups` would make of `groups`. */
export function measureBatch(groups: readonly Group[]): BatchSizes {
  const prefix = commonPrefix(groups.map(({ prompt }) => prompt));
  return measureWithPrefix(groups, prefix);
}

function measureWithPrefix(groups: readonly Group[], prefix: number): BatchSizes {
  const lengths = groups.flatMap(({ completions }) => completions.map((completion) => completion.length));
  return {
    rows: groups.reduce((rows, group) => rows + countRows(group, prefix), prefix + 1),
    scored: lengths.reduce((sum, length) => sum + length, 0),
    groups: groups.length,
    prefixSlots: Math.max(1, prefix),
    promptSlots: groups.reduce((most, { prompt }) => Math.max(most, prompt.length), 0) - prefix + 1,
    completionSlots: lengths.reduce((most, length) => Math.max(most, length - 1), 1),
    perGroup: groups.reduce((most, { completions }) => Math.max(most, completions.length), 1),
  };
}

/** What one run may take. */
export interface BatchLimits {
  /** Tokens. */
  maxRows: number;
  /** Bytes that a batch of these sizes takes, and how many there are. Default: no limit. */
  memory?: { estimate: (sizes: BatchSizes) => number; maxBytes: number };
}

/**
 * Divides groups into batches within `limits`, longest first so that little is padded; a group that is too large on its
 * own is cut between completions, and each part computes the prompt again.
 * @returns for each batch its groups, with the original group's and completions' indices
 * @throws EngineError `ENGINE_MEMORY` where one prompt with one completion is more than the memory allows
 */
export function planBatches(groups: readonly Group[], limits: BatchLimits): PlannedGroup[][] {
  const prefix = commonPrefix(groups.map(({ prompt }) => prompt));
  const pieces = groups.flatMap((group, index) => cutGroup(group, index, limits));
  pieces.sort((a, b) => countRows(b) - countRows(a) || a.index - b.index);
  const batches: { rows: number; groups: PlannedGroup[] }[] = [];
  for (const piece of pieces) {
    const rows = countRows(piece, prefix);
    const open = batches.find(
      (batch) =>
        batch.rows + rows <= limits.maxRows &&
        fitsMemory(measureWithPrefix([...batch.groups, piece], prefix), limits.memory),
    );
    if (open) {
      open.rows += rows;
      open.groups.push(piece);
    } else {
      batches.push({ rows: prefix + rows, groups: [piece] });
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

function fitsMemory(sizes: BatchSizes, memory: BatchLimits["memory"]): boolean {
  return memory === undefined || memory.estimate(sizes) <= memory.maxBytes;
}

function cutGroup(group: Group, index: number, { maxRows, memory }: BatchLimits): PlannedGroup[] {
  const parts: PlannedGroup[] = [];
  let part: { completions: TokenIds[]; members: number[]; rows: number } | undefined;
  group.completions.forEach((completion, member) => {
    const rows = Math.max(0, completion.length - 1);
    const alone = { prompt: group.prompt, completions: [completion] };
    const isFull =
      part !== undefined &&
      (part.rows + rows > maxRows ||
        !fitsMemory(measureWithPrefix([{ ...alone, completions: [...part.completions, completion] }], 0), memory));
    if (!part || isFull) {
      if (memory) checkAlone(alone, memory);
      part = { completions: [], members: [], rows: group.prompt.length };
      parts.push({ prompt: group.prompt, completions: part.completions, members: part.members, index });
    }
    part.completions.push(completion);
    part.members.push(member);
    part.rows += rows;
  });
  return parts;
}

function checkAlone(group: Group, memory: NonNullable<BatchLimits["memory"]>): void {
  const needed = memory.estimate(measureWithPrefix([group], 0));
  if (needed <= memory.maxBytes) return;
  const completion = group.completions[0] as TokenIds;
  throw new EngineError(
    "ENGINE_MEMORY",
    `A prompt of ${group.prompt.length} tokens with a completion of ${completion.length} needs about ` +
      `${gigabytes(needed)} for one run, and ${gigabytes(memory.maxBytes)} are left beside the model. ` +
      "Shorten prompts or completions (maxTokens), take a smaller model, or allow more memory (memoryGb).",
    { details: { neededBytes: needed, maxBytes: memory.maxBytes } },
  );
}
