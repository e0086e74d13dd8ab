/** Items by how many of a query's different words their titles have: a search engine small enough to be obvious. */
export interface TitledItem {
  id: string;
  title: string;
}

export interface WordIndex {
  ids: ReadonlySet<string>;
  /** Best first, ties by id. */
  search(text: string, topK: number): { id: string; score: number; title: string }[];
}

export function indexWords(items: readonly TitledItem[]): WordIndex {
  const titles = items.map(({ id, title }) => ({ id, title, words: title.split(" ") }));
  return {
    ids: new Set(items.map(({ id }) => id)),
    search(text, topK) {
      const words = new Set(text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);
      return titles
        .map(({ id, title, words: own }) => ({ id, title, score: own.filter((word) => words.has(word)).length }))
        .filter(({ score }) => score > 0)
        .sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1))
        .slice(0, topK);
    },
  };
}
