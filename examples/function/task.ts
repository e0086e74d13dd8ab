/**
 * Any function as the recommender: here one that counts words in memory.
 *
 *     rec-r1 train examples/function/task.ts --run runs/function --steps 10
 */
import { defineTask, loadIcons, ndcg } from "rec-r1";
import { fromFunction } from "rec-r1/recommenders/function";

export const recommender = async () => {
  const { catalogue } = await loadIcons();
  const icons = catalogue.map(({ id, title }) => ({ id, words: new Set(title.split(" ")) }));
  const search = (text: string, topK: number) => {
    const words = text.toLowerCase().split(/\s+/);
    return icons
      .map(({ id, words: own }) => ({ id, score: words.filter((word) => own.has(word)).length / (1 + own.size) }))
      .filter(({ score }) => score > 0)
      .sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1))
      .slice(0, topK);
  };
  return fromFunction((queries, { topK }) => queries.map(({ text }) => search(text, topK)), {
    name: "word-count",
    // Names what answers, so that a run can be resumed: count it up when the function or the catalogue changes.
    fingerprint: "icons-1",
  });
};

export const config = { maxTokens: 16, evalLimit: 100 };

export default async () =>
  defineTask({
    name: "icons-function",
    data: await loadIcons(),
    prompt: ({ query }) => `An icon is called by other words than these: ${query}\nOther words for it:`,
    parse: (completion, { query }) => `${query} ${completion.split("\n")[0]}`,
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 100 }) : 0),
    topK: 100,
  });
