/** Looks through a run for what may be reward hacking: its last evaluation, and rollouts of some of its last steps. */
import { splitWords } from "../../core/words.ts";
import { examineCurves, suspect, suspectKinds, type SuspectContext } from "../../eval/suspects.ts";
import type { EvaluationRecord, RolloutRecord } from "../../runs/records.ts";
import type { BeforeAfter } from "./before-after.ts";
import type { Rollouts } from "./rollouts.ts";
import type { RunLog } from "./run-log.ts";
import type { ShownIndex } from "./shown-index.ts";
import type { Suspect, SuspectReport } from "./wire.ts";

/** Steps whose rollouts are looked at: the newest ones, and the first for what was usual. */
const examinedSteps = 8;
/** Suspects of each kind that are shown. */
const maxOfKind = 25;
/** Rows of curves that are judged. */
const curveRows = 500;

export async function findSuspects({
  log,
  rollouts,
  beforeAfter,
  shown,
}: {
  log: RunLog;
  rollouts: Rollouts;
  beforeAfter: BeforeAfter;
  shown: ShownIndex;
}): Promise<SuspectReport> {
  await shown.refresh();
  const curves = await log.curves(curveRows);
  const metric = curves.metric ?? "";
  const findings = examineCurves({
    steps: curves.rows
      .filter(({ values }) => values.reward !== undefined)
      .map(({ step, values }) => ({
        step,
        reward: values.reward as number,
        completionTokens: values.completionTokens,
      })),
    validation: curves.evaluations
      .filter(({ split, values }) => split === "valid" && values[metric] !== undefined)
      .map(({ step, values, standardErrors }) => ({
        step,
        value: values[metric] as number,
        standardError: standardErrors[metric],
      })),
  });

  const steps = await rollouts.steps();
  const evaluation = await beforeAfter.tunedAnswers();
  const usual: number[] = (evaluation?.untrained ?? []).map(({ completion }) => splitWords(completion ?? "").length);
  const first = steps[0];
  if (usual.length === 0 && first !== undefined) {
    for await (const { completion } of rollouts.records(first)) usual.push(splitWords(completion).length);
  }
  const context: SuspectContext = {
    usualWords: usual.sort((a, b) => a - b)[Math.floor(usual.length / 2)] ?? 0,
    catalogueWords: shown.titleWords,
  };
  const report: SuspectReport = {
    findings,
    suspects: [],
    counts: { length: 0, repetition: 0, unsupported: 0, "title-copy": 0 },
    examined: 0,
    catalogueWords: shown.titleWords.size,
  };
  const seen = new Set<string>();
  const examine = async (
    record: RolloutRecord | EvaluationRecord,
    where: Suspect["where"],
    reward: number | null,
  ): Promise<void> => {
    report.examined++;
    const { completion, query, hits } = record;
    if (completion === null) return;
    const [example] = await shown.examples([record.example]);
    const relevant = new Set(example?.relevant ?? []);
    const items = await shown.hits([...relevant, ...(hits ?? [])], relevant);
    const titles = items.map(({ title }) => title).filter((title) => title !== null);
    const input = example?.text ?? null;
    for (const { kind, reason } of suspect({ completion, query, input, titles }, context)) {
      // The same text for the same example is one finding, however often it was sampled.
      const key = JSON.stringify([kind, record.example, completion]);
      if (seen.has(key)) continue;
      seen.add(key);
      if (++report.counts[kind] > maxOfKind) continue;
      report.suspects.push({ kind, reason, where, text: input, completion, query, reward });
    }
  };
  for (const record of evaluation?.records ?? []) {
    const score = record.scores?.[evaluation?.metric ?? ""] ?? null;
    await examine(record, { kind: "evaluation", name: evaluation?.name ?? "", example: record.example }, score);
  }
  for (const step of steps.slice(-examinedSteps).reverse()) {
    for await (const record of rollouts.records(step)) {
      await examine(record, { kind: "rollout", step, example: record.example, sample: record.sample }, record.reward);
    }
  }
  report.suspects.sort((a, b) => suspectKinds.indexOf(a.kind) - suspectKinds.indexOf(b.kind));
  return report;
}
