export { gainsOf, relevantIds, type Qrels, type Relevance, type Run, type ScoredId } from "./judgments.ts";
export {
  map,
  mrr,
  ndcg,
  precision,
  recall,
  success,
  type CutOption,
  type GainKind,
  type NdcgOptions,
  type RankedId,
} from "./metrics.ts";
export {
  compareCodePoints,
  evaluateRun,
  orderAsTrecEval,
  type EvaluateRunOptions,
  type RunEvaluation,
} from "./evaluate-run.ts";
