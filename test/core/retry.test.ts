import { describe, expect, it } from "vitest";
import { sleep } from "../../src/core/abort.ts";
import { AbortError, RecommenderError } from "../../src/core/errors.ts";
import { retry } from "../../src/core/retry.ts";

const flaky = (failures: number, retryable = true) => {
  let calls = 0;
  return async (): Promise<number> => {
    await Promise.resolve();
    if (++calls <= failures) throw new RecommenderError("DOWN", `failure ${calls}`, { retryable });
    return calls;
  };
};

describe("retry", () => {
  it("calls again until it succeeds, with waits that grow and are jittered", async () => {
    const delays: number[] = [];
    const result = await retry(flaky(3), {
      baseDelayMs: 4,
      maxDelayMs: 10,
      random: () => 0.5,
      onRetry: ({ delayMs }) => delays.push(delayMs),
    });
    expect(result).toBe(4);
    expect(delays).toEqual([2, 4, 5]);
  });

  it("gives up after the last attempt, with the last error", async () => {
    await expect(retry(flaky(9), { attempts: 3, baseDelayMs: 1 })).rejects.toThrow("failure 3");
  });

  it("does not repeat what can't succeed", async () => {
    await expect(retry(flaky(1, false))).rejects.toThrow("failure 1");
  });

  it("waits as long as the other side asks, up to the bound", async () => {
    const delays: number[] = [];
    const delayAsked = () => 15;
    await retry(flaky(1), { baseDelayMs: 1, delayAsked, onRetry: ({ delayMs }) => delays.push(delayMs) });
    expect(delays).toEqual([15]);
  });

  it("stops waiting when asked to stop", async () => {
    const controller = new AbortController();
    const attempt = retry(flaky(9), {
      baseDelayMs: 60_000,
      random: () => 1,
      maxDelayMs: 60_000,
      signal: controller.signal,
    });
    setTimeout(() => controller.abort(), 5);
    await expect(attempt).rejects.toBeInstanceOf(AbortError);
  });
});

describe("sleep", () => {
  it("rejects at once when it was stopped before", async () => {
    await expect(sleep(60_000, AbortSignal.abort())).rejects.toBeInstanceOf(AbortError);
  });
});
