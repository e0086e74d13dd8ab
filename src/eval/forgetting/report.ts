/** What was measured of general ability before and after training, as data, as a table, and read back from its file. */
import { readFile } from "node:fs/promises";
import { describeFileError } from "../../core/atomic-write.ts";
import { DataError } from "../../core/errors.ts";
import type { Table } from "../comparison/tables.ts";

export const forgettingFormat = 1;

export interface AbilityMeasure {
  value: number;
  /** The same of the base model; null for the base itself and for what compares both. */
  base: number | null;
  better: "more" | "less" | "none";
  /** Items or tokens that it was measured on. */
  count: number;
}

export interface ForgettingReport {
  format: typeof forgettingFormat;
  /** ISO 8601, UTC. */
  createdAt: string;
  seed: number;
  /** The base model first. */
  policies: { name: string; measures: Record<string, AbilityMeasure> }[];
  notes: string[];
}

/** Reads a report. @throws DataError `BAD_FORGETTING`; RecR1Error `NOT_FOUND` … */
export async function readForgettingReport(path: string): Promise<ForgettingReport> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw describeFileError(error, "read", path);
  }
  let report: ForgettingReport | null = null;
  try {
    report = JSON.parse(text) as ForgettingReport;
  } catch {
    // Said below, as for any other file that is no report.
  }
  if (report?.format === forgettingFormat && Array.isArray(report.policies)) return report;
  throw new DataError("BAD_FORGETTING", `${path}: not a report that rec-r1 forget --out wrote.`, { details: { path } });
}

export function forgettingTable({ policies }: ForgettingReport): Table {
  const names = [...new Set(policies.flatMap(({ measures }) => Object.keys(measures)))];
  return {
    caption: "General ability before and after training",
    headers: ["measure", "better", "on", ...policies.map(({ name }) => name)],
    textColumns: 2,
    rows: names.map((name) => {
      const own = policies.map(({ measures }) => measures[name]);
      const any = own.find((measure) => measure !== undefined);
      return [
        name,
        any?.better === "none" ? "" : (any?.better ?? ""),
        String(any?.count ?? ""),
        ...own.map((measure) => {
          if (!measure) return "–";
          const { value, base } = measure;
          const change =
            base === null || base === 0
              ? ""
              : ` (${value >= base ? "+" : "−"}${Math.abs(100 * (value / base - 1)).toFixed(1)} %)`;
          return `${value.toFixed(4)}${change}`;
        }),
      ];
    }),
  };
}
