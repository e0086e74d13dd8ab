/**
 * From data as the loop gives them to groups that are computed once: data with equal prompts form a group, and equal
 * completions of a group with equal loss inputs become one with a larger weight. Also the loss's per-token inputs.
 */
import { EngineError, throwIfAborted } from "../../core/errors.ts";
import type { TensorData } from "../../graph/session.ts";
import type { Datum, Loss, TokenIds } from "../engine.ts";
import {
  type BatchSize,
  type LossShape,
  requireAdvantages,
  requireLogprobs,
  resolveLoss,
  tokenWeight,
} from "../loss-settings.ts";
import { lossReads } from "./losses.ts";
import { type PackedBatch, packGroups } from "./packing.ts";
import type { PlannedGroup } from "./plan-batches.ts";
import type { HeadCounts } from "./slots.ts";

/** Data that share a prompt; each entry stands for one or more equal data. */
export interface DatumGroup {
  prompt: TokenIds;
  completions: TokenIds[];
  /** For each completion the data that it stands for. */
  data: Datum[][];
}

/** Groups data by prompt and merges those that are equal in everything but weight. */
export function groupData(data: readonly Datum[]): DatumGroup[] {
  const groups = new Map<string, { group: DatumGroup; known: Map<string, Datum[]> }>();
  for (const datum of data) {
    if (datum.prompt.length === 0 || datum.completion.length === 0) {
      throw new EngineError("ENGINE_EMPTY_DATUM", "A datum has an empty prompt or an empty completion.");
    }
    const promptKey = datum.prompt.join();
    let entry = groups.get(promptKey);
    if (!entry) {
      entry = { group: { prompt: datum.prompt, completions: [], data: [] }, known: new Map() };
      groups.set(promptKey, entry);
    }
    const key = datumKey(datum);
    const same = entry.known.get(key);
    if (same) {
      same.push(datum);
      continue;
    }
    const members = [datum];
    entry.known.set(key, members);
    entry.group.completions.push(datum.completion);
    entry.group.data.push(members);
  }
  return [...groups.values()].map(({ group }) => group);
}

function datumKey({ completion, oldLogprobs, refLogprobs, advantage, advantages, weights }: Datum): string {
  return [completion, oldLogprobs, refLogprobs, advantages, weights]
    .map((tokens) => tokens?.join())
    .concat(String(advantage))
    .join("|");
}

/** Reads one completion's numbers out of a batch's results: `length` scored tokens from `start` on. */
export type ReadTokens<Result> = (start: number, length: number) => Result;

/**
 * Packs and runs planned batches one after the other.
 * @param run runs one batch and returns how its results are read
 * @returns the result of every datum of `groups`
 */
export async function runBatches<Result>(
  groups: readonly DatumGroup[],
  plan: readonly PlannedGroup[][],
  { heads, chunks, signal }: { heads: HeadCounts; chunks: number; signal: AbortSignal | undefined },
  run: (planned: readonly PlannedGroup[], packed: PackedBatch) => Promise<ReadTokens<Result>>,
): Promise<Map<Datum, Result>> {
  const results = new Map<Datum, Result>();
  for (const planned of plan) {
    throwIfAborted(signal);
    const packed = packGroups(planned, heads, chunks);
    const read = await run(planned, packed);
    planned.forEach((piece, p) =>
      piece.members.forEach((member, i) => {
        const result = read(packed.offsets[p]?.[i] as number, (piece.completions[i] as TokenIds).length);
        for (const datum of groups[piece.index]?.data[member] ?? []) results.set(datum, result);
      }),
    );
  }
  return results;
}

/**
 * The loss's inputs for one packed batch, `[M, 1]` each; padding has weight 0.
 * @param data all groups, which `planned` refers to
 */
export function lossFeeds(
  loss: Loss,
  batch: BatchSize,
  groups: readonly DatumGroup[],
  planned: readonly PlannedGroup[],
  packed: PackedBatch,
): Record<string, TensorData> {
  const shape = resolveLoss(loss);
  const column = (): TensorData => ({ shape: [packed.scored, 1], data: new Float32Array(packed.scored) });
  const weights = column();
  const oldLogprobs = column();
  const refLogprobs = column();
  const advantages = column();
  const spans: { start: number; length: number }[] = [];
  planned.forEach((piece, p) => {
    const group = groups[piece.index] as DatumGroup;
    piece.members.forEach((member, i) => {
      const same = group.data[member] as Datum[];
      const datum = same[0] as Datum;
      const start = packed.offsets[p]?.[i] as number;
      const length = datum.completion.length;
      const weight = same.reduce((sum, { weight: own = 1 }) => sum + own, 0);
      const each = weight * tokenWeight(shape.aggregation, length, batch, loss);
      weights.data.fill(each, start, start + length);
      requireWeights(datum)?.forEach((own, t) => (weights.data[start + t] = own * each));
      if (lossReads(shape, "advantages")) advantages.data.set(requireAdvantages(datum, loss), start);
      if (lossReads(shape, "oldLogprobs")) oldLogprobs.data.set(requireLogprobs(datum, "oldLogprobs", loss), start);
      if (lossReads(shape, "refLogprobs")) refLogprobs.data.set(requireLogprobs(datum, "refLogprobs", loss), start);
      spans.push({ start, length });
    });
  });
  const all = { weights, oldLogprobs, refLogprobs, advantages, ...sequenceMatrices(shape, spans, packed.scored) };
  return Object.fromEntries(Object.entries(all).map(([name, tensor]) => [`loss.${name}`, tensor]));
}

function sequenceMatrices(
  shape: LossShape,
  spans: readonly { start: number; length: number }[],
  scored: number,
): Partial<Record<"sequenceMean" | "sequenceTokens", TensorData>> {
  if (!lossReads(shape, "sequenceMean")) return {};
  const mean = new Float32Array(spans.length * scored);
  const tokens = new Float32Array(scored * spans.length);
  spans.forEach(({ start, length }, s) => {
    for (let t = start; t < start + length; t++) {
      mean[s * scored + t] = 1 / length;
      tokens[t * spans.length + s] = 1;
    }
  });
  return {
    sequenceMean: { shape: [spans.length, scored], data: mean },
    sequenceTokens: { shape: [scored, spans.length], data: tokens },
  };
}

function requireWeights({ weights, completion }: Datum): Float32Array | undefined {
  if (weights === undefined || weights.length === completion.length) return weights;
  throw new EngineError("ENGINE_DATUM", `A datum has ${weights.length} weights for ${completion.length} tokens.`);
}
