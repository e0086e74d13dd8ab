/**
 * Chooses the rules that help: every candidate is tried on training queries with the real recommender, how many are kept
 * is decided on validation queries. What they are good for on others is measured apart, by whoever calls.
 */
import { meanOf } from "../../rl/advantage.ts";
import { searchAll } from "../../rl/search.ts";
import type { LoadedExample, Metric, Task } from "../../rl/task.ts";
import type { Hit, Recommender } from "../../recommenders/recommender.ts";
import { findCandidates, RuleSet } from "./rules.ts";
import type { FindOptions, Rule, RuleCandidate } from "./rules.ts";

/** A training query with what the policy made of it. */
export interface DistillExample {
  example: object;
  /** The user's own words. */
  query: string;
  /** The policy's query; null: it wrote none. */
  written: string | null;
}

export interface DistillOptions extends FindOptions {
  task: Task<object>;
  recommender: Recommender;
  /** Training queries that a candidate is tried on at most. Default 20. */
  maxTries?: number;
  signal: AbortSignal;
  onProgress?: (doing: string, done: number, total: number) => void;
}

/** How rules are picked from those that helped in training; decided on validation queries. */
export interface RuleChoice {
  /** Least gain. */
  minGain: number;
  /** Words of a rule at most. */
  maxWords: number;
}

export interface DistilledRules {
  rules: Rule[];
  choice: RuleChoice;
  /** Candidates that were tried, and those of them that helped on the training queries. */
  tried: number;
  helped: number;
  /** Mean of the metric on validation queries, without rules and with the rules chosen; undefined without such queries. */
  valid?: { raw: number; rules: number };
}

/** Queries searched for at once. */
const batchSize = 512;

/** Gains are drawn to 0 as if one more query had gained nothing. */
const prior = 1;

const gains = [0, 0.01, 0.02, 0.05, 0.1, 0.2];
const wordCounts = [1, 2, 3, 4];

/**
 * Rules from what a policy wrote for training queries.
 * @param valid examples that decide how many rules are kept; none: all that helped, of up to three words
 * @throws AbortError
 */
export async function distillRules(
  train: readonly DistillExample[],
  valid: readonly LoadedExample<object>[],
  options: DistillOptions,
): Promise<DistilledRules> {
  const known = train.flatMap((row) => (row.written === null ? [] : [{ ...row, written: row.written }]));
  const candidates = findCandidates(known, options);
  const score = new Scorer(options);
  const gainOf = await tryCandidates(candidates, known, score, options);
  const helping = candidates.filter((candidate) => (gainOf.get(candidate) as number) > 0);
  const withGains = helping.map((candidate) => ({ ...candidate, gain: gainOf.get(candidate) as number }));
  const shared = { tried: candidates.length, helped: helping.length };

  const rows = valid.flatMap(({ example }) => {
    const query = options.task.raw(example);
    return query === null ? [] : [{ example, query }];
  });
  if (rows.length === 0) {
    const choice = { minGain: 0, maxWords: 3 };
    return { ...shared, rules: assemble(withGains, choice), choice };
  }
  const raw = meanOf(await score.all(rows, (query) => query));
  let best: DistilledRules & { valid: { raw: number; rules: number } } = {
    ...shared,
    rules: [],
    choice: { minGain: Infinity, maxWords: 0 },
    valid: { raw, rules: raw },
  };
  const choices = gains.flatMap((minGain) => wordCounts.map((maxWords) => ({ minGain, maxWords })));
  for (const [done, choice] of choices.entries()) {
    const rules = assemble(withGains, choice);
    const set = new RuleSet(rules);
    const mean = meanOf(await score.all(rows, (query) => set.apply(query)));
    // Of choices that do equally well, the one with fewer rules is easier to look after.
    const isBetter = mean > best.valid.rules + 1e-9;
    const isSmaller = Math.abs(mean - best.valid.rules) <= 1e-9 && rules.length < best.rules.length;
    if (isBetter || isSmaller) best = { ...shared, rules, choice, valid: { raw, rules: mean } };
    options.onProgress?.("choosing rules", done + 1, choices.length);
  }
  return best;
}

type Gained = RuleCandidate & { gain: number };

/** One rule for each phrase, of its best words. */
function assemble(candidates: readonly Gained[], { minGain, maxWords }: RuleChoice): Rule[] {
  const byPhrase = new Map<string, Gained[]>();
  for (const candidate of candidates) {
    if (candidate.gain <= minGain) continue;
    const key = candidate.phrase.join(" ");
    byPhrase.set(key, [...(byPhrase.get(key) ?? []), candidate]);
  }
  return [...byPhrase.values()]
    .map((all): Rule => {
      const sorted = [...all].sort((a, b) => b.gain - a.gain || (a.word < b.word ? -1 : 1));
      const [{ phrase, keepsPhrase }] = sorted as [Gained, ...Gained[]];
      // Words that were tried in the place of the phrase say nothing of what they do beside it.
      const chosen = sorted.filter((candidate) => candidate.keepsPhrase === keepsPhrase).slice(0, maxWords);
      return {
        phrase,
        words: chosen.map(({ word }) => word),
        keepsPhrase,
        support: Math.max(...chosen.map(({ support }) => support)),
        confidence: Math.max(...chosen.map(({ confidence }) => confidence)),
        gain: (chosen[0] as Gained).gain,
      };
    })
    .sort((a, b) => b.support * b.gain - a.support * a.gain || (a.phrase.join(" ") < b.phrase.join(" ") ? -1 : 1));
}

/** Mean gain of each candidate on training queries that have its phrase. */
async function tryCandidates(
  candidates: readonly RuleCandidate[],
  train: readonly (DistillExample & { written: string })[],
  score: Scorer,
  { maxTries = 20, onProgress }: DistillOptions,
): Promise<Map<RuleCandidate, number>> {
  const found = new Map<RuleCandidate, number>();
  const atOnce = Math.max(1, Math.floor(batchSize / maxTries));
  for (let start = 0; start < candidates.length; start += atOnce) {
    const batch = candidates.slice(start, start + atOnce).map((candidate) => {
      const { phrase, word, keepsPhrase, support, confidence, queries } = candidate;
      const set = new RuleSet([{ phrase, words: [word], keepsPhrase, support, confidence, gain: 0 }]);
      // Spread over all of them: the first ones may be alike.
      const step = Math.max(1, queries.length / maxTries);
      const tries = Array.from({ length: Math.min(maxTries, queries.length) }, (_, i) => queries[Math.floor(i * step)]);
      return { candidate, rows: tries.map((index) => ({ ...(train[index as number] as DistillExample), set })) };
    });
    const rows = batch.flatMap(({ rows: own }) => own);
    const before = await score.all(rows, (query) => query);
    const after = await score.all(rows, (query, row) => row.set.apply(query));
    let at = 0;
    for (const { candidate, rows: own } of batch) {
      const sum = own.reduce((total, _, i) => total + (after[at + i] as number) - (before[at + i] as number), 0);
      at += own.length;
      found.set(candidate, sum / (own.length + prior));
    }
    onProgress?.("trying candidates", Math.min(start + atOnce, candidates.length), candidates.length);
  }
  return found;
}

/** The task's metric of queries' hits; a query on which the recommender failed counts as having found nothing. */
class Scorer {
  private readonly options: DistillOptions;

  constructor(options: DistillOptions) {
    this.options = options;
  }

  async all<Row extends { example: object; query: string }>(
    rows: readonly Row[],
    rewrite: (query: string, row: Row) => string,
  ): Promise<number[]> {
    const { task, recommender, signal } = this.options;
    const metric = task.metrics[0] as Metric<object>;
    const scores: number[] = [];
    for (let start = 0; start < rows.length; start += batchSize) {
      const batch = rows.slice(start, start + batchSize).map((row) => ({ row, text: rewrite(row.query, row) }));
      const texts = batch.map(({ text }) => text);
      const outcomes = await searchAll(recommender, texts, { topK: task.topK, signal });
      for (const { row, text } of batch) {
        const outcome = outcomes.get(text);
        const hits: Hit[] = outcome && "hits" in outcome ? outcome.hits : [];
        scores.push(metric.score({ example: row.example, hits }));
      }
    }
    return scores;
  }
}
