/**
 * Rules instead of a model: a phrase of the user's, and the words that are searched for with it or in its place. Counted in
 * what a policy wrote; applied as Solr's synonym filter does, from left to right, the longest phrase first.
 */
import { splitWords } from "../../core/words.ts";

export interface Rule {
  /** Words of the user's, in a row. */
  phrase: readonly string[];
  /** Searched for besides. */
  words: readonly string[];
  /** Whether the phrase itself is searched for, too; false: the words take its place. */
  keepsPhrase: boolean;
  /** Training queries with the phrase for which the policy wrote one of the words. */
  support: number;
  /** Support as a share of the training queries with the phrase. */
  confidence: number;
  /** Mean gain of the metric on training queries with the phrase, drawn to 0 where there are few of them. */
  gain: number;
}

/** One query and what the policy made of it. */
export interface ObservedRewrite {
  query: string;
  written: string;
}

/** A phrase with one word that the policy writes where it stands. */
export interface RuleCandidate {
  phrase: readonly string[];
  word: string;
  keepsPhrase: boolean;
  support: number;
  confidence: number;
  /** Indices of the queries that have the phrase. */
  queries: readonly number[];
}

export interface FindOptions {
  /** Longest phrase, in words. Default 3. */
  maxPhraseWords?: number;
  /** Queries in which the policy has to write a word for a phrase. Default 2. */
  minSupport?: number;
  /** Share of the queries with the phrase in which it has to. Default 0.1. */
  minConfidence?: number;
  /** Candidates returned at most, those with the largest support × confidence. Default 4000. */
  maxCandidates?: number;
}

/** Phrases of up to `maxWords` words, each once. */
function phrasesOf(words: readonly string[], maxWords: number): string[][] {
  const phrases = new Map<string, string[]>();
  for (let start = 0; start < words.length; start++) {
    for (let end = start + 1; end <= Math.min(words.length, start + maxWords); end++) {
      const phrase = words.slice(start, end);
      phrases.set(phrase.join(" "), phrase);
    }
  }
  return [...phrases.values()];
}

/**
 * What the policy writes where a phrase stands, as candidates for rules. A phrase that the policy mostly leaves out gives
 * a candidate that takes its place besides the one that is added to it.
 */
export function findCandidates(rewrites: readonly ObservedRewrite[], options: FindOptions = {}): RuleCandidate[] {
  const { maxPhraseWords = 3, minSupport = 2, minConfidence = 0.1, maxCandidates = 4000 } = options;
  interface Seen {
    phrase: string[];
    queries: number[];
    /** Queries in whose rewrite none of the phrase's words is left. */
    dropped: number;
    added: Map<string, number>;
  }
  const seen = new Map<string, Seen>();
  rewrites.forEach(({ query, written }, index) => {
    const asked = splitWords(query);
    const wrote = new Set(splitWords(written));
    const added = [...wrote].filter((word) => !asked.includes(word));
    for (const phrase of phrasesOf(asked, maxPhraseWords)) {
      const key = phrase.join(" ");
      const entry = seen.get(key) ?? { phrase, queries: [], dropped: 0, added: new Map<string, number>() };
      seen.set(key, entry);
      entry.queries.push(index);
      if (wrote.size > 0 && !phrase.some((word) => wrote.has(word))) entry.dropped++;
      for (const word of added) entry.added.set(word, (entry.added.get(word) ?? 0) + 1);
    }
  });
  const candidates: RuleCandidate[] = [];
  for (const { phrase, queries, dropped, added } of seen.values()) {
    for (const [word, support] of added) {
      const confidence = support / queries.length;
      if (support < minSupport || confidence < minConfidence) continue;
      const shared = { phrase, word, support, confidence, queries };
      candidates.push({ ...shared, keepsPhrase: true });
      if (2 * dropped >= queries.length) candidates.push({ ...shared, keepsPhrase: false });
    }
  }
  const strength = ({ support, confidence }: RuleCandidate): number => support * confidence;
  const textOf = ({ phrase, word, keepsPhrase }: RuleCandidate): string => `${phrase.join(" ")} ${word} ${keepsPhrase}`;
  return candidates
    .sort((a, b) => strength(b) - strength(a) || (textOf(a) < textOf(b) ? -1 : 1))
    .slice(0, maxCandidates);
}

/** Rules by phrase, ready to be applied. */
export class RuleSet {
  private readonly byPhrase: ReadonlyMap<string, Rule>;
  private readonly longest: number;

  /** @param rules one for each phrase */
  constructor(rules: readonly Rule[]) {
    this.byPhrase = new Map(rules.map((rule) => [rule.phrase.join(" "), rule]));
    this.longest = Math.max(1, ...rules.map(({ phrase }) => phrase.length));
  }

  /**
   * The query with the words that rules add, and without phrases that they replace; as it was where no rule has its
   * phrase. Added words stand at the end, each once.
   */
  apply(query: string): string {
    const words = splitWords(query);
    const dropped = new Set<number>();
    const added: string[] = [];
    for (let start = 0; start < words.length;) {
      let length = Math.min(this.longest, words.length - start);
      let rule: Rule | undefined;
      for (; length > 0; length--) {
        rule = this.byPhrase.get(words.slice(start, start + length).join(" "));
        if (rule) break;
      }
      if (rule && !rule.keepsPhrase) for (let i = 0; i < length; i++) dropped.add(start + i);
      added.push(...(rule?.words ?? []));
      start += Math.max(1, length);
    }
    const own = new Set(words);
    const more = [...new Set(added)].filter((word) => !own.has(word));
    if (dropped.size === 0) return more.length === 0 ? query : [query, ...more].join(" ");
    return [...words.filter((_, i) => !dropped.has(i)), ...new Set(added)].join(" ");
  }
}
