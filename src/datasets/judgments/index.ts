export {
  ClickLogBuilder,
  guessClickColumns,
  readClickLog,
  type ClickColumns,
  type ClickLog,
  type ClickRow,
  type PlacedClicks,
  type ReadClickLogOptions,
} from "./click-log.ts";
export { judgeClicks, type ClickJudgments, type JudgeClicksOptions } from "./judge-clicks.ts";
export {
  gradeAll,
  keepJudged,
  toExample,
  toJudgedQuery,
  withoutIrrelevant,
  writeExamples,
  type JudgedQuery,
} from "./judged-query.ts";
export { readOpenSearchJudgments, writeOpenSearchJudgments } from "./opensearch-judgments.ts";
export { estimateEta, type EtaEstimate } from "./position-bias.ts";
export { readQuepid, writeQuepid } from "./quepid.ts";
export { readUbiEvents, writeUbiQueries, type ReadUbiOptions, type UbiLog, type UbiQuery } from "./ubi.ts";
