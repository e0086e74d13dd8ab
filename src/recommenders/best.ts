/** The best few of many candidates, picked as they come. Knows nothing of what they are. */

/** The best of what was offered so far, by score descending, then by rank ascending. */
export class Best {
  readonly #count: number;
  readonly #ranks: Uint32Array;
  #places: number[] = [];
  #scores: number[] = [];
  /** What is below can't be among the best any more. */
  threshold = -Infinity;

  /**
   * @param count How many are wanted.
   * @param ranks Each place's rank, which settles ties.
   */
  constructor(count: number, ranks: Uint32Array) {
    this.#count = count;
    this.#ranks = ranks;
  }

  add(place: number, score: number): void {
    this.#places.push(place);
    this.#scores.push(score);
    if (this.#places.length >= 2 * this.#count + 256) this.#prune();
  }

  #prune(): void {
    const { places, scores } = this.sorted();
    this.#places = places;
    this.#scores = scores;
    if (scores.length === this.#count) this.threshold = scores.at(-1) as number;
  }

  /** Places and scores, best first, at most as many as wanted. */
  sorted(): { places: number[]; scores: number[] } {
    const order = this.#places.map((place, i) => ({ place, score: this.#scores[i] as number }));
    order.sort((a, b) => b.score - a.score || (this.#ranks[a.place] as number) - (this.#ranks[b.place] as number));
    const kept = order.slice(0, this.#count);
    return { places: kept.map(({ place }) => place), scores: kept.map(({ score }) => score) };
  }
}
