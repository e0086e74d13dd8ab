/** One run's metrics and timings, followed as they are written, as rows of curves. */
import { join } from "node:path";
import { readLivingOwner } from "../../core/process-lock.ts";
import type {
  BestRecord,
  EvaluationSummary,
  MetricsRecord,
  RunManifest,
  StepRecord,
  TimingRecord,
} from "../../runs/records.ts";
import { HttpError } from "../http/http-error.ts";
import { LogFollower } from "./line-reader.ts";
import { openRunFile, readLastLines, readRunJson, type RunFiles } from "./run-files.ts";
import type { EvaluationRow, LiveUpdate, RunCurves, RunSummary, StepRow } from "./wire.ts";

/** A run's state without its rows. */
type RunState = Omit<LiveUpdate, "rows" | "evaluations">;

/** Steps whose pace says how long the rest takes. */
const paceSteps = 30;

/** Where a run is: how far, and whether a process is at it. */
async function statusOf(run: RunFiles, step: number, totalSteps: number): Promise<RunSummary["status"]> {
  const file = await openRunFile(run, "run.lock").catch(() => undefined);
  await file?.close();
  if (file && (await readLivingOwner(join(run.dir, "run.lock")))) return "training";
  return step >= totalSteps ? "done" : "stopped";
}

function totalStepsOf({ config }: RunManifest): number {
  const count = (value: unknown): number => (typeof value === "number" ? value : 0);
  return count(config.warmupSteps) + count(config.steps);
}

/** A run's manifest. @throws HttpError 404 `NO_RUN` where it can't be read */
export async function readRunManifest(run: RunFiles): Promise<RunManifest> {
  const manifest = await readRunJson<RunManifest>(run, "config.json");
  if (typeof manifest?.config === "object" && typeof manifest.task === "string") return manifest;
  throw new HttpError(404, "NO_RUN", "This run's config.json can't be read.");
}

/** A run in short, from the ends of its files; undefined where it can't be read. */
export async function summariseRun(run: RunFiles): Promise<RunSummary | undefined> {
  const manifest = await readRunManifest(run).catch(() => undefined);
  if (!manifest) return undefined;
  const last = (await readLastLines(run, "metrics.jsonl")).map(parseOrNull<MetricsRecord>);
  const step = last.findLast((record) => record?.kind === "step") as StepRecord | null | undefined;
  const timing = (await readLastLines(run, "timings.jsonl", 4096)).map(parseOrNull<TimingRecord>).at(-1);
  const best = await readRunJson<BestRecord>(run, "best.json");
  const totalSteps = totalStepsOf(manifest);
  return {
    id: run.id,
    task: manifest.task,
    createdAt: manifest.createdAt,
    status: await statusOf(run, step?.step ?? 0, totalSteps),
    step: step?.step ?? 0,
    totalSteps,
    reward: step?.values.reward ?? null,
    best: best ? { step: best.step, metric: best.metric, value: best.value } : null,
    updatedAt: timing?.endedAt ?? null,
  };
}

function parseOrNull<T>(line: string): T | null {
  try {
    return JSON.parse(line) as T;
  } catch {
    return null;
  }
}

export class RunLog {
  readonly run: RunFiles;
  private readonly metrics: LogFollower<MetricsRecord>;
  private readonly timings: LogFollower<TimingRecord>;
  private rows: StepRow[] = [];
  private readonly rowOfStep = new Map<number, StepRow>();
  private readonly timingOfStep = new Map<number, TimingRecord>();
  private evaluations: EvaluationRow[] = [];
  private revision = 0;
  private sequence = 0;
  /** When a step's row last changed, and when an evaluation came, by {@link sequence}. */
  private readonly changedAt = new Map<number, number>();
  private evaluatedAt: number[] = [];
  private reading: Promise<unknown> = Promise.resolve();
  private metric: string | null = null;

  constructor(run: RunFiles) {
    this.run = run;
    this.metrics = new LogFollower(() => openRunFile(run, "metrics.jsonl"));
    this.timings = new LogFollower(() => openRunFile(run, "timings.jsonl"));
  }

  /** The curves as they are now, in at most `maxRows` rows. */
  async curves(maxRows: number): Promise<RunCurves> {
    const state = await this.update();
    return { ...state, steps: this.rows.length, rows: thinOut(this.rows, maxRows), evaluations: this.evaluations };
  }

  /** What came after `sequence`; null where the run was taken up from an earlier step since `revision`. */
  async since(revision: number, sequence: number): Promise<LiveUpdate | null> {
    const state = await this.update();
    if (state.revision !== revision) return null;
    const rows = this.rows.filter(({ step }) => (this.changedAt.get(step) ?? 0) > sequence);
    return {
      ...state,
      rows: thinOut(rows, Infinity),
      evaluations: this.evaluations.filter((_, i) => (this.evaluatedAt[i] ?? 0) > sequence),
    };
  }

  /** Reads what was written since. One at a time, however many ask. */
  private update(): Promise<RunState> {
    const update = this.reading.then(() => this.readMore());
    this.reading = update.catch(() => undefined);
    return update;
  }

  private async readMore(): Promise<RunState> {
    const manifest = await readRunManifest(this.run);
    const metrics = await this.metrics.read();
    const timings = await this.timings.read();
    if (metrics.isNew) {
      this.revision++;
      this.rows = [];
      this.evaluations = [];
      this.evaluatedAt = [];
      this.rowOfStep.clear();
      this.changedAt.clear();
    }
    const changed = new Set<StepRow>();
    if (metrics.records.length + timings.records.length > 0) this.sequence++;
    for (const timing of timings.records) this.timingOfStep.set(timing.step, timing);
    for (const record of metrics.records) {
      if (record.kind === "step") changed.add(this.addStep(record));
      else if (record.kind === "evaluation") {
        this.evaluations.push(toEvaluationRow(record));
        this.evaluatedAt.push(this.sequence);
      }
    }
    for (const { step } of timings.records) {
      const row = this.rowOfStep.get(step);
      if (row) changed.add(row);
    }
    for (const row of changed) {
      this.addTiming(row);
      this.changedAt.set(row.step, this.sequence);
    }
    if (changed.size > 0) this.addUpMinutes();
    this.metric ??= this.evaluations.length > 0 ? await this.readMetric() : null;
    const step = this.rows.at(-1)?.step ?? 0;
    const totalSteps = totalStepsOf(manifest);
    const status = await statusOf(this.run, step, totalSteps);
    return {
      id: this.run.id,
      revision: this.revision,
      sequence: this.sequence,
      metric: this.metric,
      status,
      totalSteps,
      etaSeconds: status === "training" ? this.estimateSeconds(totalSteps - step) : null,
    };
  }

  private addStep({ step, values, phase }: StepRecord): StepRow {
    const finite = Object.entries(values).filter(([, value]) => typeof value === "number" && Number.isFinite(value));
    const row: StepRow = {
      step,
      minutes: 0,
      values: { ...Object.fromEntries(finite), warmup: phase === "warmup" ? 1 : 0 },
    };
    const { learningGroups, failed, rollouts } = row.values;
    if (learningGroups !== undefined) row.values.equalGroups = 1 - learningGroups;
    if (failed !== undefined && rollouts) row.values.failedShare = failed / rollouts;
    if (!this.rowOfStep.has(step)) this.rows.push(row);
    this.rowOfStep.set(step, row);
    return row;
  }

  /** Adds what a step took, once both files tell of it. */
  private addTiming(row: StepRow): void {
    const timing = this.timingOfStep.get(row.step);
    if (!timing) return;
    const { values } = row;
    const { seconds, cache, recommender } = timing;
    const tokens = (values.completionTokens ?? 0) * (values.rollouts ?? 0);
    values.stepSeconds = seconds.total ?? 0;
    for (const [part, value] of Object.entries(seconds)) if (part !== "total") values[`seconds/${part}`] = value;
    if (tokens > 0 && seconds.total) values.tokensPerSecond = tokens / seconds.total;
    if (tokens > 0 && seconds.sample) values.sampledPerSecond = tokens / seconds.sample;
    if (cache) values.cacheHitRate = cache.hitRate;
    if (recommender) {
      values.latencyP50 = recommender.p50Ms;
      values.latencyP95 = recommender.p95Ms;
      values.recommenderErrors = recommender.errors;
    }
  }

  private addUpMinutes(): void {
    let seconds = 0;
    for (const row of this.rows) row.minutes = (seconds += row.values.stepSeconds ?? 0) / 60;
  }

  private async readMetric(): Promise<string | null> {
    const best = await readRunJson<BestRecord>(this.run, "best.json");
    return best?.metric ?? Object.keys(this.evaluations[0]?.values ?? {})[0] ?? null;
  }

  /** From when the last steps ended, evaluations between them included; the median, so that a pause doesn't count. */
  private estimateSeconds(stepsLeft: number): number | null {
    const ends = this.rows.slice(-paceSteps).map(({ step }) => Date.parse(this.timingOfStep.get(step)?.endedAt ?? ""));
    const gaps = ends.slice(1).map((end, i) => (end - (ends[i] as number)) / 1000);
    const known = gaps.filter((gap) => Number.isFinite(gap) && gap >= 0).sort((a, b) => a - b);
    if (known.length < 2) return null;
    const median = known[Math.floor(known.length / 2)] as number;
    // Every so often a step is followed by an evaluation, which the mean of what is not far off the median has.
    const usual = known.filter((gap) => gap <= 20 * median);
    return (usual.reduce((sum, gap) => sum + gap, 0) / usual.length) * Math.max(0, stepsLeft);
  }
}

function toEvaluationRow({ step, split, values, standardErrors = {}, counts }: EvaluationSummary): EvaluationRow {
  return { step, split, values, standardErrors, queries: counts?.queries ?? 0, failed: counts?.failed ?? 0 };
}

/** At most `maxRows` rows: neighbours are averaged; numbers with six digits, which is what a curve can show. */
export function thinOut(rows: readonly StepRow[], maxRows: number): StepRow[] {
  const size = Math.ceil(rows.length / maxRows);
  if (size <= 1) return rows.map((row) => ({ ...row, values: mapValues(row.values, shorten) }));
  const thin: StepRow[] = [];
  for (let start = 0; start < rows.length; start += size) {
    const bucket = rows.slice(start, start + size);
    const last = bucket.at(-1) as StepRow;
    const sums = new Map<string, { sum: number; count: number }>();
    for (const { values } of bucket) {
      for (const [name, value] of Object.entries(values)) {
        const entry = sums.get(name) ?? { sum: 0, count: 0 };
        sums.set(name, { sum: entry.sum + value, count: entry.count + 1 });
      }
    }
    const means = [...sums].map(([name, { sum, count }]) => [name, shorten(sum / count)] as const);
    thin.push({ step: last.step, minutes: last.minutes, values: Object.fromEntries(means) });
  }
  return thin;
}

function mapValues(values: Record<string, number>, change: (value: number) => number): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, change(value)]));
}

const shorten = (value: number): number => Number(value.toPrecision(6));
