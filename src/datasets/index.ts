export { type CatalogueOptions, type CatalogueRow } from "../core/catalogue.ts";
export { readJsonl, readLines, type JsonLine, type JsonObject, type ReadLinesOptions } from "../core/data-lines.ts";
export { readCatalogue, type Catalogue } from "./catalogue.ts";
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
