/** The evaluation in between: how good the policy is on the validation split, and whether it is the best so far. */
import { stepName } from "../runs/checkpoints.ts";
import type { BestRecord, EvaluationSummary } from "../runs/records.ts";
import { answerExamples, askingOf, checkEvaluationFailures, scoreAnswers, standardErrorsOf } from "./evaluation.ts";
import type { FoundAnswer } from "./evaluation.ts";
import type { Loop } from "./loop.ts";
import { checkUnchanged } from "./recommender-watch.ts";

/** Whether the policy as it is now is to be evaluated before the next step. */
export function isEvaluationDue<E extends object>({ config, state, valid }: Loop<E>, isLast: boolean): boolean {
  const { step, evaluatedAt } = state;
  if (valid.length === 0 || config.evalEvery === 0 || evaluatedAt === step) return false;
  if (isLast) return true;
  if (step === 0) return config.evalAtStart;
  return (step - config.warmupSteps) % config.evalEvery === 0;
}

/** Greedy answers to the validation examples, scored. */
export async function evaluateInBetween<E extends object>(loop: Loop<E>): Promise<void> {
  const { engine, task, recommender, config, state, valid, signal, onEvent, folder } = loop;
  const { step } = state;
  const abort = signal ? { signal } : {};
  const answers = await answerExamples(valid, {
    engine,
    task,
    recommender,
    ...askingOf(config),
    ...abort,
    onProgress: (done, total) => onEvent({ kind: "progress", activity: "evaluating", step, done, total }),
  });
  let found: readonly FoundAnswer<E>[] = [];
  const evaluation = await scoreAnswers(answers, { recommender, task, ...abort, onFound: (all) => (found = all) });
  checkEvaluationFailures(evaluation, config.maxFailureShare);
  if (config.recommenderCheckEvery > 0) await checkUnchanged(recommender, loop.fingerprint);
  const { metric, means, counts } = evaluation;
  await folder.writeEvaluation(`valid-${stepName(step)}`, {
    policy: stepName(step),
    split: "valid",
    step,
    ...evaluation,
  });
  await loop.shown.add(found);
  const standardErrors = standardErrorsOf(evaluation);
  const summary: EvaluationSummary = {
    kind: "evaluation",
    step,
    split: "valid",
    values: means,
    standardErrors,
    counts,
  };
  await folder.appendMetrics(summary);
  const value = means[metric] as number;
  const isBest = state.best === null || value > state.best.value;
  if (isBest) state.best = { step, metric, value, checkpoint: step === 0 ? null : stepName(step) };
  state.evaluationsSinceBest = isBest ? 0 : state.evaluationsSinceBest + 1;
  state.evaluatedAt = step;
  if (step === 0 && state.best) await folder.writeBest(state.best);
  onEvent({ kind: "evaluation", summary, metric, best: state.best as BestRecord });
}
