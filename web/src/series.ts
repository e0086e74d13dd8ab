/** From rows of steps to lines of a chart. */
import type { EvaluationRow, LiveUpdate, RunCurves, StepRow } from "../../src/server/dashboard/wire.ts";

export type Axis = "step" | "minutes";

export interface Line {
  x: number[];
  y: (number | null)[];
}

export interface LineWithInterval extends Line {
  low: (number | null)[];
  high: (number | null)[];
}

/** Width of a 95 % interval in standard errors. */
const intervalErrors = 1.96;

/** A value of steps; steps that don't have it are left out. */
export function lineOf(rows: readonly StepRow[], name: string, axis: Axis): Line {
  const having = rows.filter(({ values }) => values[name] !== undefined);
  return { x: having.map((row) => row[axis]), y: having.map(({ values }) => values[name] as number) };
}

/** A metric of evaluations on a split, with its interval. */
export function evaluationLine(
  { rows, evaluations }: Pick<RunCurves, "rows" | "evaluations">,
  { split, metric, axis }: { split: string; metric: string; axis: Axis },
): LineWithInterval {
  const wanted = evaluations.filter((row) => row.split === split && row.values[metric] !== undefined);
  const errorOf = ({ standardErrors }: EvaluationRow): number => intervalErrors * (standardErrors[metric] ?? 0);
  const valueOf = ({ values }: EvaluationRow): number => values[metric] as number;
  return {
    x: wanted.map(({ step }) => (axis === "step" ? step : minutesAt(rows, step))),
    y: wanted.map(valueOf),
    low: wanted.map((row) => valueOf(row) - errorOf(row)),
    high: wanted.map((row) => valueOf(row) + errorOf(row)),
  };
}

/** Minutes that steps up to `step` took. */
function minutesAt(rows: readonly StepRow[], step: number): number {
  return rows.findLast((row) => row.step <= step)?.minutes ?? 0;
}

/**
 * Exponential moving average that starts unbiased (as Adam's).
 * @param weight of what was before, 0 (no smoothing) to below 1
 */
export function smooth(values: readonly (number | null)[], weight: number): (number | null)[] {
  if (weight <= 0) return [...values];
  let sum = 0;
  let total = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return sum / total;
  });
}

/** Curves with what came since: rows of steps that are there already take their place. */
export function withUpdate(curves: RunCurves, update: LiveUpdate): RunCurves {
  const rows = [...curves.rows];
  let { steps } = curves;
  for (const row of update.rows) {
    const last = rows.at(-1);
    if (last === undefined || row.step > last.step) {
      rows.push(row);
      steps++;
      continue;
    }
    const at = rows.findIndex(({ step }) => step === row.step);
    if (at >= 0) rows[at] = row;
  }
  return { ...update, steps, rows, evaluations: [...curves.evaluations, ...update.evaluations] };
}
