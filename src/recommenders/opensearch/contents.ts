/** What an index holds, as a fingerprint: its identity, analysis and the number of its last write. */
import { sha256OfJson } from "../../core/checksum.ts";
import { RecommenderError } from "../../core/errors.ts";

/** The part of the client that is used. */
export interface IndexReader {
  /** The body of GET `path`. */
  get(path: string): Promise<Record<string, unknown>>;
}

type Settings = Record<string, { settings?: Record<string, unknown> }>;
type Mappings = Record<string, { mappings?: unknown }>;
interface Stats {
  indices?: Record<string, { shards?: Record<string, ShardStats[]> }>;
}
interface ShardStats {
  routing?: { primary?: boolean };
  docs?: { count?: number };
  seq_no?: { max_seq_no?: number };
}

/** Settings that decide answers; others, such as the number of copies, may change under a run. */
const decisive = /^index\.(uuid|analysis\.|similarity\.|search\.|query\.|number_of_shards$)/;

/**
 * A checksum that changes with every write to the index (or the indices behind an alias or pattern), with its mapping
 * and with its analysis. Needs the right to read settings, mappings and statistics.
 * @throws RecommenderError
 */
export async function fingerprintContents(name: string, index: string, reader: IndexReader): Promise<string> {
  const target = encodeURIComponent(index).replaceAll("%2C", ",").replaceAll("*", "%2A");
  const settings = (await reader.get(`/${target}/_settings?flat_settings=true`)) as Settings;
  const mappings = (await reader.get(`/${target}/_mapping`)) as Mappings;
  const stats = (await reader.get(`/${target}/_stats/docs?level=shards`)) as Stats;
  const indices = Object.keys(settings).sort();
  if (indices.length === 0) {
    throw new RecommenderError("RECOMMENDER_NO_INDEX", `${name}: there is no index "${index}". Check the name.`);
  }
  const described = indices.map((one) => [
    one,
    Object.entries(settings[one]?.settings ?? {})
      .filter(([key]) => decisive.test(key))
      .sort(([a], [b]) => (a < b ? -1 : 1)),
    mappings[one]?.mappings ?? null,
    describeShards(stats.indices?.[one]?.shards ?? {}),
  ]);
  return sha256OfJson(described).slice(0, 32);
}

/** Documents and last write of each primary shard. */
function describeShards(shards: Record<string, ShardStats[]>): unknown {
  return Object.keys(shards)
    .sort()
    .map((shard) => {
      const copies = shards[shard] ?? [];
      const primary = copies.find(({ routing }) => routing?.primary) ?? copies[0];
      return [shard, primary?.docs?.count ?? null, primary?.seq_no?.max_seq_no ?? null];
    });
}
