/** Judgments into the formats that other programs read. */
import { writeFileAtomic } from "../../core/atomic-write.ts";
import { writeExamples, writeOpenSearchJudgments, writeQuepid } from "../../datasets/judgments/index.ts";
import type { JudgedQuery } from "../../datasets/judgments/index.ts";
import { toTrecId, writeQrels } from "../../datasets/trec.ts";

export const judgmentTargets = ["examples", "quepid", "opensearch", "trec"] as const;

/** @returns what is worth saying of it, by name */
export async function writeJudgments(
  path: string,
  target: string,
  queries: readonly JudgedQuery[],
  { name }: { name?: string },
): Promise<Record<string, unknown>> {
  const judgments = queries.reduce((sum, { gains }) => sum + gains.size, 0);
  const relevant = queries.reduce((sum, { gains }) => sum + [...gains.values()].filter((gain) => gain > 0).length, 0);
  let written = queries.length;
  if (target === "examples") written = await writeExamples(path, queries);
  else if (target === "quepid") await writeQuepid(path, queries);
  else if (target === "opensearch") await writeOpenSearchJudgments(path, queries, name === undefined ? {} : { name });
  else {
    const byId = new Map(queries.map(({ id, gains }) => [toTrecId(id), gains]));
    await writeQrels(path, byId);
    const topics = `${path}.topics.tsv`;
    const lines = queries.map(({ id, query }) => `${toTrecId(id)}\t${query.replace(/\s+/g, " ").trim()}\n`);
    await writeFileAtomic(topics, lines.join(""));
    return { queries: written, judgments, relevant, topics };
  }
  return { queries: written, judgments, relevant };
}
