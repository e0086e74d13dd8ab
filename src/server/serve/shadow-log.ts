/** Shadow mode's comparisons as JSON lines, and what they come to. */
import { appendJsonLines } from "../../core/json-lines.ts";
import type { ShadowComparison } from "./search-service.ts";

/** Comparisons that are written at once. */
const batchSize = 50;

/** Longest time that a comparison waits to be written, in milliseconds. */
const flushMs = 2000;

export class ShadowLog {
  private readonly path: string;
  private readonly onError: (error: unknown) => void;
  private open: ShadowComparison[] = [];
  private timer: NodeJS.Timeout | undefined;
  private writing: Promise<void> = Promise.resolve();
  private count = 0;
  private tuned = 0;
  private overlap = 0;

  constructor(path: string, onError: (error: unknown) => void) {
    this.path = path;
    this.onError = onError;
  }

  readonly add = (comparison: ShadowComparison): void => {
    this.count++;
    this.overlap += comparison.overlap;
    if (comparison.source === "tuned") this.tuned++;
    this.open.push(comparison);
    if (this.open.length >= batchSize) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), flushMs);
  };

  /** One line on what was compared so far. */
  summarise(): string {
    if (this.count === 0) return "shadow mode: nothing was compared";
    const share = (part: number): string => `${((100 * part) / this.count).toFixed(0)} %`;
    return `shadow mode: ${this.count} searches compared; the policy would have answered ${share(this.tuned)}; ${share(this.overlap)} of the first ten hits in common; see ${this.path}`;
  }

  async close(): Promise<void> {
    this.flush();
    await this.writing;
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.open.length === 0) return;
    const records = this.open.splice(0);
    this.writing = this.writing.then(() => appendJsonLines(this.path, records)).catch(this.onError);
  }
}
