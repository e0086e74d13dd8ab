/**
 * What a tuned model does again and again: words of the user for which it writes other words, or which it says once more
 * to give them weight. Found by counting, from the queries alone; knows nothing of models or engines.
 */
import { distinctWords, splitWords } from "../core/words.ts";
import type { ReportSubstitution } from "./report/report-data.ts";

export interface RewrittenQuery {
  /** The user's words. */
  query: string;
  /** What the model wrote; null where its answer held no query. */
  written: string | null;
}

export interface SubstitutionOptions {
  /** At most this many are returned. Default 24. */
  limit?: number;
  /** Queries that a substitution must occur in. Default 2. */
  minCount?: number;
}

/**
 * The words that the model adds where a certain word stands (that word itself, where it says it once more), best first: ordered by count times how much the two words
 * keep to each other (Dice 1945). A word that the model adds nearly as often elsewhere doesn't count as learnt.
 */
export function findSubstitutions(
  rewrites: readonly RewrittenQuery[],
  options: SubstitutionOptions = {},
): ReportSubstitution[] {
  const { limit = 24, minCount = 2 } = options;
  const fromCounts = new Map<string, number>();
  const toCounts = new Map<string, number>();
  const pairs = new Map<string, { from: string; to: string; count: number; example: string }>();
  for (const { query, written } of rewrites) {
    if (written === null) continue;
    const asked = distinctWords(query, 2);
    const added = distinctWords(written, 2).filter((word) => !asked.some((other) => areForms(word, other)));
    const [said, saidInAll] = [countsOf(splitWords(query)), countsOf(splitWords(written))];
    const again = asked.filter((word) => (saidInAll.get(word) ?? 0) > (said.get(word) ?? 0));
    const count = (from: string, to: string): void => {
      const key = `${from}\u0000${to}`;
      const pair = pairs.get(key) ?? { from, to, count: 0, example: query };
      pair.count++;
      pairs.set(key, pair);
    };
    for (const from of asked) increment(fromCounts, from);
    for (const to of [...added, ...again]) increment(toCounts, to);
    for (const to of added) for (const from of asked) count(from, to);
    for (const word of again) count(word, word);
  }
  const strength = ({ from, to, count }: ReportSubstitution): number =>
    (count * 2 * count) / ((fromCounts.get(from) ?? 0) + (toCounts.get(to) ?? 0));
  // A word that comes as often where `from` does not stand is a habit and not a substitution.
  const total = rewrites.filter(({ written }) => written !== null).length;
  const isHabit = ({ from, to, count }: ReportSubstitution): boolean => {
    const withFrom = fromCounts.get(from) ?? 0;
    const elsewhere = ((toCounts.get(to) ?? 0) - count) / Math.max(1, total - withFrom);
    return count / withFrom < 2 * elsewhere;
  };
  return [...pairs.values()]
    .filter((pair) => pair.count >= minCount && !isHabit(pair))
    .sort((a, b) => strength(b) - strength(a) || (a.from < b.from ? -1 : 1))
    .slice(0, limit);
}

function increment(counts: Map<string, number>, word: string): void {
  counts.set(word, (counts.get(word) ?? 0) + 1);
}

function countsOf(words: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const word of words) increment(counts, word);
  return counts;
}

/** Whether two words are forms of one (`star`, `stars`), which an engine's stemmer treats alike. */
function areForms(a: string, b: string): boolean {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a];
  return a === b || (short.length >= 3 && long.startsWith(short) && long.length - short.length <= 3);
}
