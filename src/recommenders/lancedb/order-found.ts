/** Puts what LanceDB found into a fixed order. */
import type { Table } from "apache-arrow";
import { RecommenderError } from "../../core/errors.ts";
import type { ItemStore } from "./item-store.ts";

/** An answer, best first: places in the catalogue and their scores, of the same length. */
export interface Found {
  places: number[];
  scores: number[];
}

/** Columns `_rowid` and `_score` or `_distance` of an answer, whose rows LanceDB orders by these alone. */
type Answer = Pick<Table, "batches">;

/**
 * An answer by score descending, ties by id ascending (code units).
 * @param column `_distance` is 1 − the dot product, which is then the score
 * @throws RecommenderError when the answer lacks one of its columns.
 */
export function orderFound(answer: Answer, items: ItemStore, column: "_score" | "_distance" = "_score"): Found {
  const places: number[] = [];
  const scores: number[] = [];
  for (const batch of answer.batches) {
    if (batch.numRows === 0) continue;
    const rowIds: unknown = batch.getChild("_rowid")?.toArray();
    const batchScores: unknown = batch.getChild(column)?.toArray();
    if (!(rowIds instanceof BigUint64Array) || !(batchScores instanceof Float32Array)) {
      throw new RecommenderError("RECOMMENDER_BAD_ANSWER", "lancedb: the answer lacks row ids or scores.");
    }
    for (let i = 0; i < batch.numRows; i++) {
      places.push(items.indexOf(Number(rowIds[i])));
      scores.push(column === "_score" ? (batchScores[i] as number) : 1 - (batchScores[i] as number));
    }
  }
  return sortTies(places, scores, items);
}

function sortTies(places: number[], scores: number[], items: ItemStore): Found {
  for (let start = 0; start < places.length;) {
    let end = start + 1;
    while (end < places.length && scores[end] === scores[start]) end++;
    if (end < places.length && (scores[end] as number) > (scores[start] as number)) {
      return sortTies(...sortByScore(places, scores), items);
    }
    if (end - start > 1) {
      const { ranks, places: placeByRank } = items.idOrder;
      // A typed array sorts by number and in native code; broad queries have hundreds of ties.
      const tied = new Uint32Array(end - start);
      for (let i = 0; i < tied.length; i++) tied[i] = ranks[places[start + i] as number] as number;
      tied.sort();
      for (let i = 0; i < tied.length; i++) places[start + i] = placeByRank[tied[i] as number] as number;
    }
    start = end;
  }
  return { places, scores };
}

/** For an answer that doesn't come by score. */
function sortByScore(places: number[], scores: number[]): [number[], number[]] {
  const order = places.map((place, i) => ({ place, score: scores[i] as number }));
  order.sort((a, b) => b.score - a.score);
  return [order.map(({ place }) => place), order.map(({ score }) => score)];
}
