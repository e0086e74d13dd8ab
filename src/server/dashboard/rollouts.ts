/**
 * A run's rollouts: for each step an index of where in its file they are, made when the step is looked at. A search over
 * all steps reads one file after the other and stops after a moment, to go on where it was when it is asked again.
 */
import { stepName, stepOfName } from "../../runs/checkpoints.ts";
import type { RolloutRecord } from "../../runs/records.ts";
import { HttpError } from "../http/http-error.ts";
import { groupBy } from "../../core/group-by.ts";
import { parseLine, readLines } from "./line-reader.ts";
import { listRunFolder, openRunFile, type RunFiles } from "./run-files.ts";
import type { ShownIndex } from "./shown-index.ts";
import type { GroupDetail, GroupPage, GroupSummary, RolloutView, SearchPage } from "./wire.ts";

/** Where a rollout is, and what a list of them needs. */
interface IndexedRollout {
  offset: number;
  length: number;
  example: string;
  reward: number | null;
}

interface StepIndex {
  /** Of the file that was read: another one at the same place is read anew. */
  stamp: string;
  rollouts: IndexedRollout[];
}

/** Step indexes kept. */
const maxIndexes = 64;
/** How long a search goes on before it answers, in milliseconds. */
const searchMs = 300;
/** How long the list of steps is believed, in milliseconds. */
const listingMs = 1_000;

export interface RolloutFilter {
  /** Part of the completion or the query, whatever its case. */
  text?: string | undefined;
  example?: string | undefined;
  minReward?: number | undefined;
  maxReward?: number | undefined;
}

export class Rollouts {
  private readonly run: RunFiles;
  private readonly shown: ShownIndex;
  private readonly tokensEvery: number;
  private readonly indexes = new Map<number, StepIndex>();
  /** Lowest and highest reward of each step that was read once, by its file's stamp. */
  private readonly ranges = new Map<number, { stamp: string; low: number; high: number }>();
  private listing: { at: number; steps: Promise<number[]> } | undefined;

  constructor(run: RunFiles, shown: ShownIndex, tokensEvery: number) {
    this.run = run;
    this.shown = shown;
    this.tokensEvery = tokensEvery;
  }

  /** Steps that have rollouts, ascending. */
  async steps(): Promise<number[]> {
    const now = performance.now();
    if (!this.listing || now - this.listing.at > listingMs) this.listing = { at: now, steps: this.listSteps() };
    return this.listing.steps;
  }

  private async listSteps(): Promise<number[]> {
    const names = await listRunFolder(this.run, "rollouts");
    return names
      .map((name) => (name.endsWith(".jsonl") ? stepOfName(name.slice(0, -".jsonl".length)) : undefined))
      .filter((step) => step !== undefined)
      .sort((a, b) => a - b);
  }

  /**
   * A page of a step's groups, in the order of their first rollouts.
   * @param options.offset default: the page that has the example, else the first
   * @throws HttpError 404
   */
  async groups(
    step: number,
    { example, limit, ...wanted }: { example?: string | undefined; offset?: number | undefined; limit: number },
  ): Promise<GroupPage> {
    const { rollouts } = await this.index(step);
    const byExample = groupBy(rollouts, ({ example: id }) => id);
    const at = example === undefined ? -1 : [...byExample.keys()].indexOf(example);
    const offset = wanted.offset ?? Math.floor(Math.max(0, at) / limit) * limit;
    const page = [...byExample].slice(offset, offset + limit);
    const texts = await this.shown.examples(page.map(([id]) => id));
    const groups = page.map(([id, group], i): GroupSummary => {
      const rewards = group.map(({ reward }) => reward).filter((reward) => reward !== null);
      const known = rewards.length > 0;
      return {
        example: id,
        text: texts[i]?.text ?? null,
        rollouts: group.length,
        mean: known ? rewards.reduce((a, b) => a + b, 0) / rewards.length : null,
        best: known ? Math.max(...rewards) : null,
        worst: known ? Math.min(...rewards) : null,
        failed: group.length - rewards.length,
      };
    });
    return { step, total: byExample.size, offset, asked: at < 0 ? null : (example ?? null), groups };
  }

  /** All completions of one example in a step. @throws HttpError 404 */
  async group(step: number, example: string): Promise<GroupDetail> {
    const { rollouts } = await this.index(step);
    const places = rollouts.filter((rollout) => rollout.example === example);
    if (places.length === 0) throw new HttpError(404, "NO_GROUP", `Step ${step} has no rollouts of that example.`);
    const records = await this.read(step, places);
    const [shown] = await this.shown.examples([example]);
    const relevant = shown?.relevant ?? [];
    const views = await this.view(records);
    return {
      step,
      example,
      text: shown?.text ?? null,
      relevant: await this.shown.hits(relevant, new Set(relevant)),
      rollouts: views.sort((a, b) => (b.reward ?? -Infinity) - (a.reward ?? -Infinity) || a.sample - b.sample),
      tokensEvery: this.tokensEvery,
    };
  }

  /**
   * Rollouts that match, newest step first, from `cursor` on.
   * @param cursor what an earlier page gave as `next`
   */
  async search(
    filter: RolloutFilter,
    { cursor, limit }: { cursor: string | undefined; limit: number },
  ): Promise<SearchPage> {
    const steps = (await this.steps()).slice().reverse();
    const [, fromStep = "", fromLine = ""] = /^(\d+)\.(\d+)$/.exec(cursor ?? "") ?? [];
    const start = fromStep === "" ? 0 : steps.findIndex((step) => step <= Number(fromStep));
    const found: RolloutRecord[] = [];
    const deadline = performance.now() + searchMs;
    let next: string | null = null;
    let at = start < 0 ? steps.length : start;
    for (; at < steps.length; at++) {
      const step = steps[at] as number;
      const skip = String(step) === fromStep ? Number(fromLine) : 0;
      const reachedLine = await this.searchStep(step, skip, filter, found, limit);
      if (reachedLine !== undefined) next = `${step}.${reachedLine}`;
      else if (performance.now() > deadline && at + 1 < steps.length) next = `${steps[at + 1]}.0`;
      if (next !== null) break;
    }
    const searched = Math.min(steps.length, at + (next?.endsWith(".0") ? 1 : 0));
    return { matches: await this.view(found), next, searched, steps: steps.length };
  }

  /** Adds a step's matches to `found`; the line to go on at, where `limit` was reached in it. */
  private async searchStep(
    step: number,
    skip: number,
    filter: RolloutFilter,
    found: RolloutRecord[],
    limit: number,
  ): Promise<number | undefined> {
    const { minReward = -Infinity, maxReward = Infinity, example } = filter;
    const file = await openRunFile(this.run, "rollouts", `${stepName(step)}.jsonl`);
    if (!file) return undefined;
    try {
      const stamp = stampOf(await file.stat());
      const range = this.ranges.get(step);
      if (range?.stamp === stamp && (range.high < minReward || range.low > maxReward)) return undefined;
      const text = filter.text?.toLowerCase();
      // The id as it stands in the file tells most lines of other examples without parsing them.
      const needle = example === undefined ? undefined : Buffer.from(`"example":${JSON.stringify(example)}`);
      let low = Infinity;
      let high = -Infinity;
      let line = -1;
      for await (const { bytes } of readLines(file)) {
        line++;
        if (line < skip) continue;
        if (needle && !bytes.includes(needle)) continue;
        const record = parseLine<RolloutRecord>(bytes);
        if (!record) continue;
        low = Math.min(low, record.reward ?? Infinity);
        high = Math.max(high, record.reward ?? -Infinity);
        if (example !== undefined && record.example !== example) continue;
        if (filter.minReward !== undefined || filter.maxReward !== undefined) {
          if (record.reward === null || record.reward < minReward || record.reward > maxReward) continue;
        }
        if (text && !`${record.completion}\n${record.query ?? ""}`.toLowerCase().includes(text)) continue;
        if (found.length === limit) return line;
        found.push(record);
      }
      if (skip === 0 && !needle) this.ranges.set(step, { stamp, low, high });
      return undefined;
    } finally {
      await file.close();
    }
  }

  /** Records of a step, in the order of the file; for what looks at many. */
  async *records(step: number): AsyncGenerator<RolloutRecord> {
    const file = await openRunFile(this.run, "rollouts", `${stepName(step)}.jsonl`);
    if (!file) return;
    try {
      for await (const { bytes } of readLines(file)) {
        const record = parseLine<RolloutRecord>(bytes);
        if (record) yield record;
      }
    } finally {
      await file.close();
    }
  }

  private async index(step: number): Promise<StepIndex> {
    const file = await openRunFile(this.run, "rollouts", `${stepName(step)}.jsonl`);
    if (!file) throw new HttpError(404, "NO_STEP", `No rollouts of step ${step} were recorded.`);
    try {
      const stamp = stampOf(await file.stat());
      const known = this.indexes.get(step);
      this.indexes.delete(step);
      if (known?.stamp === stamp) {
        this.indexes.set(step, known);
        return known;
      }
      const index: StepIndex = { stamp, rollouts: [] };
      for await (const { offset, bytes } of readLines(file)) {
        const record = parseLine<RolloutRecord>(bytes);
        if (!record) continue;
        const { example, reward } = record;
        index.rollouts.push({ offset, length: bytes.length, example, reward });
      }
      this.indexes.set(step, index);
      const [oldest] = this.indexes.keys();
      if (this.indexes.size > maxIndexes && oldest !== undefined) this.indexes.delete(oldest);
      return index;
    } finally {
      await file.close();
    }
  }

  private async read(step: number, places: readonly IndexedRollout[]): Promise<RolloutRecord[]> {
    const file = await openRunFile(this.run, "rollouts", `${stepName(step)}.jsonl`);
    if (!file) return [];
    try {
      const records: RolloutRecord[] = [];
      for (const { offset, length } of places) {
        const { buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
        const record = parseLine<RolloutRecord>(buffer);
        if (record) records.push(record);
      }
      return records;
    } finally {
      await file.close();
    }
  }

  private async view(records: readonly RolloutRecord[]): Promise<RolloutView[]> {
    const examples = await this.shown.examples(records.map(({ example }) => example));
    return Promise.all(
      records.map(async (record, i): Promise<RolloutView> => {
        const relevant = new Set(examples[i]?.relevant ?? []);
        return {
          step: record.step,
          example: record.example,
          sample: record.sample,
          completion: record.completion,
          query: record.query,
          hits: record.hits ? await this.shown.hits(record.hits, relevant) : null,
          turns: (record.turns ?? []).map(({ completion, query }) => ({ completion, query })),
          reward: record.reward,
          parts: record.parts ?? {},
          advantage: record.advantage,
          tokens: record.tokens,
          logprob: record.logprob,
          stop: record.stop,
          failure: record.failure ?? null,
          tokenTexts: record.tokenTexts ?? null,
          tokenLogprobs: record.tokenLogprobs ?? null,
        };
      }),
    );
  }
}

function stampOf({ ino, size, mtimeMs }: { ino: number; size: number; mtimeMs: number }): string {
  return `${ino} ${size} ${mtimeMs}`;
}
