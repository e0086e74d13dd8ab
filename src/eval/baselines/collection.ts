/**
 * Texts of the catalogue, as far as they are known: whole, from a catalogue file, or what hits have shown so far. Words,
 * their frequencies and the documents' words, for the baselines that need them. Knows nothing of search.
 */
import { splitWords } from "../../core/words.ts";
import type { Hit } from "../../recommenders/recommender.ts";

/** Texts of a hit's payload, in the order of its fields. */
export function textOfHit({ payload }: Pick<Hit, "payload">): string {
  const texts = Object.values(payload ?? {}).flatMap((value) =>
    Array.isArray(value) ? (value as unknown[]) : [value],
  );
  return texts.filter((text) => typeof text === "string").join(" ");
}

export class Collection {
  /** Whether every item is in it. */
  readonly isWhole: boolean;
  private readonly wordsById = new Map<string, ReadonlyMap<string, number>>();
  private readonly documentCounts = new Map<string, number>();

  /** @param texts of every item, by id; without them, the collection grows by {@link learn} */
  constructor(texts?: Iterable<readonly [id: string, text: string]>) {
    this.isWhole = texts !== undefined;
    for (const [id, text] of texts ?? []) this.add(id, text);
  }

  /** Takes in what hits show of their items, where the collection isn't whole. */
  learn(hits: readonly Hit[]): void {
    if (this.isWhole) return;
    for (const hit of hits) if (!this.wordsById.has(hit.id)) this.add(hit.id, textOfHit(hit));
  }

  private add(id: string, text: string): void {
    const counts = new Map<string, number>();
    for (const word of splitWords(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
    if (counts.size === 0) return;
    this.wordsById.set(id, counts);
    for (const word of counts.keys()) this.documentCounts.set(word, (this.documentCounts.get(word) ?? 0) + 1);
  }

  /** Items whose text is known. */
  get size(): number {
    return this.wordsById.size;
  }

  /** How often an item has each of its words; undefined where its text isn't known. */
  wordsOf(id: string): ReadonlyMap<string, number> | undefined {
    return this.wordsById.get(id);
  }

  /** Items that have a word. */
  documentsWith(word: string): number {
    return this.documentCounts.get(word) ?? 0;
  }

  /** Every word with the number of items that have it. */
  get vocabulary(): ReadonlyMap<string, number> {
    return this.documentCounts;
  }

  /** ln(1 + (N − n + 0.5) / (n + 0.5)), the weight of a word in BM25 (Robertson and Zaragoza 2009). */
  inverseFrequency(word: string): number {
    const n = this.documentsWith(word);
    return Math.log(1 + (this.size - n + 0.5) / (n + 0.5));
  }
}
