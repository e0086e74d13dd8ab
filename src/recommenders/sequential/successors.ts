/**
 * The simplest next-item model: how often has an item come after another? Nothing is trained; counting takes
 * milliseconds, and where histories are few it is hard to beat. These are the sequential rules of Ludewig and Jannach
 * (2018, "Evaluation of session-based recommendation algorithms"), summed over the last items of a history.
 */
import { createHash } from "node:crypto";
import { ConfigError, DataError, RecommenderError, throwIfAborted } from "../../core/errors.ts";
import type { Interaction } from "./interactions.ts";
import { NextItems } from "./next-items.ts";

export interface SuccessorOptions {
  /** How far behind an item one still counts as its successor; d places behind, it counts 1/d. Default 5. */
  reach?: number;
  /** Last items of a history that are looked at. Default 5. */
  lookback?: number;
  /** What an item of a history weighs beside the one after it. Default 0.7. */
  decay?: number;
}

export class SuccessorModel extends NextItems {
  override readonly nothing = 0;
  readonly fingerprint: string;
  /** By item: its successors' numbers, and how much they count. */
  readonly #successors: ReadonlyMap<number, ReadonlyMap<number, number>>;
  readonly #lookback: number;
  readonly #decay: number;
  #isClosed = false;

  private constructor(
    items: readonly string[],
    successors: ReadonlyMap<number, ReadonlyMap<number, number>>,
    options: Required<SuccessorOptions>,
  ) {
    super(items);
    this.#successors = successors;
    this.#lookback = options.lookback;
    this.#decay = options.decay;
    const counts = [...successors].map(([item, counts]) => [item, [...counts]]);
    this.fingerprint = createHash("sha256")
      .update(JSON.stringify([items, counts, options]))
      .digest("hex");
  }

  /**
   * Counts what came after what. A pair counts once for each user, however many rows repeat it.
   * @param items ids of all items that can be recommended
   * @throws ConfigError on unusable options; DataError on interactions with unknown items
   */
  static count(
    items: readonly string[],
    interactions: readonly Interaction[],
    { reach = 5, lookback = 5, decay = 0.7 }: SuccessorOptions = {},
  ): SuccessorModel {
    for (const [name, value] of Object.entries({ reach, lookback })) {
      if (Number.isSafeInteger(value) && value >= 1) continue;
      throw new ConfigError(
        "CONFIG_BAD_NUMBER",
        `successors: ${name} is ${value}; expected a whole number, 1 or more.`,
      );
    }
    if (!(decay > 0 && decay <= 1)) {
      throw new ConfigError("CONFIG_BAD_NUMBER", `successors: decay is ${decay}; expected a number above 0, up to 1.`);
    }
    const numberOf = new Map(items.map((id, i) => [id, i]));
    const successors = new Map<number, Map<number, number>>();
    const seen = new Set<string>();
    interactions.forEach(({ history, target, user }, row) => {
      const sequence = [...history, target].map((id) => {
        const number = numberOf.get(id);
        if (number !== undefined) return number;
        throw new DataError(
          "DATA_UNKNOWN_ITEM",
          `successors: interaction ${row + 1} has the item "${id}", which the catalogue lacks.`,
        );
      });
      sequence.forEach((item, place) => {
        for (let distance = 1; distance <= reach && place + distance < sequence.length; distance++) {
          const next = sequence[place + distance] as number;
          const pair = `${user ?? `row ${row}`} ${item} ${next} ${distance}`;
          if (seen.has(pair)) continue;
          seen.add(pair);
          const counts = successors.get(item) ?? new Map<number, number>();
          successors.set(item, counts.set(next, (counts.get(next) ?? 0) + 1 / distance));
        }
      });
    });
    return new SuccessorModel(items, successors, { reach, lookback, decay });
  }

  /** Scores are counts: 0 where nothing tells of an item. */
  score(
    histories: readonly (readonly string[])[],
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<(Float32Array | undefined)[]> {
    if (this.#isClosed) {
      const message = "sequential: was closed; nothing can be asked of it any more.";
      return Promise.reject(new RecommenderError("RECOMMENDER_CLOSED", message));
    }
    return Promise.resolve(
      histories.map((history) => {
        throwIfAborted(signal);
        const known = history.flatMap((id) => this.numberOf(id) ?? []).slice(-this.#lookback);
        if (known.length === 0) return undefined;
        const scores = new Float32Array(this.items.length);
        known.forEach((item, place) => {
          const weight = this.#decay ** (known.length - 1 - place);
          for (const [next, count] of this.#successors.get(item) ?? []) {
            scores[next] = (scores[next] as number) + weight * count;
          }
        });
        return scores;
      }),
    );
  }

  close(): Promise<void> {
    this.#isClosed = true;
    return Promise.resolve();
  }
}
