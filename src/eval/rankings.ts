/**
 * Every ranking that was seen, kept by (fingerprint of what answered, query), so that any metric can be computed later
 * without the engine. One JSON Lines file for each fingerprint; appended to, never rewritten.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "../core/atomic-write.ts";
import { DataError } from "../core/errors.ts";
import { appendJsonLines, cutTornLine, readJsonLog } from "../core/json-lines.ts";
import type { Hit, Recommender } from "../recommenders/recommender.ts";
import { areValidHits, checkAnswerCount } from "../recommenders/validate.ts";

/** First line of a file. */
interface RankingHeader {
  kind: "rankings";
  recommender: string;
  fingerprint: string;
}

/** One ranking: ids and scores, best first, as many as `topK` asked for or as there are. */
export interface RankingRecord {
  query: string;
  topK: number;
  ids: readonly string[];
  scores: readonly number[];
  /** True where no hit had a payload: only then ids and scores are all of the answer. */
  isWhole?: boolean;
}

/** A folder of rankings. */
export class RankingStore {
  readonly dir: string;
  private readonly known = new Map<string, Map<string, RankingRecord>>();

  private constructor(dir: string) {
    this.dir = dir;
  }

  /** Opens a folder of rankings, which is made when it is first written to. @throws DataError when a file is malformed */
  static async open(dir: string): Promise<RankingStore> {
    const store = new RankingStore(dir);
    const names = existsSync(dir) ? await readdir(dir) : [];
    for (const name of names.filter((file) => file.endsWith(".jsonl")).sort()) await store.load(join(dir, name));
    return store;
  }

  private async load(path: string): Promise<void> {
    let rankings: Map<string, RankingRecord> | undefined;
    for await (const record of readJsonLog<RankingHeader | RankingRecord>(path)) {
      if ("kind" in record && record.kind === "rankings") rankings = this.rankingsOf(record.fingerprint);
      else if (rankings && "query" in record && Array.isArray(record.ids)) rankings.set(record.query, record);
      else {
        throw new DataError("BAD_RANKINGS", `${path}: not a file of rankings. Its first line names what answered.`, {
          details: { path },
        });
      }
    }
  }

  private rankingsOf(fingerprint: string): Map<string, RankingRecord> {
    let rankings = this.known.get(fingerprint);
    if (!rankings) this.known.set(fingerprint, (rankings = new Map()));
    return rankings;
  }

  /** Fingerprints that there are rankings of. */
  get fingerprints(): string[] {
    return [...this.known.keys()];
  }

  /** A query's ranking, if it goes `topK` deep. */
  get(fingerprint: string, query: string, topK: number): RankingRecord | undefined {
    const record = this.known.get(fingerprint)?.get(query);
    return record && (record.topK >= topK || record.ids.length < record.topK) ? record : undefined;
  }

  /** Keeps rankings on disk. @throws RecR1Error when they can't be written */
  async add(recommender: string, fingerprint: string, records: readonly RankingRecord[]): Promise<void> {
    if (records.length === 0) return;
    const path = join(this.dir, `${createHash("sha256").update(fingerprint).digest("hex").slice(0, 16)}.jsonl`);
    const header: RankingHeader = { kind: "rankings", recommender, fingerprint };
    await makeFolder(this.dir);
    const isNew = (await cutTornLine(path)) === 0;
    await appendJsonLines(path, isNew ? [header, ...records] : records);
    const rankings = this.rankingsOf(fingerprint);
    for (const record of records) rankings.set(record.query, record);
  }
}

/** How many of its queries a recommender was asked, and how many were known already. */
export interface RecordingCounts {
  asked: number;
  known: number;
}

/**
 * `inner` whose rankings are all kept. What the store knows isn't asked again, unless hits had payloads, which rankings
 * don't hold: a memory in front of `inner` (`cached`) has those.
 * @param options.reuse answer from the store where it knows the whole answer. Default true
 */
export function recordRankings(
  inner: Recommender,
  store: RankingStore,
  { reuse = true }: { reuse?: boolean } = {},
): Recommender & { readonly counts: RecordingCounts } {
  const counts: RecordingCounts = { asked: 0, known: 0 };
  return {
    name: inner.name,
    counts,
    async search(queries, options) {
      const { topK } = options;
      const fingerprint = await inner.fingerprint();
      const known = queries.map(({ text }) => {
        const record = reuse ? store.get(fingerprint, text, topK) : undefined;
        return record?.isWhole ? record : undefined;
      });
      const missing = queries.filter((_, i) => known[i] === undefined);
      counts.asked += missing.length;
      counts.known += queries.length - missing.length;
      const found =
        missing.length > 0 ? checkAnswerCount(inner.name, missing, await inner.search(missing, options)) : [];
      // A faulty answer goes to the caller, who reports it; on disk it would pass for a ranking.
      const records = missing.flatMap(({ text }, i): RankingRecord[] => {
        const all = found[i];
        const hits = Array.isArray(all) ? all.slice(0, topK) : all;
        if (!areValidHits(hits, topK)) return [];
        const isWhole = hits.every(({ payload }) => payload === undefined);
        const ranking = { query: text, topK, ids: hits.map(({ id }) => id), scores: hits.map(({ score }) => score) };
        return [{ ...ranking, ...(isWhole ? { isWhole } : {}) }];
      });
      // The same query twice in a call is kept once, and what is known already isn't written again.
      const fresh = new Map(records.map((record) => [record.query, record]));
      await store.add(
        inner.name,
        fingerprint,
        [...fresh.values()].filter(({ query }) => !store.get(fingerprint, query, topK)),
      );
      let next = 0;
      return known.map((record) => (record ? toHits(record).slice(0, topK) : (found[next++] as Hit[])));
    },
    fingerprint: () => inner.fingerprint(),
    ...(inner.has ? { has: (id: string) => (inner.has as (id: string) => Promise<boolean>)(id) } : {}),
    close: () => inner.close(),
  };
}

/** A kept ranking as hits, without payloads. */
export function toHits({ ids, scores }: RankingRecord): Hit[] {
  return ids.map((id, rank) => ({ id, score: scores[rank] ?? -rank }));
}
