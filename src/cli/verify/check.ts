/** One quantity compared with another program's value. */
export interface Check {
  quantity: string;
  /** Largest error found; Infinity or NaN where nothing could be compared. */
  error: number;
  tolerance: number;
  /** Where the largest error is. */
  where?: string;
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

/** ‖actual − expected‖ / ‖expected‖; Infinity where sizes differ. */
export function relativeL2(actual: Numbers, expected: Numbers): number {
  if (actual.length !== expected.length) return Infinity;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < actual.length; i++) {
    difference += ((actual[i] as number) - (expected[i] as number)) ** 2;
    norm += (expected[i] as number) ** 2;
  }
  return Math.sqrt(difference / norm);
}
