/**
 * What became of a file's rows: how many were read, which were left out by a filter, which were dropped for a fault and
 * why. A few bad rows must not stop a run, and must not go unseen.
 */
import { DataError } from "../core/errors.ts";

export interface DroppedRows {
  reason: string;
  count: number;
  /** Numbers of the first few rows. */
  rows: number[];
}

export interface LoadReport {
  /** The file, or the files' folder. */
  path: string;
  /** Rows read. */
  rows: number;
  /** Rows that a filter left out (another locale, another split …), by reason. */
  filtered: Record<string, number>;
  /** Rows that could not be used, by reason. */
  dropped: DroppedRows[];
}

export interface DropOptions {
  /** Refuses the file when more than this share of its rows had to be dropped. Default 0.05. */
  maxDroppedShare?: number;
}

const rowsShown = 5;
const reasonsShown = 5;

/** Counts rows while a file is read. */
export class RowCounter {
  readonly report: LoadReport;

  constructor(path: string) {
    this.report = { path, rows: 0, filtered: {}, dropped: [] };
  }

  read(): void {
    this.report.rows++;
  }

  filter(reason: string): void {
    this.report.filtered[reason] = (this.report.filtered[reason] ?? 0) + 1;
  }

  drop(reason: string, row: number): void {
    let entry = this.report.dropped.find((dropped) => dropped.reason === reason);
    if (!entry) this.report.dropped.push((entry = { reason, count: 0, rows: [] }));
    entry.count++;
    if (entry.rows.length < rowsShown) entry.rows.push(row);
  }

  /**
   * Ends the count and remembers it with `examples`, for {@link reportOf}.
   * @throws DataError `DATA_TOO_MANY_DROPPED`, `DATA_EMPTY`
   */
  finish<E>(examples: E[], { maxDroppedShare = 0.05 }: DropOptions = {}): E[] {
    const { path, rows, dropped } = this.report;
    const count = countDropped(this.report);
    const details = { path, rows, dropped: dropped.map(({ reason, count: n }) => ({ reason, count: n })) };
    if (count > maxDroppedShare * rows) {
      throw new DataError(
        "DATA_TOO_MANY_DROPPED",
        `${path}: ${count} of ${rows} rows can't be used, more than maxDroppedShare = ${maxDroppedShare} allows:\n${describeDropped(this.report)}`,
        { details },
      );
    }
    if (examples.length === 0) {
      const why = Object.entries(this.report.filtered).map(([reason, n]) => `${n} ${reason}`);
      const rest = why.length > 0 ? ` (left out: ${why.join(", ")})` : "";
      throw new DataError("DATA_EMPTY", `${path}: no examples in ${rows} rows${rest}.`, { details });
    }
    remember(examples, this.report);
    return examples;
  }
}

const reports = new WeakMap<object, LoadReport>();

function remember(examples: object, report: LoadReport): void {
  reports.set(examples, report);
}

/** What became of the rows that a list of examples was read from; undefined where they weren't counted. */
export function reportOf(examples: object): LoadReport | undefined {
  return reports.get(examples);
}

/** Hands a list's report on to a list made of it. */
export function passReport(from: object, to: object): void {
  const report = reports.get(from);
  if (report) reports.set(to, report);
}

export function countDropped({ dropped }: LoadReport): number {
  return dropped.reduce((sum, { count }) => sum + count, 0);
}

/** One line for each reason: `  3 rows: label "X" is not E, S, C or I (rows 2, 7, 9)`. */
export function describeDropped({ dropped }: LoadReport): string {
  return dropped
    .map(({ reason, count, rows }) => {
      const more = count > rows.length ? ", …" : "";
      return `  ${count} ${count === 1 ? "row" : "rows"}: ${reason} (row ${rows.join(", ")}${more})`;
    })
    .join("\n");
}

/** The same in one line, for where there is room for no more: `3 of 90 rows (3 × label "X" is not E, S, C or I)`. */
export function summariseDropped(report: LoadReport): string {
  const reasons = report.dropped.slice(0, reasonsShown).map(({ reason, count }) => `${count} × ${reason}`);
  if (report.dropped.length > reasonsShown) reasons.push("…");
  return `${countDropped(report)} of ${report.rows} rows (${reasons.join(", ")})`;
}
