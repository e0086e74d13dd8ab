/** Vectors of items' texts as a start for a model's item vectors: items of like texts begin alike. */
import { ConfigError } from "../../core/errors.ts";
import { nextGaussian, randomStream } from "../../core/random.ts";

/** `data [items, dimensions]`, row-major. */
export interface ItemVectors {
  data: Float32Array;
  dimensions: number;
}

const iterations = 30;

/** Makes the rows of `basis` perpendicular to each other and 1 long (Gram and Schmidt). */
function orthonormalize(basis: Float64Array[]): void {
  basis.forEach((row, i) => {
    for (const earlier of basis.slice(0, i)) {
      const share = row.reduce((sum, value, d) => sum + value * (earlier[d] as number), 0);
      for (let d = 0; d < row.length; d++) row[d] = (row[d] as number) - share * (earlier[d] as number);
    }
    const length = Math.hypot(...row) || 1;
    for (let d = 0; d < row.length; d++) row[d] = (row[d] as number) / length;
  });
}

/**
 * The vectors in `size` numbers: their first principal components (by orthogonal iteration), all scaled alike so that
 * the numbers have the standard deviation `deviation`. The same input gives the same output.
 * @returns `[items, size]`
 * @throws ConfigError where there are not as many vectors as items, or fewer dimensions than `size`
 */
export function reduceItemVectors(vectors: ItemVectors, items: number, size: number, deviation: number): Float32Array {
  const { data, dimensions } = vectors;
  if (data.length !== items * dimensions || dimensions < size) {
    throw new ConfigError(
      "CONFIG_BAD_VECTORS",
      `sequential: itemVectors has ${data.length} numbers in ${dimensions} dimensions; expected ${items} vectors of ${size} dimensions or more.`,
    );
  }
  const mean = new Float64Array(dimensions);
  for (let i = 0; i < data.length; i++) mean[i % dimensions] = (mean[i % dimensions] as number) + (data[i] as number) / items; // prettier-ignore
  const centred = Float64Array.from(data, (value, i) => value - (mean[i % dimensions] as number));
  const covariance = Array.from({ length: dimensions }, () => new Float64Array(dimensions));
  for (let item = 0; item < items; item++) {
    const row = centred.subarray(item * dimensions, (item + 1) * dimensions);
    for (let a = 0; a < dimensions; a++) {
      const target = covariance[a] as Float64Array;
      const value = row[a] as number;
      for (let b = 0; b < dimensions; b++) target[b] = (target[b] as number) + value * (row[b] as number);
    }
  }
  const random = randomStream(0, "item-vectors");
  let basis = Array.from({ length: size }, () => Float64Array.from({ length: dimensions }, () => nextGaussian(random)));
  for (let round = 0; round < iterations; round++) {
    orthonormalize(basis);
    basis = basis.map((row) => Float64Array.from(covariance, (line) => dot(line, row)));
  }
  orthonormalize(basis);
  const reduced = new Float32Array(items * size);
  let squares = 0;
  for (let item = 0; item < items; item++) {
    const row = centred.subarray(item * dimensions, (item + 1) * dimensions);
    basis.forEach((axis, k) => {
      const value = dot(row, axis);
      reduced[item * size + k] = value;
      squares += value * value;
    });
  }
  const scale = squares === 0 ? 0 : deviation / Math.sqrt(squares / reduced.length);
  return reduced.map((value) => value * scale);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
