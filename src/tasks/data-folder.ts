/**
 * Which files of a folder are what: found by what is in them, and their split by their names. So that a preset runs on
 * a folder of the authors' files, of a BEIR collection, of ESCI, of Amazon Reviews or of one's own without a word of code.
 */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, parse } from "node:path";
import { DataError } from "../core/errors.ts";
import { purchaseKinds } from "../datasets/amazon-reviews.ts";
import { itemKinds } from "../datasets/items.ts";
import { historyKinds } from "../datasets/read-histories.ts";
import { searchKinds } from "../datasets/read-search.ts";
import { recogniseFile, type FileKind } from "../datasets/recognise.ts";
import { splitNames, type SplitName } from "../rl/task.ts";

/** A file by split. */
export type SplitFiles = Partial<Record<SplitName, string>>;

export interface DataFolder {
  path: string;
  search: SplitFiles;
  histories: SplitFiles;
  candidates: SplitFiles;
  /** TREC's topics and judgments by split. */
  topics: SplitFiles;
  qrels: SplitFiles;
  /** Whole conversations, for a supervised phase. */
  conversations?: string;
  /** ESCI's judgments, where its splits are in the file. */
  esci?: string;
  /** ESCI's judgments where each split has a file of its own. */
  esciSplits: SplitFiles;
  /** Purchases of Amazon Reviews, to be split. */
  purchases?: string;
  /** The catalogue. */
  items?: string;
  /** Whether this is a BEIR folder. */
  isBeir: boolean;
}

const extensions = [".parquet", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".inter"];

const splitWords: Readonly<Record<string, SplitName>> = {
  train: "train",
  training: "train",
  valid: "valid",
  val: "valid",
  validation: "valid",
  dev: "valid",
  test: "test",
};

/** The split that a file's name says, such as `search.valid.jsonl`. */
export function splitOfName(name: string): SplitName | undefined {
  const words = parse(name)
    .name.toLowerCase()
    .split(/[^a-z]+/);
  return words.map((word) => splitWords[word]).findLast((split) => split !== undefined);
}

/**
 * Looks through a folder, not into folders below it.
 * @throws DataError when the folder can't be read, or two files would be the same split of the same task
 */
export async function scanDataFolder(path: string): Promise<DataFolder> {
  let names: string[];
  try {
    names = (await readdir(path)).filter((name) => extensions.includes(parse(name).ext.toLowerCase())).sort();
  } catch (cause) {
    throw new DataError(
      "NOT_FOUND",
      `${path}: not a folder that can be read. Give the folder of the data: --data FOLDER.`,
      {
        cause,
      },
    );
  }
  const folder: DataFolder = {
    path,
    search: {},
    histories: {},
    candidates: {},
    esciSplits: {},
    topics: {},
    qrels: {},
    isBeir: existsSync(join(path, "queries.jsonl")) && existsSync(join(path, "qrels")),
  };
  const bySplit: readonly [readonly FileKind[], SplitFiles][] = [
    [searchKinds, folder.search],
    [historyKinds, folder.histories],
    [["candidates"], folder.candidates],
    [["esci-examples"], folder.esciSplits],
    [["trec-topics"], folder.topics],
    [["trec-qrels"], folder.qrels],
  ];
  for (const name of names) {
    const file = join(path, name);
    const kind = await kindOf(file);
    if (kind === undefined) continue;
    const splits = bySplit.find(([kinds]) => kinds.includes(kind))?.[1];
    const split = splitOfName(name);
    if (splits && split) {
      if (splits[split] !== undefined) throw ambiguous(splits[split], file, `the ${split} split`);
      splits[split] = file;
    } else if (kind === "rec-r1-conversations" && split === "train") folder.conversations = file;
    else if (kind === "esci-examples") folder.esci = file;
    else if (purchaseKinds.includes(kind)) {
      if (folder.purchases !== undefined) throw ambiguous(folder.purchases, file, "the purchases");
      folder.purchases = file;
    } else if (itemKinds.includes(kind)) {
      if (folder.items !== undefined) throw ambiguous(folder.items, file, "the catalogue");
      folder.items = file;
    }
  }
  return folder;
}

/** Files that are something else are no business of a task's. */
async function kindOf(file: string): Promise<FileKind | undefined> {
  try {
    return (await recogniseFile(file)).kind;
  } catch (error) {
    if (error instanceof DataError) return undefined;
    throw error;
  }
}

function ambiguous(a: string, b: string, what: string): DataError {
  return new DataError("DATA_AMBIGUOUS", `${a} and ${b} could both be ${what}. Leave one of them in the folder.`);
}

/** @throws DataError where the folder has no training file for a task */
export function requireTrain(folder: DataFolder, files: SplitFiles, what: string): void {
  if (files.train !== undefined) return;
  const present = splitNames.filter((split) => files[split] !== undefined);
  const found = present.length > 0 ? ` It has ${present.join(" and ")}.` : "";
  throw new DataError(
    "DATA_NO_TRAIN",
    `${folder.path}: no file of ${what} with "train" in its name.${found} See what a file is taken for: rec-r1 data check FILE`,
    { details: { path: folder.path } },
  );
}
