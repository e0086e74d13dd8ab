export { type CatalogueOptions, type CatalogueRow } from "../core/catalogue.ts";
export { readJsonl, readLines, type JsonLine, type JsonObject, type ReadLinesOptions } from "../core/data-lines.ts";
export { readCatalogue, readCatalogueWords, type Catalogue } from "./catalogue.ts";
export {
  checkRelevant,
  describePlace,
  parseExample,
  placeOf,
  readExamples,
  type CheckRelevantOptions,
  type Example,
  type MissingRelevant,
  type ReadExamplesOptions,
  type RowPlace,
} from "./examples.ts";
export {
  iconSvg,
  loadIcons,
  type IconDataset,
  type IconExample,
  type IconRow,
  type LoadIconsOptions,
} from "./icons.ts";
export { groupByKeys, splitItems, type PartSize, type SplitOptions } from "./split.ts";
export { readQrels, readRun, writeQrels, writeRun } from "./trec.ts";
export { amazonC4Domains, readAmazonC4, type AmazonC4Options } from "./amazon-c4.ts";
export {
  amazon2023Times,
  readPurchases,
  selectSetting,
  splitPurchases,
  type HistorySplits,
  type ItemSetting,
  type Purchase,
  type SplitPurchasesOptions,
} from "./amazon-reviews.ts";
export { readBeir, readBeirQrels, readTopics, readTrecCollection, type CollectionOptions } from "./beir.ts";
export { readCsv, type ReadCsvOptions } from "./csv.ts";
export { esciGains, paperEsci, paperEsciDomains, readEsci, type EsciLabel, type EsciOptions } from "./esci.ts";
export { readCategories, readItems, readTitles, type ItemRow, type ReadItemsOptions } from "./items.ts";
export { countDropped, describeDropped, reportOf, type DroppedRows, type LoadReport } from "./load-report.ts";
export {
  readPaperConversations,
  readPaperHistories,
  readPaperSearch,
  type HistoryFileOptions,
  type PaperConversation,
  type PaperFileOptions,
} from "./paper-files.ts";
export { describeParquet, readParquet, type ParquetSummary, type ReadParquetOptions } from "./parquet.ts";
export { readHistoryFile, type HistoryTitles, type ReadHistoryOptions } from "./read-histories.ts";
export { readRankingFile } from "./read-rankings.ts";
export { readSearchFile, type ReadSearchOptions } from "./read-search.ts";
export { recogniseFile, type FileKind, type RecognisedFile } from "./recognise.ts";
export { detectFormat, readRows, type ReadRowsOptions, type RowFormat } from "./rows.ts";
export type { HistoryExample, PaperFields, RankingExample, SearchExample } from "./task-examples.ts";
export * from "./judgments/index.ts";
