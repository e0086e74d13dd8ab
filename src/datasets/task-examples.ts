/** The examples of the paper's tasks, whatever file they came from. */
import type { Example } from "./examples.ts";

/** What the authors' data files add to an example. */
export interface PaperFields {
  /** The file's `data_source`, such as `esci_Video_Games_test`. */
  dataSource?: string;
  /** The prompt as the file has it. */
  filePrompt?: string;
}

/** Product search: a query and the items that answer it. */
export interface SearchExample extends Example, PaperFields {
  /** Judged ids as the authors' files list them, duplicates included: their NDCG counts them. */
  targets?: readonly string[];
  /** Category of the query's items, where the data tell. */
  domain?: string;
}

/** Next-item recommendation: what a user bought, and what came next. */
export interface HistoryExample extends PaperFields {
  id: string;
  user: string;
  /** Item ids, oldest first: the newest few, as they are shown. */
  history: readonly string[];
  /** All items bought before, where those are more than {@link history}. */
  bought?: readonly string[];
  /** Titles of the history, empty where none is known. */
  titles: readonly string[];
  /** The item bought next. */
  target: string;
  /** `[target]`. */
  relevant: readonly string[];
}

/** Re-ranking: a query and the candidates to order. */
export interface RankingExample {
  id: string;
  query: string;
  candidates: readonly { id: string; title: string }[];
  relevant: Example["relevant"];
}
