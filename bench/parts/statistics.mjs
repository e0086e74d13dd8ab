// Small summaries of repeated measurements.

export const median = (values) => {
  const sorted = values.slice().sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** `{ median, min, max }` with three decimals. */
export const spread = (values) => {
  const round = (x) => Number(x.toFixed(3));
  return { median: round(median(values)), min: round(Math.min(...values)), max: round(Math.max(...values)) };
};

/** The number after `--name` among `args`, or `fallback`. */
export function numberOption(args, name, fallback) {
  const at = args.indexOf(`--${name}`);
  if (at < 0) return fallback;
  const value = Number(args[at + 1]);
  if (!(value >= 0)) throw new Error(`--${name}: expected a number from 0, got ${args[at + 1]}`);
  return value;
}

/** The text after `--name` among `args`, or `fallback`. */
export function textOption(args, name, fallback) {
  const at = args.indexOf(`--${name}`);
  return at < 0 ? fallback : args[at + 1];
}

/** The value below which a share of the values lies (nearest rank). */
export function percentile(values, share) {
  const sorted = values.slice().sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}
