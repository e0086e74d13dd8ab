/**
 * A task: which examples there are, how one becomes a prompt, how a completion becomes a query, what the answer is
 * worth. It knows neither the policy nor the recommender, so that it runs unchanged on any of them.
 */
import { DataError, RecR1Error, TaskError } from "../core/errors.ts";
import { sha256OfJson } from "../core/checksum.ts";
import { readExamples } from "../datasets/examples.ts";
import type { Example } from "../datasets/examples.ts";
import { passReport } from "../datasets/load-report.ts";
import type { ChatMessage } from "../engines/engine.ts";
import type { Relevance } from "../ranking/judgments.ts";
import { ndcg } from "../ranking/metrics.ts";
import type { Hit, Recommender } from "../recommenders/recommender.ts";
import type { ItemPicture } from "../runs/records.ts";
import { parseAnswer } from "./answer.ts";
import type { Episode } from "./episode.ts";

/** Examples: a JSON Lines file, the examples themselves, or a function that loads them. */
export type DataSource<E> = string | readonly E[] | (() => readonly E[] | Promise<readonly E[]>);

export const splitNames = ["train", "valid", "test"] as const;
export type SplitName = (typeof splitNames)[number];

/** What a reward is computed from. */
export interface Scored<E> {
  example: E;
  /** What was searched for; null: no answer could be parsed. */
  query: string | null;
  /** What was found, best first, at most `topK`; null: no answer could be parsed, so nothing was searched. */
  hits: Hit[] | null;
  /** The policy's whole completion. */
  completion: string;
  /** What the answer took, for rewards with costs; absent where answers are only compared. */
  costs?: AnswerCosts;
}

/** What an answer took. */
export interface AnswerCosts {
  /** Tokens that the policy wrote, over all turns of an episode. */
  tokens: number;
  /** Searches of the episode. */
  searches: number;
  /**
   * Milliseconds of the search: those of its batch over the batch's queries. A reward made of it is not the same in a
   * second run.
   */
  searchMs: number;
}

/** A reward, or a reward with the parts it was made of, each of which gets its own curve. */
export type Reward = number | { reward: number; parts: Record<string, number> };

/** A figure of one answer, higher is better. */
export interface Metric<E> {
  name: string;
  score(answer: { example: E; hits: readonly Hit[] }): number;
}

/** Supervised text for the optional phase before reinforcement learning. */
export interface Warmup<E extends object = object> {
  examples(context: WarmupContext<E>): readonly WarmupExample[] | Promise<readonly WarmupExample[]>;
}

/** What warm-up text may be made from. */
export interface WarmupContext<E extends object> {
  task: Task<E>;
  /** The training split. */
  train: readonly LoadedExample<E>[];
  recommender: Recommender;
  /** Share of the searches that may fail. */
  maxFailureShare: number;
  signal: AbortSignal | undefined;
  onProgress(doing: string, done: number, total: number): void;
}

export interface WarmupExample {
  messages: readonly ChatMessage[];
  completion: string;
}

/** What a user writes. */
export interface TaskDefinition<E extends object = Example> {
  name: string;
  data: { train: DataSource<E>; valid?: DataSource<E>; test?: DataSource<E> };
  /** The conversation that asks the policy for a query; a string is one user message. */
  prompt(example: E): readonly ChatMessage[] | string;
  /**
   * Called when a prompt is too long: the example made shorter (its oldest purchase left out, say), or null when it
   * can't be. Called again until the prompt fits. Default: null.
   */
  shorten?(example: E): E | null;
  /** The query in a completion, or null. Default: JSON in an `<answer>` block, else the first line. */
  parse?(completion: string, example: E): string | null;
  /**
   * A completion in the right form that `parse` reads as this query: for checks of the reward, and for a warm-up that
   * teaches the form. Default: the query itself.
   */
  write?(query: string, example: E): string;
  reward(scored: Scored<E>): Reward | Promise<Reward>;
  /** Hits asked of the recommender for each query. Default 100. */
  topK?: number;
  /** Figures of an evaluation; the first one picks the best checkpoint. Default: NDCG@10 of `example.relevant`. */
  metrics?: readonly Metric<E>[];
  /** The user's own words, searched for as they are when baselines are measured. Default: `example.query`. */
  raw?(example: E): string | null;
  warmup?: Warmup<NoInfer<E>>;
  /** Lets the policy see what a search found and search again. Default: one search. */
  episode?: Episode<E>;
  /** What people are shown of an item. Default: a title and a picture from its payload (see docs/dashboard.md). */
  show?(hit: Hit): ItemView | Promise<ItemView>;
  /** Training options that suit this task; flags, files and arguments override them. */
  config?: Readonly<Record<string, unknown>>;
}

/** An item as people see it. */
export interface ItemView {
  title?: string;
  picture?: ItemPicture;
}

/** A task with every default filled in. */
export interface Task<E extends object = Example> {
  readonly name: string;
  readonly data: TaskDefinition<E>["data"];
  prompt(example: E): readonly ChatMessage[];
  shorten(example: E): E | null;
  parse(completion: string, example: E): string | null;
  write(query: string, example: E): string;
  reward(scored: Scored<E>): Promise<{ reward: number; parts: Record<string, number> }>;
  readonly topK: number;
  readonly metrics: readonly Metric<E>[];
  raw(example: E): string | null;
  readonly warmup: Warmup<E> | undefined;
  readonly episode: Episode<E> | undefined;
  readonly show: ((hit: Hit) => ItemView | Promise<ItemView>) | undefined;
  readonly config: Readonly<Record<string, unknown>>;
}

/** What a task file's functions are given. */
export interface TaskContext {
  /** Folder of the data, as `--data` gave it; undefined without. */
  data: string | undefined;
}

/** An example with the id that records name it by. */
export interface LoadedExample<E> {
  id: string;
  example: E;
}

/** NDCG of the first `k` hits against `example.relevant`, as a task's metric `ndcg@k`. */
export function ndcgMetric(k: number): Metric<object> {
  return { name: `ndcg@${k}`, score: ({ example, hits }) => ndcg(hits, relevantOf(example), { k }) };
}

/**
 * What is relevant for an example.
 * @throws TaskError `NO_RELEVANT` when it doesn't say
 */
export function relevantOf(example: object): Relevance {
  const { relevant } = example as { relevant?: Relevance };
  if (relevant !== undefined && relevant !== null) return relevant;
  throw new TaskError(
    "NO_RELEVANT",
    "This needs example.relevant, a list of item ids or gains by id: the default metric, and the search for good queries by hindsight. Give the examples one, or the task its own `metrics`.",
  );
}

/**
 * Checks a task's definition and fills in its defaults. What the task's functions throw or return is checked at every
 * call.
 * @throws TaskError `BAD_TASK` naming the field
 */
export function defineTask<E extends object = Example>(definition: TaskDefinition<E>): Task<E> {
  const { name, topK = 100, metrics = [ndcgMetric(10)] } = definition;
  const require = (condition: boolean, field: string, expected: string): void => {
    if (!condition) throw new TaskError("BAD_TASK", `defineTask: \`${field}\` must be ${expected}.`);
  };
  require(typeof name === "string" && name.trim() !== "", "name", "a text that isn't empty");
  require(isObject(definition.data), "data", "an object with `train`, and maybe `valid` and `test`");
  for (const split of splitNames) {
    const source = definition.data[split];
    const isSource = typeof source === "string" || Array.isArray(source) || typeof source === "function";
    require(isSource ||
      (source === undefined &&
        split !== "train"), `data.${split}`, "a path, a list of examples or a function that loads them");
  }
  require(typeof definition.prompt === "function", "prompt", "a function of an example");
  require(typeof definition.reward === "function", "reward", "a function of { hits, example, query, completion }");
  require(Number.isSafeInteger(topK) && topK >= 1, "topK", "a whole number, 1 or more");
  require(Array.isArray(metrics) && metrics.length > 0, "metrics", "a list with at least one metric");
  const searches = definition.episode?.maxSearches;
  require(searches === undefined ||
    (Number.isSafeInteger(searches) && searches >= 2), "episode.maxSearches", "a whole number, 2 or more");
  return {
    name,
    data: definition.data,
    topK,
    metrics,
    warmup: definition.warmup,
    episode: definition.episode,
    show: definition.show,
    config: definition.config ?? {},
    prompt: (example) => callTask(name, "prompt", example, () => checkMessages(name, definition.prompt(example))),
    shorten: (example) => callTask(name, "shorten", example, () => definition.shorten?.(example) ?? null),
    parse: (completion, example) =>
      callTask(name, "parse", example, () => {
        const query = definition.parse ? definition.parse(completion, example) : parseAnswer(completion);
        return checkQuery(name, query);
      }),
    write: (query, example) => callTask(name, "write", example, () => definition.write?.(query, example) ?? query),
    reward: async (scored) => {
      try {
        return checkReward(name, await definition.reward(scored));
      } catch (error) {
        throw taskFault(name, "reward", scored.example, error);
      }
    },
    raw: (example) =>
      callTask(name, "raw", example, () => {
        const words = definition.raw ? definition.raw(example) : (example as { query?: unknown }).query;
        return typeof words === "string" && words.trim() !== "" ? words : null;
      }),
  };
}

/** Whether a value came from {@link defineTask} (or has the same shape). */
export function isTask(value: unknown): value is Task<object> {
  if (!isObject(value)) return false;
  const functions = ["prompt", "shorten", "parse", "reward", "raw"] as const;
  return (
    typeof value.name === "string" &&
    isObject(value.data) &&
    Array.isArray(value.metrics) &&
    functions.every((key) => typeof value[key] === "function")
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function callTask<T>(task: string, part: string, example: object, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw taskFault(task, part, example, error);
  }
}

/** What the user's code threw, with the example it was given. */
function taskFault(task: string, part: string, example: object, error: unknown): RecR1Error {
  if (error instanceof RecR1Error) return error;
  const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const shown = (JSON.stringify(example) ?? "").slice(0, 200);
  return new TaskError("TASK_THREW", `Task "${task}": \`${part}\` threw ${reason}, for the example ${shown}.`, {
    cause: error,
    details: { task, part },
  });
}

function checkMessages(task: string, value: unknown): readonly ChatMessage[] {
  if (typeof value === "string" && value.trim() !== "") return [{ role: "user", content: value }];
  const roles = ["system", "user", "assistant"];
  const isMessage = (message: unknown): boolean =>
    isObject(message) && roles.includes(message.role as string) && typeof message.content === "string";
  if (Array.isArray(value) && value.length > 0 && value.every(isMessage)) return value as ChatMessage[];
  throw new TaskError(
    "BAD_PROMPT",
    `Task "${task}": \`prompt\` returned ${(JSON.stringify(value) ?? String(value)).slice(0, 200)}; expected a text or a list of { role: "system" | "user" | "assistant", content }.`,
  );
}

function checkQuery(task: string, query: unknown): string | null {
  if (query === null || (typeof query === "string" && query.trim() === "")) return null;
  if (typeof query === "string") return query;
  throw new TaskError(
    "BAD_PARSE",
    `Task "${task}": \`parse\` returned ${(JSON.stringify(query) ?? String(query)).slice(0, 200)}; expected a text or null.`,
  );
}

function checkReward(task: string, value: unknown): { reward: number; parts: Record<string, number> } {
  const scored = typeof value === "number" ? { reward: value, parts: {} } : value;
  if (isObject(scored) && isObject(scored.parts ?? {})) {
    const parts = (scored.parts ?? {}) as Record<string, number>;
    const numbers = [scored.reward, ...Object.values(parts)];
    if (numbers.every((number) => Number.isFinite(number))) return { reward: scored.reward as number, parts };
  }
  const got = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value)).slice(0, 200);
  throw new TaskError(
    "BAD_REWARD",
    `Task "${task}": \`reward\` returned ${got}; expected a finite number, or { reward, parts } of finite numbers.`,
  );
}

/**
 * Loads one split of a task; undefined where the task has none. Examples without an `id` get `SPLIT-INDEX`.
 * @throws DataError when a file can't be read, the split is empty, or two examples have the same id
 */
export async function loadSplit<E extends object>(
  task: Task<E>,
  split: SplitName,
): Promise<LoadedExample<E>[] | undefined> {
  const source = task.data[split];
  if (source === undefined) return undefined;
  const examples: readonly E[] =
    typeof source === "string"
      ? ((await readExamples(source)) as unknown as E[])
      : typeof source === "function"
        ? await callLoader(task.name, split, source)
        : source;
  if (!Array.isArray(examples) || examples.length === 0) {
    throw new DataError("DATA_EMPTY", `Task "${task.name}": the split "${split}" has no examples.`);
  }
  const seen = new Set<string>();
  const loaded = examples.map((example: E, index) => {
    const { id: given } = example as { id?: unknown };
    const id = typeof given === "string" || typeof given === "number" ? String(given) : `${split}-${index}`;
    if (seen.has(id)) {
      throw new DataError(
        "DATA_DUPLICATE_ID",
        `Task "${task.name}", split "${split}": two examples have the id "${id}".`,
      );
    }
    seen.add(id);
    return { id, example };
  });
  passReport(examples, loaded);
  return loaded;
}

async function callLoader<E extends object>(
  task: string,
  split: SplitName,
  load: () => readonly E[] | Promise<readonly E[]>,
): Promise<readonly E[]> {
  try {
    return await load();
  } catch (error) {
    throw taskFault(task, `data.${split}`, {}, error);
  }
}

/** SHA-256 of a split's content: equal fingerprints mean equal examples in equal order. */
export function fingerprintExamples(examples: readonly LoadedExample<unknown>[]): string {
  return sha256OfJson(examples.map(({ id, example }) => [id, example]));
}
