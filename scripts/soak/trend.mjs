// Straight lines through measurements.

/** Slope of the least-squares line through points `[x, y]`, in y for each x. */
export function slopeOf(points) {
  const n = points.length;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / n;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / n;
  const covariance = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return covariance / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}

/** Of every `size` points one after the other the one with the least y; a rest at the end is left out. */
export function leastOfEach(points, size) {
  return Array.from({ length: Math.floor(points.length / size) }, (_, i) =>
    points.slice(i * size, (i + 1) * size).reduce((least, point) => (point[1] < least[1] ? point : least)),
  );
}

/** The middle one of some numbers. */
export function medianOf(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** A time for people: `formatMinutes(200)` is "3.3 minutes", below a minute seconds. */
export function formatMinutes(seconds) {
  return seconds < 60 ? `${Math.round(seconds)} s` : `${(seconds / 60).toFixed(1)} minutes`;
}
