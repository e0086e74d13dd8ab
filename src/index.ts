/**
 * rec-r1: a language model learns to query a search engine or recommender that stays as it is. Engines and
 * recommenders have entry points of their own (`rec-r1/engines/local`, `rec-r1/recommenders/lancedb` …), so that
 * importing this one loads no native library.
 */
export * from "./core/errors.ts";
export { retry } from "./core/retry.ts";
export type { RetryOptions } from "./core/retry.ts";
export { randomStream, shuffle } from "./core/random.ts";
export type { Random } from "./core/random.ts";
export * from "./datasets/index.ts";
export * from "./engines/engine.ts";
export { countWords, distinctWords, splitWords } from "./core/words.ts";
export { classicalNames, prepareClassical } from "./eval/baselines/classical.ts";
export type {
  ClassicalBaselines,
  ClassicalName,
  ClassicalOptions,
  RecommenderVariant,
} from "./eval/baselines/classical.ts";
export { Collection } from "./eval/baselines/collection.ts";
export { fuseRankings } from "./eval/baselines/fusion.ts";
export { collectBestOfN, fineTune, readRewrites } from "./eval/baselines/supervised.ts";
export type { CollectOptions, FineTuneOptions, Rewrite } from "./eval/baselines/supervised.ts";
export { compareSystems, scoresByExample } from "./eval/compare.ts";
export type { CompareOptions, ScoredSystem } from "./eval/compare.ts";
export { formatComparisonLatex, formatComparisonMarkdown, formatComparisonText } from "./eval/comparison/format.ts";
export { keepComparison, readKeptComparison, recomputeMeasures } from "./eval/comparison/kept-answers.ts";
export type { KeptAnswer, KeptComparison } from "./eval/comparison/kept-answers.ts";
export { bestClassical, measureComparison } from "./eval/comparison/measure.ts";
export type { AnsweredSystem, Comparison, MeasureOptions, SystemResult } from "./eval/comparison/measure.ts";
export { makeSlices } from "./eval/comparison/slices.ts";
export type { Slice, SliceOptions } from "./eval/comparison/slices.ts";
export { answerWithModel, answerWithQueries, modelSystem, rawSystem } from "./eval/comparison/system.ts";
export type { ComparedSystem, Prices, SystemAnswers, SystemFamily, Usage } from "./eval/comparison/system.ts";
export { errorsOf, formatDiagnosis, requireSoundBaseline } from "./eval/doctor/diagnosis.ts";
export type { CheckOutcome, CheckStatus, Diagnosis } from "./eval/doctor/diagnosis.ts";
export { examineTask } from "./eval/doctor/examine.ts";
export type { ExamineOptions } from "./eval/doctor/examine.ts";
export { evaluatePolicy, evaluateQueries, evaluateRaw, pairScores } from "./eval/evaluate.ts";
export type { EvaluateOptions, EvaluatePolicyOptions } from "./eval/evaluate.ts";
export { measureAbility, measureDivergence, measurePerplexity } from "./eval/forgetting/measure.ts";
export type { AbilityOptions, Divergence, Policy } from "./eval/forgetting/measure.ts";
export type { AbilityMeasure, ForgettingReport } from "./eval/forgetting/report.ts";
export { judgeAbility, judgeRegression } from "./eval/gate.ts";
export type { GateCheck, GateOptions, Verdict } from "./eval/gate.ts";
export { RankingStore, recordRankings } from "./eval/rankings.ts";
export { writeReport } from "./eval/report/report.ts";
export type { ReportComparison, ReportData, ReportSystem } from "./eval/report/report-data.ts";
export {
  bootstrapDifference,
  bootstrapInterval,
  holmCorrection,
  pairedRandomizationTest,
} from "./eval/significance.ts";
export * from "./ranking/index.ts";
export { AnswerLog } from "./recommenders/answer-log.ts";
export type { AnswerLogOptions } from "./recommenders/answer-log.ts";
export { cached } from "./recommenders/cached.ts";
export type { CachedRecommender, CacheOptions, CacheStats } from "./recommenders/cached.ts";
export { readCatalogueIds, withKnownIds } from "./recommenders/known-ids.ts";
export type { Hit, Query, Recommender, SearchOptions } from "./recommenders/recommender.ts";
export { computeAdvantages } from "./rl/advantage.ts";
export type { AdvantageBaseline, AdvantageNorm } from "./rl/advantage.ts";
export { parseAnswer, parseJsonAnswer, parsePlainAnswer, parseQueries, parseTaggedAnswer } from "./rl/answer.ts";
export { showTitles } from "./rl/episode.ts";
export type { Episode, Turn } from "./rl/episode.ts";
export {
  combineObjectives,
  latencyCost,
  ndcgObjective,
  recallObjective,
  ruleObjective,
  tokenCost,
  wordCost,
} from "./rl/objectives.ts";
export type { Found, Objective, ObjectivesOptions } from "./rl/objectives.ts";
export { fused } from "./recommenders/fused.ts";
export type { FuseOptions } from "./recommenders/fused.ts";
export { askingOf } from "./rl/evaluation.ts";
export type { AskOptions, Evaluation } from "./rl/evaluation.ts";
export type { EndReason, OnTrainEvent, TrainEvent } from "./rl/events.ts";
export { expandQuery } from "./rl/expand-query.ts";
export type { ExpandOptions } from "./rl/expand-query.ts";
export { hindsightWarmup } from "./rl/hindsight.ts";
export type { HindsightOptions } from "./rl/hindsight.ts";
export { recipes } from "./rl/recipes.ts";
export type { Recipe } from "./rl/recipes.ts";
export { withLengthCost } from "./rl/length-cost.ts";
export { compatibleQuirks, modes, ndcgAsPublished, recommenderInMode, taskInMode } from "./rl/modes.ts";
export type { Mode } from "./rl/modes.ts";
export { defineTask, ndcgMetric } from "./rl/task.ts";
export type {
  AnswerCosts,
  DataSource,
  LoadedExample,
  Metric,
  Reward,
  Scored,
  SplitName,
  Task,
  TaskContext,
  ItemView,
  TaskDefinition,
  Warmup,
  WarmupContext,
  WarmupExample,
} from "./rl/task.ts";
export { trainConfigSchema } from "./rl/train-config.ts";
export type { TrainConfig, TrainConfigInput } from "./rl/train-config.ts";
export { train } from "./rl/train.ts";
export type { TrainOptions, TrainResult } from "./rl/train.ts";
export * from "./tasks/index.ts";
export * from "./trackers/index.ts";
export type * from "./runs/records.ts";
export {
  readBest,
  readManifest,
  readMetrics,
  readRollouts,
  readRunCheckpoint,
  readTimings,
} from "./runs/run-folder.ts";
