/**
 * Episodes of several searches: the policy sees what a search found and may search again. Each turn is a prompt and a
 * completion of its own, so that training and sampling need nothing new; all turns of an episode share its advantage.
 */
import { EngineError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import type { ChatMessage, Engine, Sample, SamplingParams, TokenIds } from "../engines/engine.ts";
import type { Hit, Recommender } from "../recommenders/recommender.ts";
import { encodeMessages } from "./prompt.ts";
import { searchAll } from "./search.ts";
import type { Task } from "./task.ts";

/** How a task's episodes go. */
export interface Episode<E extends object> {
  /** Searches of an episode at most, 2 or more. */
  maxSearches: number;
  /** What the policy is told after a search that isn't the last. Default: {@link showTitles}. */
  show?(answer: { example: E; query: string; hits: readonly Hit[] }): string;
  /** Which search the reward is for: the `last`, or the `best` of them. Default `last`. */
  score?: "last" | "best";
  /** Subtracted from the reward for each search after the first. Default 0. */
  costPerSearch?: number;
}

/** One completion of an episode: what was asked, what came of it. */
export interface Turn {
  promptIds: TokenIds;
  sample: Sample;
  /** What was searched for; null: nothing, which ends the episode. */
  query: string | null;
  /** Best first; null: nothing was searched, or the search failed. */
  hits: Hit[] | null;
  /** Why the search failed. */
  failure?: string;
  /** Milliseconds that the search took: those of its batch over the batch's different queries. */
  searchMs: number;
}

/** A prompt that episodes begin with. */
export interface Opening<E> {
  example: E;
  messages: readonly ChatMessage[];
  ids: TokenIds;
}

export interface PlayOptions<E extends object> {
  engine: Engine;
  recommender: Recommender;
  task: Task<E>;
  sampling: SamplingParams;
  /** Searches that may fail before the rest is given up. Default: no limit. */
  maxFailures?: number;
}

/** Titles shown of a search. */
const titlesShown = 5;

/** The first titles found, and the offer to search again. */
export function showTitles({ hits }: { hits: readonly Hit[] }): string {
  const titles = hits
    .slice(0, titlesShown)
    .map(({ id, payload }, i) => `${i + 1}. ${titleOf(payload) ?? titleOf({ title: id })}`);
  const found = titles.length > 0 ? `That search found:\n${titles.join("\n")}` : "That search found nothing.";
  return `${found}\n\nSearch again with another query in the same form, or answer DONE.`;
}

function titleOf(payload: Hit["payload"]): string | undefined {
  const texts = Object.values(payload ?? {}).filter((value) => typeof value === "string" && value !== "");
  const title = payload?.title ?? texts[0];
  // A catalogue's text is one line of the list, whatever is in it.
  return typeof title === "string"
    ? title
        .replace(/[\p{Cc}\u2028\u2029]+/gu, " ")
        .trim()
        .slice(0, 120)
    : undefined;
}

/** An episode under way. */
interface Running<E> {
  example: E;
  messages: readonly ChatMessage[];
  turns: Turn[];
}

/** Episodes played, with the seconds that sampling and searching took. */
export interface Played {
  /** `[P][n]` lists of turns, each of one turn or more. */
  turns_P_G: Turn[][][];
  seconds: { sample: number; search: number };
}

/**
 * Plays `n` episodes for each opening. An episode ends after the task's `maxSearches` (one, for a task without
 * episodes), with a turn that holds no query, on a failed search, or when the next prompt would not fit.
 * @throws AbortError, EngineError
 */
export async function playEpisodes<E extends object>(
  openings: readonly Opening<E>[],
  options: PlayOptions<E>,
): Promise<Played> {
  const { engine, task, sampling } = options;
  const seconds = { sample: 0, search: 0 };
  const timed = async <T>(part: keyof typeof seconds, work: () => Promise<T>): Promise<T> => {
    const start = performance.now();
    const result = await work();
    seconds[part] += (performance.now() - start) / 1000;
    return result;
  };
  const prompts_P = openings.map(({ ids }) => ids);
  const samples_P_G = await timed("sample", () => engine.sample(prompts_P, sampling));
  checkSamples(samples_P_G, openings.length, sampling.n);
  const running_P_G = openings.map(({ example, messages, ids }, p) =>
    (samples_P_G[p] as Sample[]).map((sample): Running<E> => ({
      example,
      messages,
      turns: [readTurn(task, example, ids, sample)],
    })),
  );
  let open = running_P_G.flat();
  await timed("search", () => searchTurns(open, options));
  for (let search = 2; search <= (task.episode?.maxSearches ?? 1); search++) {
    open = open.filter(({ turns }) => turns.at(-1)?.hits);
    const prompts = open.map((episode) => nextPrompt(episode, options));
    open = open.filter((_, i) => prompts[i] !== null);
    const fitting = prompts.filter((prompt) => prompt !== null);
    if (open.length === 0) break;
    const samples = await timed("sample", () => sampleEach(engine, fitting, sampling, search));
    open.forEach((episode, i) => {
      episode.turns.push(readTurn(task, episode.example, fitting[i] as TokenIds, samples[i] as Sample));
    });
    await timed("search", () => searchTurns(open, options));
  }
  return { turns_P_G: running_P_G.map((group) => group.map(({ turns }) => turns)), seconds };
}

function checkSamples(samples_P_G: readonly (readonly Sample[])[], prompts: number, n: number): void {
  if (samples_P_G.length === prompts && samples_P_G.every((samples) => samples.length === n)) return;
  const got = samples_P_G.map((samples) => samples.length).join(", ");
  throw new EngineError(
    "BAD_SAMPLES",
    `The engine gave ${got || "no"} completions for ${prompts} prompts of ${n} each.`,
  );
}

function readTurn<E extends object>(task: Task<E>, example: E, promptIds: TokenIds, sample: Sample): Turn {
  return { promptIds, sample, query: task.parse(sample.text, example), hits: null, searchMs: 0 };
}

/** Searches for the last turn of each episode. */
async function searchTurns<E extends object>(
  episodes: readonly Running<E>[],
  { recommender, task, sampling, maxFailures }: PlayOptions<E>,
): Promise<void> {
  const turns = episodes.map((episode) => episode.turns.at(-1) as Turn);
  const queries = turns.map(({ query }) => query).filter((query) => query !== null);
  const start = performance.now();
  const outcomes = await searchAll(recommender, queries, {
    topK: task.topK,
    ...(maxFailures === undefined ? {} : { maxFailures }),
    ...(sampling.signal ? { signal: sampling.signal } : {}),
  });
  const searchMs = (performance.now() - start) / Math.max(1, outcomes.size);
  for (const turn of turns) {
    const outcome = turn.query === null ? undefined : outcomes.get(turn.query);
    if (!outcome) continue;
    turn.searchMs = searchMs;
    if ("failure" in outcome) turn.failure = outcome.failure;
    else turn.hits = outcome.hits;
  }
}

/** The conversation so far, with what the last search found; null where it doesn't fit. */
function nextPrompt<E extends object>(
  episode: Running<E>,
  { engine, task, sampling }: PlayOptions<E>,
): number[] | null {
  const { sample, query, hits } = episode.turns.at(-1) as Turn;
  const show = task.episode?.show ?? showTitles;
  const before = episode.messages;
  const start = before.at(-1)?.role === "assistant" ? (before.at(-1) as ChatMessage).content : "";
  const told = show({ example: episode.example, query: query as string, hits: hits as Hit[] });
  episode.messages = [
    ...(start === "" ? before : before.slice(0, -1)),
    { role: "assistant", content: start + sample.text },
    { role: "user", content: told },
    ...(start === "" ? [] : [{ role: "assistant", content: start } as const]),
  ];
  const ids = encodeMessages(engine.tokenizer, episode.messages);
  return ids.length + sampling.maxTokens <= engine.contextLength ? ids : null;
}

/**
 * One sample for each prompt. Random numbers are addressed by prompt and sample, so equal prompts are sampled in calls
 * of their own with seeds of their own: otherwise they would go on alike.
 */
async function sampleEach(
  engine: Engine,
  prompts: readonly TokenIds[],
  sampling: SamplingParams,
  search: number,
): Promise<Sample[]> {
  const repeats = new Map<string, number>();
  const rounds: number[][] = [];
  prompts.forEach((ids, i) => {
    const key = ids.join(" ");
    const round = repeats.get(key) ?? 0;
    repeats.set(key, round + 1);
    (rounds[round] ??= []).push(i);
  });
  const samples: Sample[] = [];
  for (const [round, indices] of rounds.entries()) {
    const answers = await engine.sample(
      indices.map((i) => prompts[i] as TokenIds),
      { ...sampling, n: 1, seed: randomStream(sampling.seed, "turn", search, round).nextInt(2 ** 31) },
    );
    indices.forEach((i, at) => (samples[i] = answers[at]?.[0] as Sample));
  }
  return samples;
}

/** The turn that an episode is judged by when nothing tells which is best: the last that searched, else the first. */
export function lastSearch(turns: readonly Turn[]): Turn {
  return turns.findLast(({ query }) => query !== null) ?? (turns[0] as Turn);
}
