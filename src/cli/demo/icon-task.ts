/**
 * The demo's task: find an icon by the words that people use for it, when only icon names are indexed. A first search
 * with the user's words shows the policy what the catalogue has; the policy writes words that the icon's name may have
 * besides; the user's words and those, with less weight, are searched for together.
 */
import { randomStream } from "../../core/random.ts";
import type { IconDataset, IconExample } from "../../datasets/icons.ts";
import type { ChatMessage } from "../../engines/engine.ts";
import { ndcg } from "../../ranking/index.ts";
import type { Recommender } from "../../recommenders/recommender.ts";
import { defineTask, type Task, type WarmupExample } from "../../rl/task.ts";

/** A query with the words that the names found by it have besides its own, in alphabetical order. */
export interface DemoExample extends IconExample {
  seen: readonly string[];
}

/** How often the user's words stand in the query, against once for the policy's: those break ties and fill gaps. */
const userWeight = 3;

/** Most words that a policy's completion adds. */
const maxAddedWords = 6;

/** How many hits of the first search are looked at, and how many of their words the policy is shown. */
const seenHits = 100;
const seenWords = 20;

/** Queries of the first search that are asked in one call. */
const searchBatch = 512;

/** Texts that the warm-up draws from. */
const warmupTexts = 1500;

/** Shares of a name's words that the warm-up leaves out, and of the gaps that get a stranger's word. */
const dropShare = 0.4;
const strangerShare = 0.6;

const systemPrompt =
  "Icon search. Pick words from the list, or find others, that the icon people ask for may have in its name.";

const splitWords = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

/** The user's words, weighted, and those that the policy added, each once: repeating a word buys it no weight. */
export function combineWords(query: string, completion: string): string {
  const own = new Set(splitWords(query));
  const added = new Set(splitWords(completion.split("\n")[0] ?? "").filter((word) => !own.has(word)));
  return [...Array<string>(userWeight).fill(query), ...[...added].slice(0, maxAddedWords)].join(" ");
}

/** For each query the words of the names that it finds, those of the best hits before others, then in alphabetical order. */
export async function collectSeenWords(
  recommender: Recommender,
  queries: readonly string[],
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<string[][]> {
  const seen: string[][] = [];
  for (let start = 0; start < queries.length; start += searchBatch) {
    const batch = queries.slice(start, start + searchBatch).map((text) => ({ text }));
    const lists = await recommender.search(batch, { topK: seenHits, ...(signal ? { signal } : {}) });
    lists.forEach((hits, i) => {
      const own = new Set(splitWords(batch[i]?.text ?? ""));
      const weights = new Map<string, number>();
      hits.forEach(({ id }, rank) => {
        for (const word of splitWords(id)) {
          if (!own.has(word)) weights.set(word, (weights.get(word) ?? 0) + 1 / (5 + rank));
        }
      });
      const best = [...weights].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, seenWords);
      seen.push(best.map(([word]) => word).sort());
    });
    onProgress?.(seen.length, queries.length);
  }
  return seen;
}

/** The dataset's splits with what a first search shows. */
export async function withSeenWords(
  icons: IconDataset,
  recommender: Recommender,
  options: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<Record<"train" | "valid" | "test", DemoExample[]>> {
  const all = [...icons.train, ...icons.valid, ...icons.test];
  const seen = await collectSeenWords(
    recommender,
    all.map(({ query }) => query),
    options,
  );
  const examples = all.map((example, i): DemoExample => ({ ...example, seen: seen[i] as string[] }));
  const validStart = icons.train.length;
  const testStart = validStart + icons.valid.length;
  return {
    train: examples.slice(0, validStart),
    valid: examples.slice(validStart, testStart),
    test: examples.slice(testStart),
  };
}

/**
 * Texts for the warm-up, made from catalogue names alone (and words that users write, without their icons): some of a
 * name's words are left out, a word that no name has may stand in the gap, and the missing words are the answer.
 */
export async function makeWarmup(
  { catalogue, train }: IconDataset,
  recommender: Recommender,
  seed: number,
): Promise<WarmupExample[]> {
  const random = randomStream(seed, "icon warm-up");
  const names = catalogue.map(({ title }) => splitWords(title));
  const known = new Set(names.flat());
  const strangers = train.flatMap(({ query }) => splitWords(query).filter((word) => !known.has(word)));
  const gaps = Array.from({ length: warmupTexts }, () => {
    const words = names[random.nextInt(names.length)] as string[];
    const isMissing = words.map(() => random.next() < dropShare);
    if (!isMissing.includes(true)) isMissing[random.nextInt(words.length)] = true;
    if (!isMissing.includes(false) && words.length > 1) isMissing[random.nextInt(words.length)] = false;
    const given: string[] = [];
    let hasStranger = false;
    words.forEach((word, i) => {
      if (!isMissing[i]) given.push(word);
      else if (!hasStranger && (words.length === 1 || random.next() < strangerShare)) {
        hasStranger = true;
        given.push(strangers[random.nextInt(strangers.length)] as string);
      }
    });
    return { given: given.join(" "), missing: words.filter((_, i) => isMissing[i]).join(" ") };
  });
  const seen = await collectSeenWords(
    recommender,
    gaps.map(({ given }) => given),
  );
  return gaps.map(({ given, missing }, i) => ({
    messages: promptFor(given, seen[i] as string[]),
    completion: missing,
  }));
}

function promptFor(query: string, seen: readonly string[]): ChatMessage[] {
  return [
    { role: "system", content: systemPrompt },
    { role: "user", content: `${seen.join(" ")}\n${query}` },
  ];
}

export interface IconTaskOptions {
  icons: IconDataset;
  recommender: Recommender;
  /** Addresses the warm-up's random numbers. */
  seed: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/**
 * The task. Its reward is the gain in NDCG@10 over the user's own words, and 0 where there is none: those words weigh
 * most in the query as it is, and a policy that is punished for every miss soon writes only what changes nothing.
 */
export async function iconTask(options: IconTaskOptions): Promise<Task<DemoExample>> {
  const { icons, recommender, seed, signal, onProgress } = options;
  const data = await withSeenWords(icons, recommender, {
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
  });
  const rawScores = await scoreRaw(data.train, recommender, signal);
  return defineTask<DemoExample>({
    name: "icons",
    data,
    prompt: ({ query, seen }) => promptFor(query, seen),
    parse: (completion, { query }) => combineWords(query, completion),
    reward: ({ hits, example }) => {
      const score = hits ? ndcg(hits, example.relevant, { k: 10 }) : 0;
      const gain = score - (rawScores.get(example.query) ?? 0);
      return { reward: Math.max(0, gain), parts: { "ndcg@10": score, gain } };
    },
    topK: 10,
    warmup: { examples: () => makeWarmup(icons, recommender, seed) },
  });
}

/** NDCG@10 of each query as it is. */
async function scoreRaw(
  examples: readonly DemoExample[],
  recommender: Recommender,
  signal: AbortSignal | undefined,
): Promise<Map<string, number>> {
  const scores = new Map<string, number>();
  for (let start = 0; start < examples.length; start += searchBatch) {
    const batch = examples.slice(start, start + searchBatch);
    const lists = await recommender.search(
      batch.map(({ query }) => ({ text: query })),
      { topK: 10, ...(signal ? { signal } : {}) },
    );
    batch.forEach(({ query, relevant }, i) => scores.set(query, ndcg(lists[i] ?? [], relevant, { k: 10 })));
  }
  return scores;
}
