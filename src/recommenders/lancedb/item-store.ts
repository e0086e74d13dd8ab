/**
 * Items of an opened index, in memory: ids and payloads by LanceDB's row id. LanceDB then answers a query with row ids
 * and scores alone, which doubles the queries per second against reading columns of every hit from disk.
 */
import { RecommenderError } from "../../core/errors.ts";

export type Payload = Readonly<Record<string, unknown>>;

/** Row ids are fragment × 2^32 + offset; offsets of a fragment that was never changed have no gaps. */
const fragmentSize = 2 ** 32;

export class ItemStore {
  readonly #ids: string[] = [];
  /** JSON of payloads, parsed when a hit first needs it. */
  readonly #payloadJson: (string | undefined)[] = [];
  readonly #payloads: (Payload | undefined)[] = [];
  /** Fragment → index of its first row. */
  readonly #fragmentStarts = new Map<number, number>();
  #indexById: Map<string, number> | undefined;

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

  #indexOf(rowId: number): number {
    return (this.#fragmentStarts.get(Math.floor(rowId / fragmentSize)) ?? NaN) + (rowId % fragmentSize);
  }

  /** Id of a row. @throws RecommenderError when there is no such row. */
  idOf(rowId: number): string {
    const id = this.#ids[this.#indexOf(rowId)];
    if (id !== undefined) return id;
    throw new RecommenderError("RECOMMENDER_BAD_ANSWER", `lancedb: answered with row ${rowId}, which isn't there.`);
  }

  /** Payload of a row; the same object every time. */
  payloadOf(rowId: number): Payload {
    const index = this.#indexOf(rowId);
    const known = this.#payloads[index];
    if (known) return known;
    const payload = Object.freeze(JSON.parse(this.#payloadJson[index] ?? "{}") as Record<string, unknown>);
    this.#payloads[index] = payload;
    this.#payloadJson[index] = undefined;
    return payload;
  }

  has(id: string): boolean {
    this.#indexById ??= new Map(this.#ids.map((known, index) => [known, index]));
    return this.#indexById.has(id);
  }
}
