/** How a recommender answers: what its calls took, and which failed. */

export interface CallSummary {
  calls: number;
  /** Queries in those calls. */
  queries: number;
  /** Calls that failed. */
  errors: number;
  /** Median milliseconds of a call, failed ones included. */
  p50Ms: number;
  /** What 95 % of the calls stay below, in milliseconds. */
  p95Ms: number;
}

/** Durations kept between two looks; of more, the figures are of the last so many. */
const maxDurations = 10_000;

export class CallFigures {
  private durations: number[] = [];
  private calls = 0;
  private queries = 0;
  private errors = 0;

  /** Times a call for so many queries. @returns what it gives; throws what it throws */
  async time<T>(queries: number, call: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await call();
    } catch (error) {
      this.errors++;
      throw error;
    } finally {
      this.durations[this.calls % maxDurations] = performance.now() - start;
      this.calls++;
      this.queries += queries;
    }
  }

  /** Figures since they were last taken; undefined where nothing was asked. */
  take(): CallSummary | undefined {
    const { calls, queries, errors } = this;
    if (calls === 0) return undefined;
    const sorted = this.durations.sort((a, b) => a - b);
    const at = (share: number): number =>
      Math.round((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number) * 100) / 100;
    this.durations = [];
    this.calls = this.queries = this.errors = 0;
    return { calls, queries, errors, p50Ms: at(0.5), p95Ms: at(0.95) };
  }
}
