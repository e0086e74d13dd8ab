/**
 * Items of an opened index, in memory: ids and payloads by LanceDB's row id. LanceDB then answers a query with row ids
 * and scores alone, which doubles the queries per second against reading columns of every hit from disk.
 */
import { RecommenderError } from "../../core/errors.ts";

export type Payload = Readonly<Record<string, unknown>>;

/** Row ids are fragment × 2^32 + offset; offsets of a fragment that was never changed have no gaps. */
const fragmentSize = 2 ** 32;

/** Ids in order of their code units: rank by place, and place by rank. So that ties are put in order by numbers. */
export interface IdOrder {
  ranks: Uint32Array;
  places: Uint32Array;
}

export class ItemStore {
  readonly #ids: string[] = [];
  /** JSON of payloads, parsed when a hit first needs it. */
  readonly #payloadJson: (string | undefined)[] = [];
  readonly #payloads: (Payload | undefined)[] = [];
  /** Fragment → index of its first row. */
  readonly #fragmentStarts = new Map<number, number>();
  #idSet: Set<string> | undefined;
  #idOrder: IdOrder | undefined;

  get size(): number {
    return this.#ids.length;
  }

  /**
   * Adds the next row of a scan in row-id order.
   * @throws RecommenderError when row ids have gaps, which an index that only we wrote never has.
   */
  add(rowId: number, id: string, payloadJson: string): void {
    const fragment = Math.floor(rowId / fragmentSize);
    const offset = rowId % fragmentSize;
    const start = this.#fragmentStarts.get(fragment);
    if (start === undefined && offset === 0) this.#fragmentStarts.set(fragment, this.#ids.length);
    else if (start === undefined || start + offset !== this.#ids.length) {
      throw new RecommenderError(
        "RECOMMENDER_INDEX_CHANGED",
        `lancedb: the index has gaps at row ${rowId}: another program changed it. Delete its folder; it is rebuilt.`,
      );
    }
    this.#ids.push(id);
    this.#payloadJson.push(payloadJson);
  }

  /** Place of a row in the catalogue, from 0. @throws RecommenderError when there is no such row. */
  indexOf(rowId: number): number {
    const index = (this.#fragmentStarts.get(Math.floor(rowId / fragmentSize)) ?? NaN) + (rowId % fragmentSize);
    if (index < this.#ids.length) return index;
    throw new RecommenderError("RECOMMENDER_BAD_ANSWER", `lancedb: answered with row ${rowId}, which isn't there.`);
  }

  /** Id of the item at a place. */
  idAt(index: number): string {
    return this.#ids[index] as string;
  }

  /** Payload of the item at a place; the same object every time. */
  payloadAt(index: number): Payload {
    const known = this.#payloads[index];
    if (known) return known;
    const payload = Object.freeze(JSON.parse(this.#payloadJson[index] ?? "{}") as Record<string, unknown>);
    this.#payloads[index] = payload;
    this.#payloadJson[index] = undefined;
    return payload;
  }

  /** The order of all ids, made when first needed. */
  get idOrder(): IdOrder {
    if (this.#idOrder) return this.#idOrder;
    const places = Uint32Array.from(this.#ids.keys());
    places.sort((a, b) => (this.idAt(a) < this.idAt(b) ? -1 : 1));
    const ranks = new Uint32Array(places.length);
    places.forEach((place, rank) => (ranks[place] = rank));
    this.#idOrder = { ranks, places };
    return this.#idOrder;
  }

  has(id: string): boolean {
    this.#idSet ??= new Set(this.#ids);
    return this.#idSet.has(id);
  }
}
