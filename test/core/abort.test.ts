/** Signals that stop work, and what they leave behind. */
import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { withSignals } from "../../src/core/abort.ts";

/** Rejects as soon as the signal fires. */
const untilAborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));

describe("withSignals", () => {
  it("stops the work when one of the signals fires, for that one's reason", async () => {
    const [a, b] = [new AbortController(), new AbortController()];
    const work = withSignals([a.signal, undefined, b.signal], untilAborted);
    const reason = new Error("enough");
    b.abort(reason);
    await expect(work).rejects.toBe(reason);
    expect(a.signal.aborted).toBe(false);
  });

  it("begins with a signal that has fired where one has", async () => {
    const reason = new Error("too late");
    const seen = await withSignals([AbortSignal.abort(reason)], (signal) => Promise.resolve(signal));
    expect([seen.aborted, seen.reason]).toEqual([true, reason]);
  });

  it("serves much work at once without a warning of a leak", async () => {
    const warnings: string[] = [];
    const onWarning = ({ message }: Error): void => void warnings.push(message);
    process.on("warning", onWarning);
    const long = new AbortController();
    const work = Array.from({ length: 40 }, () => withSignals([long.signal], untilAborted));
    long.abort(new Error("enough"));
    await Promise.allSettled(work);
    // Warnings are told in a later turn.
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", onWarning);
    expect(warnings).toEqual([]);
  });

  it("leaves nothing in the signals, whether the work succeeds, fails or is stopped", async () => {
    const long = new AbortController();
    const listening = (): number => getEventListeners(long.signal, "abort").length;
    await withSignals([long.signal], async () => void expect(listening()).toBe(1));
    await expect(withSignals([long.signal], () => Promise.reject(new Error("failed")))).rejects.toThrow("failed");
    const short = new AbortController();
    const stopped = withSignals([long.signal, short.signal], untilAborted);
    short.abort(new Error("stopped"));
    await expect(stopped).rejects.toThrow("stopped");
    expect(listening()).toBe(0);
    // What AbortSignal.any leaves is not among the listeners: Node keeps it in properties of its own.
    const kept = Object.getOwnPropertySymbols(long.signal).filter((symbol) => /dependant/i.test(String(symbol)));
    expect(kept).toEqual([]);
  });
});
