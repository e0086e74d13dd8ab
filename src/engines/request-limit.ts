/** Never more than so many at once; the others wait in the order in which they came. */
export class RequestLimit {
  private readonly max: number;
  private open = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(max: number) {
    this.max = max;
  }

  /** Calls `operation` when there is room for it. */
  async run<T>(operation: () => Promise<T>): Promise<T> {
    if (this.open >= this.max) await new Promise<void>((resolve) => this.waiting.push(resolve));
    else this.open++;
    try {
      return await operation();
    } finally {
      const next = this.waiting.shift();
      // The place is handed over, so that nobody slips in between.
      if (next) next();
      else this.open--;
    }
  }
}
