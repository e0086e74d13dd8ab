/**
 * Whether the policy's query is predicted to do better than the user's own words, from what is known when a query is
 * answered: both queries, both answers and how sure the policy was. A ridge regression of the gain (Hoerl and Kennard
 * 1970) on nine figures, with a threshold that was chosen on the same examples; what it is good for is measured on
 * examples that it was not fitted to.
 */
import { DataError } from "../core/errors.ts";
import { randomStream, shuffle } from "../core/random.ts";
import { splitWords } from "../core/words.ts";
import type { Hit } from "../recommenders/recommender.ts";
import { meanOf, standardDeviation } from "../rl/advantage.ts";

/** Hits of an answer that are looked at, the first. */
export const gateDepth = 10;

/** What is known of a query before its answer is chosen. */
export interface RewriteOutcome {
  rawQuery: string;
  rawHits: readonly Hit[];
  query: string;
  hits: readonly Hit[];
  /** Mean log-probability of the policy's completion. */
  meanLogprob: number;
}

const logOf = (score: number): number => Math.log1p(Math.max(0, score));

/** The figures, by name. Scores are compared only with scores of the same engine, so their unit doesn't matter. */
const features: Readonly<Record<string, (outcome: RewriteOutcome) => number>> = {
  rawWords: ({ rawQuery }) => splitWords(rawQuery).length,
  addedWords: ({ rawQuery, query }) => countMissing(query, rawQuery),
  droppedWords: ({ rawQuery, query }) => countMissing(rawQuery, query),
  meanLogprob: ({ meanLogprob }) => meanLogprob,
  rawFound: ({ rawHits }) => Math.min(gateDepth, rawHits.length),
  found: ({ hits }) => Math.min(gateDepth, hits.length),
  rawTopScore: ({ rawHits }) => logOf(rawHits[0]?.score ?? 0),
  topScore: ({ hits }) => logOf(hits[0]?.score ?? 0),
  overlap: ({ rawHits, hits }) => overlapOf(rawHits, hits),
};

export const gateFeatureNames: readonly string[] = Object.keys(features);

/** What {@link calibrateGate} does with its figures; another name where that changes, so that kept gates are made anew. */
export const gateRule = "best";

/** Words of `text` that `other` lacks. */
function countMissing(text: string, other: string): number {
  const known = new Set(splitWords(other));
  return new Set(splitWords(text).filter((word) => !known.has(word))).size;
}

/** Share of the first hits that two answers have in common; 1 for two empty ones. */
export function overlapOf(a: readonly Hit[], b: readonly Hit[]): number {
  const first = new Set(a.slice(0, gateDepth).map(({ id }) => id));
  const second = b.slice(0, gateDepth);
  const most = Math.max(first.size, second.length);
  return most === 0 ? 1 : second.filter(({ id }) => first.has(id)).length / most;
}

/** What a system does to the queries of a split, against the users' own words. */
export interface GateFigures {
  /** Mean of the metric. */
  mean: number;
  /** Share of the queries that are answered with the policy's query. */
  rewritten: number;
  /** Share that score lower than with the user's own words. */
  harmed: number;
  /** Share that score higher. */
  helped: number;
}

/** A calibrated gate, as it is kept on disk. */
export interface RewriteGate {
  format: 1;
  /** Metric that was predicted. */
  metric: string;
  examples: number;
  /** In the order of {@link gateFeatureNames}. */
  features: readonly string[];
  means: readonly number[];
  deviations: readonly number[];
  /** Of standardized figures. */
  weights: readonly number[];
  intercept: number;
  /** The policy's query is used where the predicted gain is at least this; −1.8e308: everywhere. Null: nowhere. */
  threshold: number | null;
  /** Measured on examples held out by turns: no rewriting, always, and as this gate decides, fitted to the others. */
  measured: { raw: number; always: GateFigures; gated: GateFigures };
}

/** An example of the calibration: what was known, and what both answers turned out to be worth. */
export interface GateExample extends RewriteOutcome {
  rawScore: number;
  score: number;
}

/** Parts that examples are held out in. */
const folds = 5;

/** Weight of the squared coefficients, in examples: with that many the data weigh as much as the belief in no effect. */
const ridge = 5;

/** Examples below which nothing can be said. */
export const minGateExamples = 25;

/**
 * Fits a gate and measures it by cross-validation in five parts. Where rewriting always, or never, comes out better than
 * the gate on examples that it was not fitted to, it stays open, or shut.
 * @param options.metric its name, for the record
 * @param options.seed of the parts. Default 0.
 * @throws DataError `GATE_TOO_FEW` under 25 examples
 */
export function calibrateGate(
  examples: readonly GateExample[],
  { metric, seed = 0 }: { metric: string; seed?: number },
): RewriteGate {
  if (examples.length < minGateExamples) {
    throw new DataError(
      "GATE_TOO_FEW",
      `The gate needs ${minGateExamples} validation examples or more, got ${examples.length}. Give the task more of them, or serve without: --no-gate.`,
    );
  }
  const order = shuffle(examples, randomStream(seed, "rewrite-gate"));
  const decided = order.map((example, i) => ({ example, fold: i % folds }));
  const opened = new Set<GateExample>();
  for (let fold = 0; fold < folds; fold++) {
    const model = fitGate(decided.filter((entry) => entry.fold !== fold).map(({ example }) => example));
    for (const { example } of decided.filter((entry) => entry.fold === fold)) {
      if (isOpen(model, predict(model, example))) opened.add(example);
    }
  }
  const model = fitGate(examples);
  const always: GateChoice = { figures: figuresOf(examples, () => true), threshold: -Number.MAX_VALUE };
  const never: GateChoice = { figures: figuresOf(examples, () => false), threshold: null };
  let choice: GateChoice = {
    figures: figuresOf(examples, (example) => opened.has(example)),
    threshold: model.threshold,
  };
  for (const other of [always, never]) if (other.figures.mean > choice.figures.mean) choice = other;
  return {
    format: 1,
    metric,
    examples: examples.length,
    features: gateFeatureNames,
    ...model,
    threshold: choice.threshold,
    measured: { raw: never.figures.mean, always: always.figures, gated: choice.figures },
  };
}

/** A way to decide and what it comes to. */
interface GateChoice {
  figures: GateFigures;
  threshold: number | null;
}

function figuresOf(examples: readonly GateExample[], isRewritten: (example: GateExample) => boolean): GateFigures {
  const share = (test: (example: GateExample) => boolean): number => examples.filter(test).length / examples.length;
  const final = (example: GateExample): number => (isRewritten(example) ? example.score : example.rawScore);
  return {
    mean: meanOf(examples.map(final)),
    rewritten: share((example) => isRewritten(example) && example.query !== example.rawQuery),
    harmed: share((example) => final(example) < example.rawScore),
    helped: share((example) => final(example) > example.rawScore),
  };
}

type GateModel = Pick<RewriteGate, "means" | "deviations" | "weights" | "intercept" | "threshold">;

/** The gain that the policy's query is predicted to bring, in units of the metric. */
export function predictGain(gate: RewriteGate, outcome: RewriteOutcome): number {
  return predict(gate, outcome);
}

/** Whether the policy's query is to be used. */
export function opensFor(gate: RewriteGate, outcome: RewriteOutcome): boolean {
  return isOpen(gate, predict(gate, outcome));
}

const isOpen = ({ threshold }: GateModel, gain: number): boolean => threshold !== null && gain >= threshold;

function predict({ means, deviations, weights, intercept }: GateModel, outcome: RewriteOutcome): number {
  const values = valuesOf(outcome);
  return weights.reduce(
    (sum, weight, i) => sum + (weight * ((values[i] as number) - (means[i] as number))) / (deviations[i] as number),
    intercept,
  );
}

const valuesOf = (outcome: RewriteOutcome): number[] => Object.values(features).map((feature) => feature(outcome));

function fitGate(examples: readonly GateExample[]): GateModel {
  const rows = examples.map(valuesOf);
  const gains = examples.map(({ score, rawScore }) => score - rawScore);
  const columns = gateFeatureNames.map((_, i) => rows.map((row) => row[i] as number));
  const means = columns.map(meanOf);
  // A figure that never differs says nothing; any divisor will do.
  const deviations = columns.map((column) => standardDeviation(column) || 1);
  const standard = rows.map((row) => row.map((value, i) => (value - (means[i] as number)) / (deviations[i] as number)));
  const intercept = meanOf(gains);
  const matrix = gateFeatureNames.map((_, i) =>
    gateFeatureNames.map((__, j) =>
      standard.reduce((sum, row) => sum + (row[i] as number) * (row[j] as number), i === j ? ridge : 0),
    ),
  );
  const right = gateFeatureNames.map((_, i) =>
    standard.reduce((sum, row, k) => sum + (row[i] as number) * ((gains[k] as number) - intercept), 0),
  );
  const model = { means, deviations, weights: solve(matrix, right), intercept, threshold: null };
  const predicted = examples.map((example, k) => ({ at: predict(model, example), gain: gains[k] as number }));
  return { ...model, threshold: chooseThreshold(predicted) };
}

/**
 * The predicted gain from which on rewriting pays most; where several do, the highest, which rewrites least. Null where
 * none pays. It lies half-way to the next prediction below, so that it doesn't hang on one example.
 */
function chooseThreshold(predicted: readonly { at: number; gain: number }[]): number | null {
  const sorted = [...predicted].sort((a, b) => b.at - a.at);
  let [sum, best] = [0, 0];
  let threshold: number | null = null;
  sorted.forEach(({ at, gain }, i) => {
    sum += gain;
    const next = sorted[i + 1];
    if (next?.at === at || sum <= best + 1e-12) return;
    best = sum;
    threshold = next ? (at + next.at) / 2 : at - 1;
  });
  return threshold;
}

/** Solves a symmetric positive definite system by Gaussian elimination. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, right[i] as number]);
  const n = rows.length;
  for (let pivot = 0; pivot < n; pivot++) {
    const top = rows[pivot] as number[];
    for (let i = pivot + 1; i < n; i++) {
      const row = rows[i] as number[];
      const factor = (row[pivot] as number) / (top[pivot] as number);
      for (let j = pivot; j <= n; j++) row[j] = (row[j] as number) - factor * (top[j] as number);
    }
  }
  const solution = new Array<number>(n).fill(0);
  for (let i = n - 1; i >= 0; i--) {
    const row = rows[i] as number[];
    const rest = solution.reduce((sum, x, j) => (j > i ? sum + (row[j] as number) * x : sum), 0);
    solution[i] = ((row[n] as number) - rest) / (row[i] as number);
  }
  return solution;
}
