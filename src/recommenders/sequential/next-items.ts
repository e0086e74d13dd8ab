/** What models of histories have in common: numbered items, and a score for each of them after a history. */
import { Best } from "../best.ts";
import type { Hit } from "../recommender.ts";

export abstract class NextItems {
  /** Ids of the items, by number. */
  readonly items: readonly string[];
  readonly #numbers: ReadonlyMap<string, number>;
  /** Places of items when ids are in order (code units), for ties. */
  readonly #ranks: Uint32Array;

  constructor(items: readonly string[]) {
    this.items = items;
    this.#numbers = new Map(items.map((id, i) => [id, i]));
    const order = items.map((_, i) => i).sort((a, b) => ((items[a] as string) < (items[b] as string) ? -1 : 1));
    this.#ranks = new Uint32Array(items.length);
    order.forEach((item, rank) => (this.#ranks[item] = rank));
  }

  /** Items with a score up to this are no answer. */
  readonly nothing: number = -Infinity;

  /** Changes when answers may. */
  abstract readonly fingerprint: string;

  /**
   * Scores of all items after each history: `[histories][items]`. Items that the model doesn't know are left out of
   * histories; one that is empty then gets no scores (undefined).
   * @param histories item ids, oldest first
   * @throws RecommenderError once closed; EngineError; AbortError
   */
  abstract score(
    histories: readonly (readonly string[])[],
    options?: { signal?: AbortSignal | undefined },
  ): Promise<(Float32Array | undefined)[]>;

  abstract close(): Promise<void>;

  /** Number of an item; undefined where the model doesn't know it. */
  numberOf(id: string): number | undefined {
    return this.#numbers.get(id);
  }

  /** The `topK` best of `scores [items]`, ties by id. */
  best(scores: Float32Array, topK: number): Hit[] {
    const best = new Best(topK, this.#ranks);
    for (let item = 0; item < scores.length; item++) {
      const score = scores[item] as number;
      if (score > this.nothing && score >= best.threshold) best.add(item, score);
    }
    const sorted = best.sorted();
    return sorted.places.map((item, i) => ({ id: this.items[item] as string, score: sorted.scores[i] as number }));
  }

  /** The items that most likely come next after each history; none where no item of it is known. @throws as {@link score} */
  async next(
    histories: readonly (readonly string[])[],
    options: { topK: number; signal?: AbortSignal | undefined },
  ): Promise<Hit[][]> {
    const all = await this.score(histories, options);
    return all.map((scores) => (scores ? this.best(scores, options.topK) : []));
  }
}
