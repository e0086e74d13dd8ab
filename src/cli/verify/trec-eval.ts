/** Checks the ranking measures against trec_eval's values of a run. */
import { z } from "zod";
import { ConfigError } from "../../core/errors.ts";
import { evaluateRun, type Qrels, type Run, type RunEvaluation } from "../../ranking/index.ts";
import type { Check } from "./check.ts";
import { readReference } from "./reference-files.ts";

const tolerance = 1e-9;

const scores = z.record(z.string(), z.record(z.string(), z.number()));
const referenceSchema = z.object({ qrels: scores, run: scores, perQuery: scores });

/** Every measure of the file, the largest error over its queries. @throws DataError */
export async function verifyTrecEval(path: string): Promise<{ checks: Check[]; skipped: string[] }> {
  const reference = await readReference(path, referenceSchema);
  const qrels: Qrels = new Map(
    Object.entries(reference.qrels).map(([query, gains]) => [query, new Map(Object.entries(gains))]),
  );
  const run: Run = new Map(
    Object.entries(reference.run).map(([query, scored]) => [
      query,
      Object.entries(scored).map(([id, score]) => ({ id, score })),
    ]),
  );
  const expected = new Map(Object.entries(reference.perQuery));
  const measures = [...new Set([...expected.values()].flatMap((values) => Object.keys(values)))];
  const skipped: string[] = [];
  const evaluate = (measure: string): RunEvaluation | undefined => {
    try {
      return evaluateRun(qrels, run, [measure]);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      skipped.push(`${measure}: not one of our measures`);
      return undefined;
    }
  };
  const checks = measures.flatMap((measure): Check[] => {
    const found = evaluate(measure)?.perQuery;
    if (!found) return [];
    let error = 0;
    let where: string | undefined;
    for (const query of new Set([...expected.keys(), ...found.keys()])) {
      // A query that only one of the two evaluates is as wrong as can be.
      const difference = Math.abs((found.get(query)?.[measure] ?? NaN) - (expected.get(query)?.[measure] ?? NaN));
      const own = Number.isNaN(difference) ? Infinity : difference;
      if (own > error) [error, where] = [own, `query ${query}`];
    }
    return [{ quantity: measure, error, tolerance, ...(where === undefined ? {} : { where }) }];
  });
  if (measures.length === 0)
    checks.push({ quantity: "measures", error: Infinity, tolerance, where: "none in the file" });
  return { checks, skipped };
}
