/**
 * Presets by name in place of a task file: `product-search`, `next-item` or `re-ranking` on a folder of data, with BM25
 * over the folder's catalogue. Options follow the name: `next-item:wording=short,maxHistory=5`.
 */
import { join } from "node:path";
import { z } from "zod";
import { listOptions, resolveConfig } from "../core/config.ts";
import { ConfigError, DataError } from "../core/errors.ts";
import { readPurchases, selectSetting, splitPurchases, type HistorySplits } from "../datasets/amazon-reviews.ts";
import { readBeir, readTrecCollection } from "../datasets/beir.ts";
import { readEsci, type EsciOptions } from "../datasets/esci.ts";
import { readCategories, readItems, type ItemRow } from "../datasets/items.ts";
import { readPaperConversations } from "../datasets/paper-files.ts";
import { readSearchFile } from "../datasets/read-search.ts";
import type { SearchExample } from "../datasets/task-examples.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import {
  defineTask,
  type DataSource,
  type SplitName,
  type Task,
  type TaskDefinition,
  type Warmup,
} from "../rl/task.ts";
import { requireTrain, scanDataFolder, type DataFolder, type SplitFiles } from "../tasks/data-folder.ts";
import { nextItem } from "../tasks/next-item.ts";
import { promptKinds } from "../tasks/paper-prompts.ts";
import { productSearch } from "../tasks/product-search.ts";
import { findCandidates, orderRecommender, reRanking } from "../tasks/re-ranking.ts";
import type { WordingChoice } from "../tasks/wording.ts";

export const presetNames = ["product-search", "next-item", "re-ranking"] as const;
type PresetName = (typeof presetNames)[number];

export const presetOptionsSchema = z.object({
  wording: z
    .enum(["file", "short", ...promptKinds])
    .default("file")
    .describe("prompt, parser and reward: short, one of the paper's, or as in the data's file (else the paper's)"),
  reasoning: z.boolean().default(true).describe("with one of the paper's wordings: think before answering"),
  rewardTopK: z.number().int().min(1).optional().describe("cut of the reward's NDCG; default: the preset's"),
  index: z
    .enum(["text", "title"])
    .default("text")
    .describe("what of an item is searched: all of its text, or its title"),
  maxHistory: z.number().int().min(1).default(10).describe("next-item: items of a history that are shown"),
  maskBought: z.boolean().default(false).describe("next-item: leave out of the hits what the user bought"),
  split: z.enum(["last-out", "time"]).default("last-out").describe("next-item: how purchases are split"),
  setting: z
    .enum(["all", "transductive", "inductive"])
    .default("all")
    .describe("next-item: held-out examples with items that training has all seen, or none of"),
  locale: z.string().default("us").describe("ESCI: locale of queries and products"),
  version: z.enum(["small", "large"]).default("large").describe("ESCI: version of the dataset"),
  labels: z.string().default("ESCI").describe("ESCI: labels that count as judged; the paper's are E"),
  domain: z.string().optional().describe("only held-out queries whose first item has this category"),
  candidates: z.number().int().min(2).max(100).default(10).describe("re-ranking: candidates from the first stage"),
});
type PresetOptions = z.output<typeof presetOptionsSchema>;

export interface PresetTask {
  task: Task<object>;
  openRecommender: () => Promise<Recommender>;
}

/** The preset that a task argument names; undefined where it names none. */
export function presetOf(argument: string): PresetName | undefined {
  const name = argument.split(":", 1)[0];
  return presetNames.find((preset) => preset === name);
}

/**
 * Builds a preset's task over a folder of data.
 * @throws ConfigError for unknown options or without a folder; DataError when the folder lacks what the preset needs
 */
export async function openPreset(argument: string, data: string | undefined): Promise<PresetTask> {
  const name = presetOf(argument) as PresetName;
  const options = parseOptions(argument);
  if (data === undefined) {
    throw new ConfigError("NO_DATA", `The preset ${name} needs a folder of data: --data FOLDER.`);
  }
  const folder = await scanDataFolder(data);
  if (name === "next-item") return openNextItem(folder, options);
  const sources = await searchSources(folder, options);
  return name === "product-search"
    ? openProductSearch(folder, sources, options)
    : openReRanking(folder, sources, options);
}

function parseOptions(argument: string): PresetOptions {
  const at = argument.indexOf(":");
  const known = listOptions(presetOptionsSchema);
  const pairs =
    at < 0
      ? []
      : argument
          .slice(at + 1)
          .split(",")
          .filter((pair) => pair !== "");
  const values = pairs.map((pair): [string, unknown] => {
    const [key, text = ""] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
    if (!pair.includes("=")) {
      throw new ConfigError("BAD_OPTION", `${argument}: expected NAME:option=value,option=value, got "${pair}".`);
    }
    const type = known.find((option) => option.key === key)?.type;
    if (type === "boolean") return [key, text === "true" ? true : text === "false" ? false : text];
    return [key, type === "integer" || type === "number" ? Number(text) : text];
  });
  return resolveConfig(presetOptionsSchema, [{ source: argument, values: Object.fromEntries(values) }]);
}

function wordingOf({ wording, reasoning }: PresetOptions): { wording?: WordingChoice } {
  if (wording === "file") return {};
  return { wording: wording === "short" ? "short" : { kind: wording, reasoning } };
}

/** Items in memory, once for task and index. */
async function loadItems(folder: DataFolder, { locale }: PresetOptions): Promise<ItemRow[]> {
  if (folder.items !== undefined) return readItems(folder.items, { locale });
  throw new DataError(
    "DATA_NO_CATALOGUE",
    `${folder.path}: no catalogue: no file of items with ids and titles. See what a file is taken for: rec-r1 data check FILE`,
  );
}

async function openIndex(items: readonly ItemRow[], { index }: PresetOptions): Promise<Recommender> {
  const { LanceDbRecommender } = await import("../recommenders/lancedb/index.ts");
  return LanceDbRecommender.fromRows(items, { text: [index], store: ["title"], indexDir: join(".rec-r1", "index") });
}

type Sources<E> = Partial<Record<SplitName, DataSource<E>>>;

/** Where the search examples of each split come from. */
async function searchSources(folder: DataFolder, options: PresetOptions): Promise<Sources<SearchExample>> {
  const { domain, locale, version, labels } = options;
  if (folder.isBeir) {
    const names = { train: "train", valid: "dev", test: "test" } as const;
    return fromSplits((split) => () => readBeir(folder.path, names[split]), await beirSplits(folder.path, names));
  }
  if (folder.esci !== undefined) {
    const path = folder.esci;
    const categories =
      domain === undefined || !folder.items ? undefined : await readCategories(folder.items, { locale });
    const given: EsciOptions = {
      locale,
      version,
      labels: [...labels.toUpperCase()].filter((label) => "ESCI".includes(label)) as NonNullable<EsciOptions["labels"]>,
      ...(categories ? { categories } : {}),
    };
    // As the authors have it: the first hundred queries of the training pool are for validation.
    const pool = (): Promise<SearchExample[]> => readEsci(path, { ...given, split: "train" });
    return {
      train: async () => (await pool()).slice(100),
      valid: async () => (await pool()).slice(0, 100),
      test: () => readEsci(path, { ...given, split: "test", ...(domain === undefined ? {} : { domain }) }),
    };
  }
  if (folder.topics.train !== undefined) {
    const both = (["train", "valid", "test"] as const).filter((split) => folder.topics[split] && folder.qrels[split]);
    return fromSplits(
      (split) => () => readTrecCollection(folder.topics[split] as string, folder.qrels[split] as string),
      both,
    );
  }
  return { ...folder.search };
}

function fromSplits<E>(make: (split: SplitName) => DataSource<E>, splits: readonly SplitName[]): Sources<E> {
  return Object.fromEntries(splits.map((split) => [split, make(split)]));
}

async function beirSplits(path: string, names: Readonly<Record<SplitName, string>>): Promise<SplitName[]> {
  const { existsSync } = await import("node:fs");
  return (["train", "valid", "test"] as const).filter((split) =>
    existsSync(join(path, "qrels", `${names[split]}.tsv`)),
  );
}

function withTrain<E extends object>(folder: DataFolder, sources: Sources<E>, what: string): TaskDefinition<E>["data"] {
  const files = Object.fromEntries(Object.entries(sources).map(([split]) => [split, split])) as SplitFiles;
  requireTrain(folder, files, what);
  return sources as TaskDefinition<E>["data"];
}

async function openProductSearch(
  folder: DataFolder,
  sources: Sources<SearchExample>,
  options: PresetOptions,
): Promise<PresetTask> {
  const warmup = warmupOf(folder);
  const definition = productSearch({
    data: withTrain(folder, sources, "queries with what is relevant to them"),
    ...wordingOf(options),
    ...(options.rewardTopK === undefined ? {} : { rewardTopK: options.rewardTopK }),
    ...(warmup ? { warmup } : {}),
  });
  const items = await loadItems(folder, options);
  return { task: defineTask(definition) as unknown as Task<object>, openRecommender: () => openIndex(items, options) };
}

/** The authors' conversations for supervised fine-tuning, as the texts of a warm-up. */
function warmupOf({ conversations }: DataFolder): Warmup<SearchExample> | undefined {
  return conversations === undefined ? undefined : { examples: () => readPaperConversations(conversations) };
}

async function openNextItem(folder: DataFolder, options: PresetOptions): Promise<PresetTask> {
  const items = await loadItems(folder, options);
  const titles = new Map(items.map(({ id, title }) => [id, title]));
  const { maxHistory, maskBought, split, setting, rewardTopK } = options;
  let data: TaskDefinition<HistorySplits["train"][number]>["data"];
  if (folder.histories.train === undefined && folder.purchases !== undefined) {
    const parts = splitPurchases(await readPurchases(folder.purchases), { split, maxHistory, titles });
    const held = (examples: HistorySplits["test"]): HistorySplits["test"] =>
      setting === "all" ? examples : selectSetting(examples, parts.train, setting);
    data = { train: parts.train, valid: held(parts.valid), test: held(parts.test) };
  } else data = withTrain(folder, folder.histories, "histories with the item bought next");
  const definition = nextItem({
    data,
    titles,
    maxHistory,
    maskBought,
    ...wordingOf(options),
    ...(rewardTopK === undefined ? {} : { rewardTopK }),
  });
  return { task: defineTask(definition) as unknown as Task<object>, openRecommender: () => openIndex(items, options) };
}

async function openReRanking(
  folder: DataFolder,
  sources: Sources<SearchExample>,
  options: PresetOptions,
): Promise<PresetTask> {
  const parts = options.rewardTopK === undefined ? {} : { rewardTopK: options.rewardTopK };
  const openRecommender = (): Promise<Recommender> => Promise.resolve(orderRecommender());
  if (folder.candidates.train !== undefined) {
    const definition = reRanking({ data: withTrain(folder, folder.candidates, "queries with candidates"), ...parts });
    return { task: defineTask(definition) as unknown as Task<object>, openRecommender };
  }
  const data = withTrain(folder, sources, "queries with what is relevant to them");
  const items = await loadItems(folder, options);
  const titles = new Map(items.map(({ id, title }) => [id, title]));
  const fromFirstStage = (source: DataSource<SearchExample>) => async () => {
    const examples =
      typeof source === "string"
        ? await readSearchFile(source)
        : typeof source === "function"
          ? await source()
          : source;
    const first = await openIndex(items, options);
    try {
      const given = {
        recommender: first,
        candidates: options.candidates,
        titleOf: (id: string) => titles.get(id) ?? "",
      };
      return await findCandidates(examples, given);
    } finally {
      await first.close();
    }
  };
  const definition = reRanking({
    data: {
      train: fromFirstStage(data.train),
      ...(data.valid === undefined ? {} : { valid: fromFirstStage(data.valid) }),
      ...(data.test === undefined ? {} : { test: fromFirstStage(data.test) }),
    },
    ...parts,
  });
  return { task: defineTask(definition) as unknown as Task<object>, openRecommender };
}
