/**
 * Presets by name in place of a task file: `product-search`, `next-item` or `re-ranking` on a folder of data, with BM25
 * over the folder's catalogue. Options follow the name: `next-item:wording=short,maxHistory=5`.
 */
import { join } from "node:path";
import { z } from "zod";
import { listOptions, resolveConfig } from "../core/config.ts";
import { ConfigError, DataError } from "../core/errors.ts";
import { suggestion } from "../core/suggest.ts";
import { selectDomain } from "../datasets/amazon-c4.ts";
import { readPurchases, selectSetting, splitPurchases, type HistorySplits } from "../datasets/amazon-reviews.ts";
import { readBeir, readTrecCollection } from "../datasets/beir.ts";
import { readEsci, type EsciLabel, type EsciOptions } from "../datasets/esci.ts";
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
  teachForm: z
    .boolean()
    .default(false)
    .describe("the warm-up (--warmup-steps) teaches the answer's form, with the user's own words as the query"),
  rewardTopK: z.number().int().min(1).optional().describe("cut of the reward's NDCG; default: the preset's"),
  index: z
    .enum(["text", "title"])
    .default("text")
    .describe("what of an item is searched: all of its text, or its title"),
  maxHistory: z
    .number()
    .int()
    .min(1)
    .optional()
    .describe("next-item: items of a history that are shown; default: 10, or all whose titles a file brings"),
  maskBought: z.boolean().default(false).describe("next-item: leave out of the hits what the user bought"),
  split: z.enum(["last-out", "time"]).default("last-out").describe("next-item: how purchases are split"),
  setting: z
    .enum(["all", "transductive", "inductive"])
    .default("all")
    .describe("next-item: held-out examples with items that training has all seen, or none of"),
  locale: z.string().default("us").describe("ESCI: locale of queries and products"),
  version: z.enum(["small", "large"]).default("large").describe("ESCI: version of the dataset"),
  labels: z.string().default("ESCI").describe("ESCI: labels that count as judged; the paper's are E"),
  pool: z
    .boolean()
    .default(false)
    .describe("ESCI: judged products that the catalogue lacks are left out, as the authors do with their pool"),
  domain: z.string().optional().describe("product search: only test queries whose first item has this category"),
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
  if (options.domain !== undefined) sources.test = await ofDomain(sources.test, folder, options.domain, options);
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

const itemsOf = new WeakMap<DataFolder, Promise<ItemRow[]>>();

/** Items in memory, once for task and index. */
async function loadItems(folder: DataFolder, { locale }: PresetOptions): Promise<ItemRow[]> {
  if (folder.items !== undefined) {
    const items = itemsOf.get(folder) ?? readItems(folder.items, { locale });
    itemsOf.set(folder, items);
    return items;
  }
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
  if (folder.isBeir) {
    const names = { train: "train", valid: "dev", test: "test" } as const;
    return fromSplits((split) => () => readBeir(folder.path, names[split]), await beirSplits(folder.path, names));
  }
  if (folder.esci !== undefined || folder.esciSplits.train !== undefined) return esciSources(folder, options);
  if (folder.topics.train !== undefined) {
    const both = (["train", "valid", "test"] as const).filter((split) => folder.topics[split] && folder.qrels[split]);
    return fromSplits(
      (split) => () => readTrecCollection(folder.topics[split] as string, folder.qrels[split] as string),
      both,
    );
  }
  const commasInIds = async (): Promise<boolean> =>
    folder.items !== undefined && (await loadItems(folder, options)).some(({ id }) => id.includes(","));
  const files = Object.entries(folder.search).map(([split, path]) => {
    const load = async (): Promise<SearchExample[]> => readSearchFile(path, { commasInIds: await commasInIds() });
    return [split, load] as const;
  });
  return Object.fromEntries(files);
}

/** As the authors have it, the first hundred queries of the training pool are for validation where no file is. */
async function esciSources(folder: DataFolder, options: PresetOptions): Promise<Sources<SearchExample>> {
  const { locale, version, pool, labels } = options;
  const given: EsciOptions = { locale, version, labels: parseLabels(labels) };
  if (pool) {
    const ids = new Set((await loadItems(folder, options)).map(({ id }) => id));
    given.hasProduct = (id) => ids.has(id);
  }
  const { esci, esciSplits } = folder;
  const read = (split: "train" | "test") => (): Promise<SearchExample[]> =>
    esciSplits[split] === undefined
      ? readEsci(esci as string, { ...given, split })
      : readEsci(esciSplits[split], given);
  const [train, test] = [read("train"), read("test")];
  const { valid } = esciSplits;
  const hasTest = esci !== undefined || esciSplits.test !== undefined;
  return {
    ...(valid === undefined
      ? { train: async () => (await train()).slice(100), valid: async () => (await train()).slice(0, 100) }
      : { train, valid: () => readEsci(valid, given) }),
    ...(hasTest ? { test } : {}),
  };
}

function parseLabels(labels: string): EsciLabel[] {
  const letters = [...labels.toUpperCase()];
  if (letters.length > 0 && letters.every((letter): letter is EsciLabel => "ESCI".includes(letter))) return letters;
  throw new ConfigError("BAD_OPTION", `labels: expected letters of ESCI, such as E or ES, got "${labels}".`);
}

/** Test examples whose first relevant item has the category. */
async function ofDomain(
  source: DataSource<SearchExample> | undefined,
  { items, path }: DataFolder,
  domain: string,
  { locale }: PresetOptions,
): Promise<DataSource<SearchExample>> {
  if (items === undefined || source === undefined) {
    throw new DataError(
      "DATA_NO_CATALOGUE",
      `${path}: domain=${domain} needs test queries and a catalogue whose items have categories.`,
    );
  }
  const categories = await readCategories(items, { locale });
  return async () => {
    const examples = selectDomain(await loadSearchExamples(source), { categories, domain });
    if (examples.length > 0) return examples;
    const known = [...new Set(categories.values())].filter((category) => category !== "");
    throw new DataError(
      "DATA_EMPTY",
      `${items}: no test query's first item has the category "${domain}".${known.length === 0 ? " The catalogue has no categories." : suggestion(domain, known.slice(0, 30))}`,
    );
  };
}

async function loadSearchExamples(source: DataSource<SearchExample>): Promise<SearchExample[]> {
  if (typeof source === "string") return readSearchFile(source);
  return [...(typeof source === "function" ? await source() : source)];
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
  const { teachForm, rewardTopK } = options;
  const warmup = teachForm ? undefined : warmupOf(folder);
  const definition = productSearch({
    data: withTrain(folder, sources, "queries with what is relevant to them"),
    ...wordingOf(options),
    teachForm,
    ...(rewardTopK === undefined ? {} : { rewardTopK }),
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
  const { maskBought, split, setting, rewardTopK, teachForm } = options;
  const shown = options.maxHistory === undefined ? {} : { maxHistory: options.maxHistory };
  let data: TaskDefinition<HistorySplits["train"][number]>["data"];
  if (folder.histories.train === undefined && folder.purchases !== undefined) {
    const parts = splitPurchases(await readPurchases(folder.purchases), { split, titles, ...shown });
    const held = (examples: HistorySplits["test"]): HistorySplits["test"] =>
      setting === "all" ? examples : selectSetting(examples, parts.train, setting);
    data = { train: parts.train, valid: held(parts.valid), test: held(parts.test) };
  } else data = withTrain(folder, folder.histories, "histories with the item bought next");
  const definition = nextItem({
    data,
    titles,
    maskBought,
    teachForm,
    ...shown,
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
    const examples = await loadSearchExamples(source);
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
