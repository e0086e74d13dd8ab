/** Things that were opened one after the other, closed in the opposite order. */
export class Closing {
  private readonly opened: { close: () => Promise<void> }[] = [];

  /** Remembers `thing` and gives it back. */
  add<T extends { close: () => Promise<void> }>(thing: T): T {
    this.opened.push(thing);
    return thing;
  }

  async close(): Promise<void> {
    for (let thing = this.opened.pop(); thing; thing = this.opened.pop()) await thing.close();
  }
}
