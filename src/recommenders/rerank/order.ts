/** Orders of candidates as a language model writes them. */

/**
 * Places (from 0) in the order that an answer gives them: every number from 1 to `count` at its first mention, as in
 * `[3] > [1] > [2]`, `3, 1, 2` or one a line. Null where it names none. Numbers glued to letters or with a decimal point
 * (`4K`, `2.5`) are no mention.
 */
export function parseOrder(answer: string, count: number): number[] | null {
  const places = new Set<number>();
  for (const [digits] of answer.matchAll(/(?<![\p{L}\p{N}_.-])\d+(?![\p{L}\p{N}_]|\.\d)/gu)) {
    const place = Number(digits) - 1;
    if (place >= 0 && place < count) places.add(place);
  }
  return places.size === 0 ? null : [...places];
}

/** `items` with those at `places` first, in that order, and the others after them in their own (RankGPT's rule). */
export function putFirst<T>(items: readonly T[], places: Iterable<number>): T[] {
  const first = new Set(places);
  const picked = [...first].filter((place) => place in items).map((place) => items[place] as T);
  return [...picked, ...items.filter((_, place) => !first.has(place))];
}
