/** How nearest vectors are found: exactly, or by LanceDB's index, which looks into the nearest clusters only. */
import type { Index } from "@lancedb/lancedb";
import { ConfigError } from "../../core/errors.ts";
import type { Lance } from "./native.ts";

export interface VectorIndexOptions {
  /**
   * `exact`: every vector is compared, in memory (4 bytes for each number of each vector). `ann`: approximate; vectors
   * stay on disk, in clusters, of which those nearest to the query are compared (IVF). Default `exact`.
   */
  index?: "exact" | "ann";
  /** Of `ann`: clusters. Default: the square root of the number of items. */
  partitions?: number;
  /** Of `ann`: clusters that a query looks into; more find more and take longer. Default: a tenth of them. */
  probes?: number;
}

export interface VectorIndex {
  index: "exact" | "ann";
  partitions: number | undefined;
  probes: number | undefined;
}

/** Fewer rows than this are searched exactly, also under `ann`. */
export const leastIndexedRows = 1000;

/** @throws ConfigError on an unknown kind or a number out of range */
export function resolveVectorIndex(options: VectorIndexOptions): VectorIndex {
  const { index = "exact", partitions, probes } = options;
  if (!["exact", "ann"].includes(index)) {
    throw new ConfigError("CONFIG_BAD_VECTORS", `lancedb: vectors.index is ${String(index)}; expected exact or ann.`);
  }
  for (const [name, value] of Object.entries({ partitions, probes })) {
    if (value === undefined || (Number.isInteger(value) && value >= 1)) continue;
    throw new ConfigError(
      "CONFIG_BAD_VECTORS",
      `lancedb: vectors.${name} is ${String(value)}; expected a whole number, 1 or more.`,
    );
  }
  return { index, partitions, probes };
}

export function countPartitions({ partitions }: VectorIndex, rows: number): number {
  return Math.min(rows, partitions ?? Math.round(Math.sqrt(rows)));
}

export function countProbes(index: VectorIndex, rows: number): number {
  const partitions = countPartitions(index, rows);
  return Math.min(partitions, index.probes ?? Math.ceil(partitions / 10));
}

/** LanceDB's settings of the index over vectors of length 1, which keeps them whole: scores are those of exact search. */
export function toAnnIndex(lance: Lance, index: VectorIndex, rows: number): Index {
  return lance.Index.ivfFlat({ distanceType: "dot", numPartitions: countPartitions(index, rows) });
}
