export { checkDataFile, type DataCheck, type PromptCheck } from "./check-data.ts";
export { formWarmup } from "./form-warmup.ts";
export { nextItem, type NextItemOptions } from "./next-item.ts";
export {
  answerStart,
  findStyle,
  formatHistory,
  paperPrompt,
  paperStyles,
  promptKinds,
  renderChatMl,
  type PromptKind,
  type PromptStyle,
} from "./paper-prompts.ts";
export {
  paperReward,
  parsePaperAnswer,
  readPaperAnswer,
  writePaperAnswer,
  type Judged,
  type PaperAnswer,
} from "./paper-reward.ts";
export { authorsCut, metric, type PresetParts } from "./preset.ts";
export { productSearch, type ProductSearchOptions } from "./product-search.ts";
export { paperWording, shortWording, type WordedAnswer, type Wording, type WordingChoice } from "./wording.ts";
export {
  findCandidates,
  orderRecommender,
  parseOrder,
  reRanking,
  writeOrder,
  type ReRankingOptions,
} from "./re-ranking.ts";
