/** What a run's policy found in an evaluation, for other programs. */
import { ConfigError } from "../../core/errors.ts";
import { quoteForShell } from "../../core/shell-quote.ts";
import { suggestion } from "../../core/suggest.ts";
import { writeUbiQueries } from "../../datasets/judgments/index.ts";
import { toTrecId, writeRun } from "../../datasets/trec.ts";
import type { EvaluationFile } from "../../runs/records.ts";
import { listEvaluations, readEvaluation, readManifest } from "../../runs/run-folder.ts";
import { loadTask } from "../load-task.ts";
import { loadSplit } from "../../rl/task.ts";
import type { SplitName } from "../../rl/task.ts";

export const runTargets = ["trec-run", "ubi-queries"] as const;

/** @returns what is worth saying of it, by name. @throws ConfigError `NO_EVALUATION` */
export async function writeRanking(
  runDir: string,
  path: string,
  target: string,
  { evaluation: asked = "test-tuned", name }: { evaluation?: string; name?: string },
): Promise<Record<string, unknown>> {
  const manifest = await readManifest(runDir);
  const evaluation = await readEvaluation(runDir, asked);
  if (!evaluation) {
    const known = await listEvaluations(runDir);
    const hint = known.length === 0 ? "it has none" : `it has ${known.join(", ")}`;
    throw new ConfigError(
      "NO_EVALUATION",
      `${runDir} has no evaluation "${asked}"; ${hint}.${suggestion(asked, known)} rec-r1 eval ${quoteForShell(runDir)} makes those of the test split.`,
    );
  }
  const answered = evaluation.records.filter(({ sample, hits }) => sample === 0 && hits !== null);
  if (target === "trec-run") {
    // The order is what was kept; scores fall by one from the top, as evaluation tools order by score.
    const run = new Map(
      answered.map(({ example, hits }) => [
        toTrecId(example),
        (hits as string[]).map((id, rank) => ({ id, score: (hits as string[]).length - rank })),
      ]),
    );
    await writeRun(path, run, name ?? `rec-r1-${evaluation.policy}`.replace(/\s+/g, "-"));
  } else {
    const words = await userWords(manifest.launch, evaluation);
    const queries = answered.map(({ example, query, hits }) => ({
      id: `${evaluation.policy}-${example}`,
      userQuery: words.get(example) ?? "",
      query,
      hits: hits as string[],
    }));
    await writeUbiQueries(path, queries, { timestamp: manifest.createdAt, policy: evaluation.policy });
  }
  return { queries: answered.length, "left out": evaluation.records.length - answered.length, evaluation: asked };
}

/** The users' own words by example. */
async function userWords(launch: Record<string, unknown>, { split }: EvaluationFile): Promise<Map<string, string>> {
  const { taskFile, data } = launch;
  if (typeof taskFile !== "string") {
    throw new ConfigError(
      "NO_TASK_FILE",
      "The run does not say which task file it was started with, so the users' words are unknown.",
    );
  }
  const { task } = await loadTask(taskFile, { data: typeof data === "string" ? data : undefined });
  const examples = (await loadSplit(task, split as SplitName)) ?? [];
  return new Map(examples.map(({ id, example }) => [id, task.raw(example) ?? ""]));
}
