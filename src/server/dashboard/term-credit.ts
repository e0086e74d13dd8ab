/** Credit by term: what a query's score loses when each of its words is left out. */
import type { Hit } from "../../recommenders/recommender.ts";
import type { TermCredit } from "./wire.ts";

/** Words of a query that are tried; more would keep the recommender busy. */
const maxTerms = 40;

/**
 * Searches for the query, and for it without each of its words.
 * @param search hits of queries, in their order
 * @param score by the metric of that name
 */
export async function creditTerms({
  query,
  metric,
  search,
  score,
}: {
  query: string;
  metric: string;
  search: (queries: readonly string[]) => Promise<(readonly Hit[])[]>;
  score: (hits: readonly Hit[]) => number;
}): Promise<TermCredit> {
  const places = [...query.matchAll(/\S+/gu)].slice(0, maxTerms).map((match) => {
    const [term] = match;
    return { term, start: match.index, end: match.index + term.length };
  });
  const without = places.map(({ start, end }) =>
    `${query.slice(0, start)} ${query.slice(end)}`.replace(/\s+/g, " ").trim(),
  );
  // A query of one word leaves nothing to search for, which finds nothing.
  const asked = [...new Set([query, ...without])].filter((text) => text !== "");
  const hits = await search(asked);
  const scoreOf = (text: string): number => score(text === "" ? [] : (hits[asked.indexOf(text)] ?? []));
  const whole = scoreOf(query);
  return {
    query,
    metric,
    score: whole,
    terms: places.map((place, i) => {
      const rest = scoreOf(without[i] as string);
      return { ...place, without: rest, credit: whole - rest };
    }),
  };
}
