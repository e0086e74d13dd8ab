/**
 * What a terminal shows while something runs: one status line that is written over, and lines that stay. Where stderr
 * is no terminal, only the lines.
 */
import type { TrainEvent } from "../rl/events.ts";

/** Where progress goes; stdout is left to results. */
export interface ReporterStream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/** Shortest time between two updates of the status line, in milliseconds. */
const statusIntervalMs = 100;

export class Reporter {
  private readonly stream: ReporterStream;
  private shown = "";
  private shownAt = 0;

  constructor(stream: ReporterStream = process.stderr) {
    this.stream = stream;
  }

  /** Shows what is going on now, in place of what was shown before; nothing without a terminal. */
  status(text: string): void {
    if (!this.stream.isTTY || performance.now() - this.shownAt < statusIntervalMs) return;
    this.shownAt = performance.now();
    this.shown = printable(text).slice(0, (this.stream.columns ?? 80) - 1);
    this.stream.write(`\r\u001b[K${this.shown}`);
  }

  /** Writes a line that stays. */
  line(text: string): void {
    this.clear();
    this.stream.write(`${printable(text)}\n`);
  }

  /** Removes the status line. */
  clear(): void {
    if (this.shown !== "") this.stream.write("\r\u001b[K");
    this.shown = "";
    this.shownAt = 0;
  }
}

/** Text without control characters (terminal escapes), tabs and line ends aside. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (char) => (char === "\n" || char === "\t" ? char : " "));
}

/** `45 s`, `12 min`, `3 h 20 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${seconds.toFixed(0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const bars = "▁▂▃▄▅▆▇█";

/** Values as a row of bars from the lowest to the highest of them; an empty text for none. */
export function drawSparkline(values: readonly number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return values
    .map((value) => bars[high > low ? Math.round(((value - low) / (high - low)) * (bars.length - 1)) : 0])
    .join("");
}

export interface CurvePoint {
  x: number;
  y: number;
}

/**
 * A curve in text: `height` rows of `width` columns with the y axis at the left; points that share a column are
 * averaged, columns without a point stay empty. A flat curve is one row.
 */
export function drawCurve(points: readonly CurvePoint[], { width = 60, height: rowsAsked = 8 } = {}): string {
  if (points.length === 0) return "";
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const height = high > low ? rowsAsked : 1;
  const columns = Array.from({ length: width }, (): number[] => []);
  for (const { x, y } of points) {
    columns[right > left ? Math.round(((x - left) / (right - left)) * (width - 1)) : 0]?.push(y);
  }
  const levels = columns.map((column) => {
    const mean = column.reduce((sum, y) => sum + y, 0) / column.length;
    return column.length === 0 ? -1 : high > low ? Math.round(((mean - low) / (high - low)) * (height - 1)) : 0;
  });
  const rows = Array.from({ length: height }, (_, index) => {
    const level = height - 1 - index;
    const label = low + ((high - low) * level) / Math.max(1, height - 1);
    return `${label.toFixed(3).padStart(8)} │${levels.map((at) => (at === level ? "•" : " ")).join("")}`.trimEnd();
  });
  const axis = `${" ".repeat(9)}└${"─".repeat(width)}`;
  const ends = `${" ".repeat(10)}${String(left)}${String(right).padStart(width - String(left).length)}`;
  return [...rows, axis, ends].join("\n");
}

/** Shows a training run's events as they come. */
export class TrainPrinter {
  /** Validation's metric so far, by step. */
  readonly curve: CurvePoint[] = [];
  private readonly reporter: Reporter;
  private totalSteps = 0;
  private eta = "";

  constructor(reporter: Reporter) {
    this.reporter = reporter;
  }

  readonly onEvent = (event: TrainEvent): void => {
    const { reporter } = this;
    switch (event.kind) {
      case "start": {
        this.totalSteps = event.totalSteps;
        const resumed = event.resumedAt === null ? "" : `, resumed after step ${event.resumedAt}`;
        reporter.line(`run ${event.runDir}: ${event.totalSteps} steps${resumed}`);
        break;
      }
      case "progress":
        reporter.status(
          `step ${event.step}/${this.totalSteps} ${event.activity} ${event.done}/${event.total}${this.eta && `, ${this.eta} left`}`,
        );
        break;
      case "step":
        this.eta = formatSeconds(event.etaSeconds);
        reporter.line(describeStep(event));
        break;
      case "evaluation": {
        const { summary, metric, best } = event;
        this.curve.push({ x: summary.step, y: summary.values[metric] ?? 0 });
        const failed = summary.counts.failed > 0 ? `, ${summary.counts.failed} queries failed` : "";
        const spark = drawSparkline(this.curve.map(({ y }) => y));
        const value = (summary.values[metric] ?? 0).toFixed(4);
        reporter.line(
          `  ${summary.split} ${metric} ${value} after step ${summary.step}, best ${best.value.toFixed(4)} after step ${best.step}${failed}  ${spark}`,
        );
        break;
      }
      case "warning":
        reporter.line(`warning: ${event.message}`);
        break;
      case "end":
        reporter.line(describeEnd(event));
        break;
      case "checkpoint":
        break;
    }
  };
}

function describeStep({ record, totalSteps, seconds, etaSeconds }: Extract<TrainEvent, { kind: "step" }>): string {
  const { values, step, phase } = record;
  const number = (key: string, digits: number): string => (values[key] ?? Number.NaN).toFixed(digits);
  const figures =
    phase === "warmup"
      ? [`warm-up loss ${number("loss", 4)}`]
      : [
          `reward ${number("reward", 3)}`,
          `best ${number("rewardBest", 3)}`,
          `learning groups ${((values.learningGroups ?? 0) * 100).toFixed(0)} %`,
          ...(values.failed ? [`failed ${values.failed}`] : []),
          ...(values.skipped ? ["skipped: gradients not finite"] : []),
        ];
  return `step ${String(step).padStart(String(totalSteps).length)}/${totalSteps}  ${figures.join("  ")}  ${formatSeconds(seconds)}  ${formatSeconds(etaSeconds)} left`;
}

function describeEnd({ reason, step, best }: Extract<TrainEvent, { kind: "end" }>): string {
  const why = { steps: "all steps done", early_stop: "no new best for a while", time: "time is up" }[reason];
  const result = best ? `; best ${best.metric} ${best.value.toFixed(4)} after step ${best.step}` : "";
  return `ended after step ${step}: ${why}${result}`;
}
