/**
 * Exact nearest neighbours, in memory: all vectors in one matrix, products by onnxruntime, the best picked as they come.
 * Products are done in blocks of one shape, so that a query's scores have the same bits in any company.
 */
import { createVectorProduct, type VectorProduct } from "../../encoders/vector-product.ts";
import { throwIfAborted } from "../../core/errors.ts";
import { Best } from "../best.ts";
import type { ItemStore } from "./item-store.ts";
import type { Found } from "./order-found.ts";

/** Queries of one product; fewer are filled up with zeros. */
const blockQueries = 32;
/** Items of one product. The matrix ends with zeros, up to a multiple of `padding`. */
const blockItems = 8192;
const padding = 1024;

export class ExactVectors {
  readonly #matrix: Float32Array;
  readonly #dimensions: number;
  readonly #items: ItemStore;
  readonly #product: VectorProduct;

  private constructor(matrix: Float32Array, dimensions: number, items: ItemStore, product: VectorProduct) {
    this.#matrix = matrix;
    this.#dimensions = dimensions;
    this.#items = items;
    this.#product = product;
  }

  /** An empty matrix for `rows` vectors, with the zeros at its end. */
  static allocate(rows: number, dimensions: number): Float32Array {
    return new Float32Array(Math.ceil(rows / padding) * padding * dimensions);
  }

  /** @param matrix from {@link allocate}, filled in the items' order */
  static async create(matrix: Float32Array, dimensions: number, items: ItemStore): Promise<ExactVectors> {
    return new ExactVectors(matrix, dimensions, items, await createVectorProduct());
  }

  /**
   * The `count` items of largest dot product for each of `queries` `[Q, dimensions]`, ties by id.
   * @param allowed 1 for items that may answer, by place; default all
   */
  async search(
    queries: Float32Array,
    count: number,
    options: { allowed?: Uint8Array | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<Found[]> {
    const size = this.#dimensions;
    const total = queries.length / size;
    const { ranks } = this.#items.idOrder;
    const best = Array.from({ length: total }, () => new Best(count, ranks));
    const scores = new Float32Array(blockItems * blockQueries);
    for (let item = 0; item < this.#items.size; item += blockItems) {
      const rows = this.#matrix.subarray(item * size, Math.min((item + blockItems) * size, this.#matrix.length));
      for (let query = 0; query < total; query += blockQueries) {
        throwIfAborted(options.signal);
        const block = new Float32Array(blockQueries * size);
        block.set(queries.subarray(query * size, (query + blockQueries) * size));
        const count = rows.length / size;
        const out = scores.subarray(0, count * blockQueries);
        await this.#product.multiply(rows, block, { rows: count, columns: blockQueries, size }, out);
        this.#pick(out, item, best.slice(query, query + blockQueries), options.allowed);
      }
    }
    return best.map((one) => one.sorted());
  }

  #pick(scores: Float32Array, firstItem: number, best: readonly Best[], allowed: Uint8Array | undefined): void {
    const end = Math.min(scores.length / blockQueries, this.#items.size - firstItem);
    for (let row = 0; row < end; row++) {
      const place = firstItem + row;
      if (allowed && allowed[place] === 0) continue;
      for (let q = 0; q < best.length; q++) {
        const score = scores[row * blockQueries + q] as number;
        const one = best[q] as Best;
        if (score >= one.threshold) one.add(place, score);
      }
    }
  }

  close(): Promise<void> {
    return this.#product.close();
  }
}
