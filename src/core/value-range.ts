/** The lowest and the highest of any number of values; `Math.min(...values)` is for as many as the stack has room for. */
export function valueRange(values: Iterable<number>): [low: number, high: number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}
