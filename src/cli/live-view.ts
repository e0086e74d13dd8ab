/**
 * The view of a run that a terminal shows and writes over: progress with the time that is left, reward and validation
 * as sparklines, the best rewrite of late. Knows what training tells and nothing of how it is drawn over.
 */
import type { BestRewrite, TrainEvent } from "../rl/events.ts";
import { drawSparkline, formatSeconds } from "./progress.ts";

/** Columns of the progress bar, and points of a sparkline, at most. */
const barWidth = 24;
const sparkWidth = 32;

export class LiveView {
  private runDir = "";
  private step = 0;
  private totalSteps = 0;
  private eta = "";
  private activity = "";
  private readonly rewards: number[] = [];
  private readonly losses: number[] = [];
  private readonly validation: number[] = [];
  private figures = "";
  private evaluated = "";
  private rewrite: BestRewrite | undefined;

  /** Takes in what training told. */
  take(event: TrainEvent): void {
    switch (event.kind) {
      case "start":
        this.runDir = event.runDir;
        this.totalSteps = event.totalSteps;
        this.step = event.resumedAt ?? 0;
        break;
      case "progress":
        this.activity = `${event.activity} ${event.done}/${event.total}`;
        break;
      case "step": {
        const { values, step, phase } = event.record;
        this.step = step;
        this.eta = formatSeconds(event.etaSeconds);
        this.activity = "";
        if (phase === "warmup") {
          this.losses.push(values.loss ?? Number.NaN);
          break;
        }
        this.rewards.push(values.reward ?? Number.NaN);
        const failed = values.failed ? `  failed ${values.failed}` : "";
        const learning = ((values.learningGroups ?? 0) * 100).toFixed(0);
        this.figures = `best of a group ${(values.rewardBest ?? 0).toFixed(3)}  learning groups ${learning} %${failed}`;
        if (event.rewrite) this.rewrite = event.rewrite;
        break;
      }
      case "evaluation": {
        const value = event.summary.values[event.metric] ?? 0;
        this.validation.push(value);
        this.evaluated = `${event.metric} ${value.toFixed(4)}  best ${event.best.value.toFixed(4)} after step ${event.best.step}`;
        break;
      }
      case "checkpoint":
      case "warning":
      case "end":
        break;
    }
  }

  /** The lines to show, made for a terminal of `width` columns; what doesn't fit is for the terminal's owner to cut. */
  draw(width: number): string[] {
    const share = this.totalSteps > 0 ? Math.min(1, this.step / this.totalSteps) : 0;
    const cells = Math.max(4, Math.min(barWidth, width - 40));
    const done = Math.round(share * cells);
    const bar = `${"█".repeat(done)}${"░".repeat(cells - done)}`;
    const parts = [
      `${bar} ${(share * 100).toFixed(0).padStart(3)} %`,
      `step ${this.step}/${this.totalSteps}`,
      ...(this.eta === "" ? [] : [`${this.eta} left`]),
      ...(this.activity === "" ? [] : [this.activity]),
    ];
    const lines = [parts.join("  "), this.runDir];
    const curve = (values: readonly number[]): string => drawSparkline(averageInto(values, sparkWidth));
    const { rewards, losses, validation, rewrite } = this;
    if (rewards.length > 0)
      lines.push(`reward ${(rewards.at(-1) as number).toFixed(3)} ${curve(rewards)}  ${this.figures}`);
    else if (losses.length > 0) lines.push(`warm-up loss ${(losses.at(-1) as number).toFixed(4)} ${curve(losses)}`);
    if (validation.length > 0) lines.push(`valid ${this.evaluated} ${curve(validation)}`);
    if (rewrite) {
      const from = rewrite.raw === null ? "" : `“${oneLine(rewrite.raw, width / 3)}” → `;
      lines.push(`${rewrite.reward.toFixed(2)}: ${from}“${oneLine(rewrite.query, width / 2)}”`);
    }
    return lines;
  }
}

/** At most `count` values: means of equal parts, in order; values that aren't finite are left out. */
export function averageInto(values: readonly number[], count: number): number[] {
  const finite = values.filter(Number.isFinite);
  if (finite.length <= count) return finite;
  return Array.from({ length: count }, (_, i) => {
    const part = finite.slice(Math.floor((i * finite.length) / count), Math.floor(((i + 1) * finite.length) / count));
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}

function oneLine(text: string, most: number): string {
  const folded = text.replace(/\s+/g, " ").trim();
  const length = Math.max(8, Math.floor(most));
  return folded.length <= length ? folded : `${folded.slice(0, length - 1)}…`;
}
