/** A small honest search engine over a made-up catalogue, and ways to break it. */
import { splitWords } from "../../src/core/words.ts";
import { ndcg } from "../../src/ranking/index.ts";
import type { Hit, Query, Recommender, SearchOptions } from "../../src/recommenders/recommender.ts";
import { defineTask } from "../../src/rl/task.ts";
import type { Task, TaskDefinition } from "../../src/rl/task.ts";

const [first, middle, last] = [
  ["bar", "cor", "del", "fen", "gul", "har"],
  ["amo", "evi", "iru", "obe"],
  ["nta", "rso", "lki", "mdu", "sto"],
];
const at = (list: readonly string[] | undefined, i: number): string => list?.[i % (list.length || 1)] ?? "";

/** 120 different words of letters. */
export const vocabulary = Array.from(
  { length: 120 },
  (_, i) => at(first, i) + at(middle, Math.floor(i / 6)) + at(last, Math.floor(i / 24)),
);

export interface Item {
  id: string;
  title: string;
}

/** 80 items of three words; every word is in two of them, and no two items have the same. */
export const items: Item[] = Array.from({ length: 80 }, (_, i) => ({
  id: `item-${i}`,
  title: [i, (i * 7 + 40) % 80, 80 + (i % 40)].map((n) => vocabulary[n]).join(" "),
}));

export interface Faults {
  /** What becomes of a query's text before it is split into words. */
  text?: (text: string) => string;
  /** What becomes of its words. */
  words?: (words: string[], text: string) => string[];
  /** What becomes of one query's answer. */
  hits?: (hits: Hit[], query: string, call: number) => Hit[];
  /** What becomes of all answers of a call. */
  answers?: (answers: Hit[][]) => Hit[][];
  withoutHas?: boolean;
  /** Leaves the items' texts out of the hits. */
  withoutPayload?: boolean;
}

/** Counts matching words; ties by id. */
export class BagSearch implements Recommender {
  readonly name = "bag";
  readonly has?: (id: string) => Promise<boolean>;
  /** Every query that was asked, in order. */
  readonly asked: string[] = [];
  private readonly list: readonly Item[];
  private readonly faults: Faults;
  private call = 0;

  constructor(list: readonly Item[] = items, faults: Faults = {}) {
    this.list = list;
    this.faults = faults;
    if (!faults.withoutHas) this.has = (id) => Promise.resolve(list.some((item) => item.id === id));
  }

  search(queries: readonly Query[], { topK }: SearchOptions): Promise<Hit[][]> {
    const { text: changeText, words: changeWords, hits: changeHits, answers } = this.faults;
    this.asked.push(...queries.map(({ text }) => text));
    this.call++;
    const found = queries.map(({ text }) => {
      const changed = changeText ? changeText(text) : text;
      const words = changeWords ? changeWords(splitWords(changed), changed) : splitWords(changed);
      const hits = this.list
        .map(({ id, title }): Hit => {
          const score = words.filter((word) => title.split(" ").includes(word)).length;
          return { id, score, ...(this.faults.withoutPayload ? {} : { payload: { title } }) };
        })
        .filter(({ score }) => score > 0)
        .sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1))
        .slice(0, topK);
      return changeHits ? changeHits(hits, text, this.call) : hits;
    });
    return Promise.resolve(answers ? answers(found) : found);
  }

  fingerprint(): Promise<string> {
    return Promise.resolve(`bag:${this.list.length}`);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

export interface BagExample {
  id: string;
  query: string;
  relevant: readonly string[] | Readonly<Record<string, number>>;
}

/** Examples that ask for an item by two of its words, and every fifth by one. */
export function makeExamples(from: number, to: number, name: string): BagExample[] {
  return items.slice(from, to).map(({ id, title }, i) => ({
    id: `${name}-${i}`,
    query: i % 5 === 0 ? (title.split(" ")[0] as string) : title.split(" ").slice(0, 2).join(" "),
    relevant: [id],
  }));
}

export function bagTask(extra: Partial<TaskDefinition<BagExample>> = {}): Task<BagExample> {
  return defineTask<BagExample>({
    name: "bag",
    data: {
      train: makeExamples(0, 40, "train"),
      valid: makeExamples(40, 60, "valid"),
      test: makeExamples(60, 80, "test"),
    },
    prompt: ({ query }) => `Find ${query}`,
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : -0.5),
    topK: 10,
    ...extra,
  });
}
