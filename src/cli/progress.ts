/**
 * What a terminal shows while something runs: a few status lines that are written over, and lines that stay. Where
 * stderr is no terminal that should be drawn on (piped, in CI, with NO_COLOR), the lines, and where none comes for half a
 * minute, the status as one.
 */
import { fitToWidth } from "../core/display-width.ts";
import { valueRange } from "../core/value-range.ts";

/** Where progress goes; stdout is left to results. */
export interface ReporterStream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/** Shortest time between two updates of the status lines, in milliseconds. */
const statusIntervalMs = 100;

/** Longest silence where nothing is drawn, in milliseconds. */
const silenceMs = 30_000;

export class Reporter {
  private readonly stream: ReporterStream;
  /** Whether status lines are shown: on a terminal, unless NO_COLOR or CI is set or the terminal is dumb. */
  readonly isLive: boolean;
  private readonly now: () => number;
  private shownLines = 0;
  private shownAt = 0;
  private lineAt: number;

  constructor(
    stream: ReporterStream = process.stderr,
    environment: Readonly<Record<string, string | undefined>> = process.env,
    now: () => number = () => performance.now(),
  ) {
    this.stream = stream;
    this.now = now;
    this.lineAt = now();
    const { NO_COLOR, CI, TERM } = environment;
    this.isLive = stream.isTTY === true && !NO_COLOR && !CI && TERM !== "dumb";
  }

  /** Columns that a status line may fill without being wrapped. */
  get width(): number {
    // Some pseudo-terminals say that they have no columns.
    return Math.max(1, (this.stream.columns || 80) - 1);
  }

  /** Shows what is going on now, in place of what was shown before; where nothing is drawn, the first line now and then. */
  status(...lines: string[]): void {
    if (!this.isLive) {
      if (lines[0] !== undefined && this.now() - this.lineAt >= silenceMs) this.line(lines[0]);
      return;
    }
    if (this.now() - this.shownAt < statusIntervalMs) return;
    const shown = lines.map((line) => fitToWidth(printable(line).replace(/[\n\t]/g, " "), this.width));
    this.stream.write(this.eraser() + shown.join("\n"));
    this.shownLines = shown.length;
    this.shownAt = this.now();
  }

  /** Writes a line that stays. */
  line(text: string): void {
    this.clear();
    this.stream.write(`${printable(text)}\n`);
    this.lineAt = this.now();
  }

  /** Removes the status lines. */
  clear(): void {
    if (this.shownLines > 0) this.stream.write(this.eraser());
    this.shownLines = 0;
    this.shownAt = 0;
  }

  /** Empties the lines that are shown and leaves the cursor at the start of the first. */
  private eraser(): string {
    return `\r\u001b[K${"\u001b[1A\u001b[K".repeat(Math.max(0, this.shownLines - 1))}`;
  }
}

/**
 * Text that a terminal shows as it stands: without control characters (escape sequences), tabs and line ends aside,
 * and without the marks that turn its direction.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/gu, (char) =>
    char === "\n" || char === "\t" ? char : " ",
  );
}

/** Tells how long the rest takes at the speed so far, as `, 12 min left`; nothing before there is a speed. */
export function createEta(now: () => number = () => performance.now()): (done: number, total: number) => string {
  let start: { done: number; at: number } | undefined;
  return (done, total) => {
    if (!start || done < start.done) start = { done, at: now() };
    if (done === start.done || done >= total) return "";
    const seconds = (((now() - start.at) / 1000) * (total - done)) / (done - start.done);
    return `, ${formatSeconds(seconds)} left`;
  };
}

/** A recommender's score, with digits enough to tell small ones (of fused ranks, say) apart. */
export function formatScore(score: number): string {
  return Math.abs(score) >= 0.1 || score === 0 ? score.toFixed(2) : score.toPrecision(3);
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
  const [low, high] = valueRange(values);
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
  const [left, right] = valueRange(points.map(({ x }) => x));
  const [low, high] = valueRange(points.map(({ y }) => y));
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
