/**
 * The demo's task: find an icon by the words that people use for it, when only icon names are indexed. A first search
 * with the user's words shows the policy what the catalogue has; the policy writes words that the icon's name may have
 * besides; the user's words and those, with less weight, are searched for together.
 */
import { randomStream } from "../../core/random.ts";
import type { IconDataset, IconExample } from "../../datasets/icons.ts";
import type { ChatMessage } from "../../engines/engine.ts";
import { ndcg } from "../../ranking/index.ts";
import type { Hit, Recommender } from "../../recommenders/recommender.ts";
import { defineTask, type Task, type WarmupExample } from "../../rl/task.ts";

/** A query with what a first search for it, as it is, finds. */
export interface DemoExample extends IconExample {
  /** The words that the names found have besides the query's own, in alphabetical order. */
  seen: readonly string[];
  /** NDCG@10 of what was found. */
  rawScore: number;
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

/** The first hits of each query, as it is. */
async function searchFirst(
  recommender: Recommender,
  queries: readonly string[],
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<Hit[][]> {
  const found: Hit[][] = [];
  for (let start = 0; start < queries.length; start += searchBatch) {
    const batch = queries.slice(start, start + searchBatch).map((text) => ({ text }));
    found.push(...(await recommender.search(batch, { topK: seenHits, ...(signal ? { signal } : {}) })));
    onProgress?.(found.length, queries.length);
  }
  return found;
}

/** The words of the names found, those of the best hits before others, then in alphabetical order. */
function wordsOf(hits: readonly Hit[], query: string): string[] {
  const own = new Set(splitWords(query));
  const weights = new Map<string, number>();
  hits.forEach(({ id }, rank) => {
    for (const word of splitWords(id)) {
      if (!own.has(word)) weights.set(word, (weights.get(word) ?? 0) + 1 / (5 + rank));
    }
  });
  const best = [...weights].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, seenWords);
  return best.map(([word]) => word).sort();
}

/** The dataset's splits with what a first search shows. */
async function withFirstSearch(
  icons: IconDataset,
  recommender: Recommender,
  options: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<Record<"train" | "valid" | "test", DemoExample[]>> {
  const all = [...icons.train, ...icons.valid, ...icons.test];
  const found = await searchFirst(
    recommender,
    all.map(({ query }) => query),
    options,
  );
  const examples = all.map((example, i): DemoExample => {
    const hits = found[i] as Hit[];
    const rawScore = ndcg(hits, example.relevant, { k: 10 });
    return { ...example, seen: wordsOf(hits, example.query), rawScore };
  });
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
  const found = await searchFirst(
    recommender,
    gaps.map(({ given }) => given),
  );
  return gaps.map(({ given, missing }, i) => ({
    messages: promptFor(given, wordsOf(found[i] as Hit[], given)),
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
  const data = await withFirstSearch(icons, recommender, {
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
  });
  return defineTask<DemoExample>({
    name: "icons",
    data,
    prompt: ({ query, seen }) => promptFor(query, seen),
    parse: (completion, { query }) => combineWords(query, completion),
    reward: ({ hits, example }) => {
      const score = hits ? ndcg(hits, example.relevant, { k: 10 }) : 0;
      const gain = score - example.rawScore;
      return { reward: Math.max(0, gain), parts: { "ndcg@10": score, gain } };
    },
    topK: 10,
    warmup: { examples: () => makeWarmup(icons, recommender, seed) },
  });
}
