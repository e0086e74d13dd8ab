/**
 * Pseudo-relevance feedback through a black box: the first answer's best items lend the query their words. The weights of
 * the model become repetitions of words, since a query is text and nothing else.
 */
import { countWords, splitWords } from "../../core/words.ts";
import type { Hit } from "../../recommenders/recommender.ts";
import type { Collection } from "./collection.ts";

export interface FeedbackParameters {
  /** Items of the first answer that are taken for relevant. */
  feedbackItems: number;
  /** Words that are taken from them. */
  feedbackWords: number;
  /** Weight of the query's own words, between 0 and 1. */
  ownWeight: number;
}

/** Words are dropped that more than this share of items have, as Anserini's RM3 does. */
const commonShare = 0.1;

/** Words that a query with weights is written in. */
const queryLength = 40;

/** Weights of words that sum to 1. */
type WordModel = Map<string, number>;

/**
 * RM3 (Abdul-Jaleel et al. 2004, with the relevance model of Lavrenko and Croft 2001): P(w) = λ·P(w | query) +
 * (1 − λ)·Σ P(w | item)·P(item | query), P(item | query) in proportion to the engine's scores.
 */
export function expandByRm3(
  query: string,
  hits: readonly Hit[],
  collection: Collection,
  { feedbackItems, feedbackWords, ownWeight }: FeedbackParameters,
): string {
  const items = hits.slice(0, feedbackItems).flatMap((hit) => {
    const words = collection.wordsOf(hit.id);
    return words ? [{ hit, words }] : [];
  });
  const shares = scoreShares(items.map(({ hit }) => hit));
  const relevance: WordModel = new Map();
  items.forEach(({ words }, i) => {
    const length = [...words.values()].reduce((sum, count) => sum + count, 0);
    for (const [word, count] of words) {
      if (isCommon(word, collection)) continue;
      relevance.set(word, (relevance.get(word) ?? 0) + ((shares[i] as number) * count) / length);
    }
  });
  return write(query, normalise(queryModel(query)), normalise(best(relevance, feedbackWords)), ownWeight);
}

/**
 * Rocchio (1971) with positive feedback only: the query's vector plus the mean of the items' tf-idf vectors of length 1,
 * mixed by `ownWeight`.
 */
export function expandByRocchio(
  query: string,
  hits: readonly Hit[],
  collection: Collection,
  { feedbackItems, feedbackWords, ownWeight }: FeedbackParameters,
): string {
  const centroid: WordModel = new Map();
  for (const hit of hits.slice(0, feedbackItems)) {
    const words = [...(collection.wordsOf(hit.id) ?? [])].map(
      ([word, count]) => [word, (1 + Math.log(count)) * collection.inverseFrequency(word)] as const,
    );
    const length = Math.hypot(...words.map(([, weight]) => weight));
    if (length === 0) continue;
    for (const [word, weight] of words) {
      if (!isCommon(word, collection)) centroid.set(word, (centroid.get(word) ?? 0) + weight / length);
    }
  }
  return write(query, normalise(queryModel(query)), normalise(best(centroid, feedbackWords)), ownWeight);
}

/** P(item | query) by score, shifted where scores are below 0; equal where they say nothing. */
function scoreShares(hits: readonly Hit[]): number[] {
  const lowest = Math.min(0, ...hits.map(({ score }) => score));
  const shifted = hits.map(({ score }) => (Number.isFinite(score) ? score - lowest : 0));
  const total = shifted.reduce((sum, score) => sum + score, 0);
  return shifted.map((score) => (total > 0 ? score / total : 1 / hits.length));
}

function isCommon(word: string, collection: Collection): boolean {
  // In a handful of items every word is in more than a tenth.
  return collection.size >= 50 && collection.documentsWith(word) > commonShare * collection.size;
}

function queryModel(query: string): WordModel {
  const counts: WordModel = new Map();
  for (const word of splitWords(query)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

/** The heaviest words; ties by code units, so that the same hits always give the same query. */
function best(model: WordModel, limit: number): WordModel {
  return new Map([...model].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, limit));
}

function normalise(model: WordModel): WordModel {
  const total = [...model.values()].reduce((sum, weight) => sum + weight, 0);
  return new Map([...model].map(([word, weight]) => [word, total > 0 ? weight / total : 0]));
}

/**
 * The mixed model as text: every word as often as its weight says, in a query of about {@link queryLength} words. The
 * query's own words come at least once; without feedback the query is what it was.
 */
function write(query: string, own: WordModel, feedback: WordModel, ownWeight: number): string {
  if (feedback.size === 0) return query;
  const mixed: WordModel = new Map();
  for (const [word, weight] of own) mixed.set(word, ownWeight * weight);
  for (const [word, weight] of feedback) mixed.set(word, (mixed.get(word) ?? 0) + (1 - ownWeight) * weight);
  const length = Math.max(queryLength, 2 * countWords(query));
  const words: string[] = [];
  for (const [word, weight] of mixed) {
    const repetitions = Math.max(own.has(word) ? 1 : 0, Math.round(weight * length));
    words.push(...Array<string>(repetitions).fill(word));
  }
  return words.join(" ");
}
