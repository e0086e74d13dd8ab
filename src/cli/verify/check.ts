/** What a verification finds: quantities beside their tolerances, and what could not be looked at. */

/** One quantity compared with another program's value. */
export interface Check {
  quantity: string;
  /** Largest error found; Infinity or NaN where nothing could be compared. */
  error: number;
  /** Null: told for information only. */
  tolerance: number | null;
  /** Where the largest error is. */
  where?: string;
  /** What else to know: why something is measured so. */
  note?: string;
}

/** The checks of one fixture. */
export interface Part {
  /** Its path in the fixtures' folder. */
  name: string;
  checks: Check[];
  /** What was left out, each with its reason. */
  skipped: string[];
  /** Why the part could not be gone through to its end. */
  failure?: string;
}

/** Whether a check is within its tolerance; NaN never is. */
export function isWithin({ error, tolerance }: Check): boolean {
  return tolerance === null || error <= tolerance;
}

/** Whether nothing of a part is beyond its tolerance, and it could be gone through. */
export function hasPassed({ checks, failure }: Part): boolean {
  return failure === undefined && checks.every(isWithin);
}

type Numbers = ArrayLike<number>;

/** Largest absolute difference; Infinity where sizes differ. */
export function largestDifference(actual: readonly Numbers[], expected: readonly Numbers[]): number {
  if (actual.length !== expected.length) return Infinity;
  let largest = 0;
  actual.forEach((row, i) => {
    const other = expected[i] as Numbers;
    if (row.length !== other.length) largest = Infinity;
    for (let j = 0; j < row.length; j++) {
      const difference = Math.abs((row[j] as number) - (other[j] as number));
      if (!(difference <= largest)) largest = difference;
    }
  });
  return largest;
}

/** ‖actual − expected‖ / ‖expected‖, 0 where both are 0; Infinity where sizes differ. */
export function relativeL2(actual: Numbers, expected: Numbers): number {
  if (actual.length !== expected.length) return Infinity;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < actual.length; i++) {
    difference += ((actual[i] as number) - (expected[i] as number)) ** 2;
    norm += (expected[i] as number) ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}

/** |actual − expected|, relative to expected where that is above 1: float32 has digits, not decimal places. */
export function scaledDifference(actual: number, expected: number): number {
  return Math.abs(actual - expected) / Math.max(1, Math.abs(expected));
}

/** |actual − expected| / |expected|, 0 where they are equal. */
export function relativeDifference(actual: number, expected: number): number {
  return actual === expected ? 0 : Math.abs(actual - expected) / Math.abs(expected);
}

/** The largest error over named arrays, and its name; Infinity for one that is absent, or where there are none. */
export function worstOf<T>(
  expected: ReadonlyMap<string, T>,
  actual: ReadonlyMap<string, T>,
  measure: (actual: T, expected: T, name: string) => number,
): { error: number; where: string } {
  let worst = expected.size === 0 ? { error: Infinity, where: "nothing to compare" } : undefined;
  for (const [name, values] of expected) {
    const own = actual.get(name);
    const error = own === undefined ? Infinity : measure(own, values, name);
    if (!worst || !(error <= worst.error)) worst = { error, where: own === undefined ? `${name} (absent)` : name };
  }
  return worst as { error: number; where: string };
}
