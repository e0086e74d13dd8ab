/** Which examples a step uses: an endless sequence of shuffled epochs, addressed by a position that can be stored. */
import { ConfigError } from "../core/errors.ts";
import { randomStream, shuffle } from "../core/random.ts";

export interface Draw<T> {
  items: T[];
  /** Where the next draw goes on. */
  cursor: number;
}

/**
 * Order of examples for a seed. Position i of the sequence is entry i mod n of the shuffle of epoch ⌊i / n⌋, so that a
 * resumed run goes on with the same examples whatever came before.
 */
export class PromptOrder<T> {
  private readonly items: readonly T[];
  private readonly address: readonly (number | string)[];
  private epoch = -1;
  private shuffled: T[] = [];

  /** @param address addresses the random numbers: seed, purpose */
  constructor(items: readonly T[], ...address: (number | string)[]) {
    this.items = items;
    this.address = address;
  }

  /**
   * The next `count` items from `cursor`, none of them twice and none of `except`: where an epoch's end is crossed,
   * items that this draw has already are passed over.
   * @throws ConfigError `TOO_FEW_EXAMPLES` when there are not so many different items
   */
  draw(cursor: number, count: number, except: ReadonlySet<T> = new Set()): Draw<T> {
    if (count + except.size > this.items.length) {
      throw new ConfigError(
        "TOO_FEW_EXAMPLES",
        `A step asks for ${count + except.size} different examples, there are ${this.items.length}. Lower promptsPerStep or add examples.`,
      );
    }
    const drawn = new Set<T>();
    while (drawn.size < count) {
      const item = this.at(cursor++);
      if (!except.has(item)) drawn.add(item);
    }
    return { items: [...drawn], cursor };
  }

  private at(position: number): T {
    const epoch = Math.floor(position / this.items.length);
    if (epoch !== this.epoch) {
      this.shuffled = shuffle(this.items, randomStream(...this.address, epoch));
      this.epoch = epoch;
    }
    return this.shuffled[position % this.items.length] as T;
  }
}
