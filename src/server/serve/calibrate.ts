/**
 * The gate of a service, calibrated on validation examples with the policy and the recommender that it will stand in
 * front of.
 */
import { readFile } from "node:fs/promises";
import { writeFileAtomic } from "../../core/atomic-write.ts";
import { sha256OfJson } from "../../core/checksum.ts";
import { throwIfAborted } from "../../core/errors.ts";
import { calibrateGate, gateDepth, gateFeatureNames, gateRule } from "../../eval/rewrite-gate.ts";
import type { GateExample, RewriteGate } from "../../eval/rewrite-gate.ts";
import type { Hit, Recommender } from "../../recommenders/recommender.ts";
import { searchAll } from "../../rl/search.ts";
import type { LoadedExample, Metric, Task } from "../../rl/task.ts";
import type { Rewriter } from "./rewriter.ts";

export interface CalibrateOptions {
  task: Task<object>;
  recommender: Recommender;
  rewriter: Rewriter;
  signal: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** Examples that are answered at a time: no more than may wait for the model. */
const batchSize = 32;

/**
 * Answers examples with both queries and fits a gate to what came of it, by the task's first metric. Left out: examples
 * without words of the user's, those for which the policy's query found nothing (the service answers with the user's
 * words then, gate or not), and those on which the recommender failed.
 * @throws DataError `GATE_TOO_FEW`; AbortError
 */
export async function calibrateOn(
  examples: readonly LoadedExample<object>[],
  { task, recommender, rewriter, signal, onProgress }: CalibrateOptions,
): Promise<RewriteGate> {
  const metric = task.metrics[0] as Metric<object>;
  const known: GateExample[] = [];
  for (let start = 0; start < examples.length; start += batchSize) {
    throwIfAborted(signal);
    const batch = examples.slice(start, start + batchSize).map(({ example }) => example);
    const rewrites = await Promise.all(batch.map((example) => rewriter.rewrite(example)));
    const rows = batch.map((example, i) => ({ example, rawQuery: task.raw(example), ...rewrites[i] }));
    const queries = rows
      .flatMap(({ rawQuery, query }) => [rawQuery, query])
      .filter((query): query is string => typeof query === "string");
    const outcomes = await searchAll(recommender, queries, { topK: Math.max(task.topK, gateDepth), signal });
    const hitsOf = (query: string | null | undefined): Hit[] | undefined => {
      const outcome = typeof query === "string" ? outcomes.get(query) : undefined;
      return outcome && "hits" in outcome ? outcome.hits : undefined;
    };
    for (const { example, rawQuery, query, meanLogprob = 0 } of rows) {
      const [rawHits, hits] = [hitsOf(rawQuery), hitsOf(query)];
      if (rawQuery === null || typeof query !== "string" || !rawHits || !hits || hits.length === 0) continue;
      const score = (found: readonly Hit[]): number => metric.score({ example, hits: found.slice(0, task.topK) });
      known.push({ rawQuery, rawHits, query, hits, meanLogprob, rawScore: score(rawHits), score: score(hits) });
    }
    onProgress?.(Math.min(start + batchSize, examples.length), examples.length);
  }
  return calibrateGate(known, { metric: metric.name });
}

/** What a gate depends on: another policy, search engine or set of examples needs another. */
export function gateKey(facts: {
  checkpoint: string;
  fingerprint: string;
  examples: readonly LoadedExample<object>[];
}): string {
  const { checkpoint, fingerprint, examples } = facts;
  return sha256OfJson([
    checkpoint,
    fingerprint,
    examples.map(({ id, example }) => [id, example]),
    gateFeatureNames,
    gateRule,
  ]);
}

/** The gate that was kept under a key, or one that is made now and kept. */
export async function keptGate(path: string, key: string, make: () => Promise<RewriteGate>): Promise<RewriteGate> {
  try {
    const kept = JSON.parse(await readFile(path, "utf8")) as { key?: unknown; gate: RewriteGate };
    if (kept.key === key && kept.gate.format === 1) return kept.gate;
  } catch {
    // Absent or damaged: it is made again.
  }
  const gate = await make();
  await writeFileAtomic(path, `${JSON.stringify({ key, gate }, null, 2)}\n`);
  return gate;
}
