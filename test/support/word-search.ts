/** A recommender in memory: items are words, a query finds the items whose words it has, most matches first. */
import { RecommenderError, throwIfAborted } from "../../src/core/errors.ts";
import type { Hit, Query, Recommender, SearchOptions } from "../../src/recommenders/recommender.ts";

export class WordSearch implements Recommender {
  readonly name = "word-search";
  /** Queries for which the search fails. */
  readonly broken = new Set<string>();
  readonly calls: string[][] = [];
  private readonly items: Record<string, string>;

  /** @param items text by id */
  constructor(items: Record<string, string>) {
    this.items = items;
  }

  async search(queries: readonly Query[], { topK, signal }: SearchOptions): Promise<Hit[][]> {
    throwIfAborted(signal);
    await Promise.resolve();
    this.calls.push(queries.map(({ text }) => text));
    const bad = queries.find(({ text }) => this.broken.has(text) || this.broken.has("*"));
    if (bad) throw new RecommenderError("DOWN", `no answer to "${bad.text}"`, { retryable: true });
    return queries.map(({ text }) => {
      const words = new Set(text.split(" "));
      return Object.entries(this.items)
        .map(([id, title]) => ({ id, score: title.split(" ").filter((word) => words.has(word)).length }))
        .filter(({ score }) => score > 0)
        .sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1))
        .slice(0, topK);
    });
  }

  async fingerprint(): Promise<string> {
    return Promise.resolve(JSON.stringify(this.items));
  }

  async has(id: string): Promise<boolean> {
    return Promise.resolve(Object.hasOwn(this.items, id));
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }
}
