import { describe, expect, it } from "vitest";
import { sleep } from "../../src/core/abort.ts";
import { RecommenderError } from "../../src/core/errors.ts";
import { CircuitBreaker } from "../../src/recommenders/circuit-breaker.ts";
import { Gate } from "../../src/recommenders/gate.ts";
import { parseRetryAfter, statusError } from "../../src/recommenders/http-failures.ts";
import { Resilience } from "../../src/recommenders/resilience.ts";

const down = (details: Record<string, unknown> = {}): RecommenderError =>
  new RecommenderError("DOWN", "is down", { retryable: true, details });
const refusal = new RecommenderError("REFUSED", "is refused", { status: 400 });
const quick = { baseDelayMs: 1, maxDelayMs: 2 };

describe("Gate", () => {
  it("runs so many at a time, in order, and goes on after failures", async () => {
    const gate = new Gate(3);
    let now = 0;
    let most = 0;
    const ended: number[] = [];
    const work = Array.from({ length: 20 }, (_, i) =>
      gate.run(async () => {
        most = Math.max(most, ++now);
        await sleep(i % 3);
        now--;
        ended.push(i);
        if (i % 4 === 0) throw new Error(`work ${i}`);
        return i;
      }),
    );
    const results = await Promise.allSettled(work);
    expect(results.filter(({ status }) => status === "rejected")).toHaveLength(5);
    expect(most).toBe(3);
    expect(ended).toHaveLength(20);
    expect(await gate.run(() => Promise.resolve("after"))).toBe("after");
  });

  it("lets those leave who no longer wait, without giving their place away twice", async () => {
    const gate = new Gate(1);
    const first = gate.run(() => sleep(20));
    const controller = new AbortController();
    const left = gate.run(() => Promise.resolve("never"), controller.signal);
    const stays = gate.run(() => Promise.resolve("stays"));
    controller.abort();
    await expect(left).rejects.toMatchObject({ code: "ABORTED" });
    await first;
    expect(await stays).toBe("stays");
    expect(await gate.run(() => Promise.resolve(1))).toBe(1);
  });
});

describe("CircuitBreaker", () => {
  it("opens after failures in a row, lets one call through after the pause, and closes when it is answered", () => {
    let now = 0;
    const breaker = new CircuitBreaker("shop", { breakerFailures: 2, breakerCoolDownMs: 1000, now: () => now });
    const refused = (): unknown => {
      try {
        breaker.enter();
        return undefined;
      } catch (error) {
        return error;
      }
    };
    breaker.enter()("failed", down());
    breaker.enter()("answered");
    breaker.enter()("failed", down());
    breaker.enter()("failed", new Error("no route"));
    expect(refused()).toMatchObject({ code: "RECOMMENDER_CIRCUIT_OPEN", retryable: true });
    expect(String(refused())).toMatch(/shop: 2 calls in a row failed.*another 1\.0 s.*no route/);
    now = 1000;
    const probe = breaker.enter();
    expect(refused()).toBeDefined();
    probe("failed", down());
    now = 1999;
    expect(refused()).toBeDefined();
    now = 2000;
    // A probe that was stopped says nothing: the next one finds out.
    breaker.enter()("stopped");
    breaker.enter()("answered");
    expect(refused()).toBeUndefined();
  });
});

describe("Resilience", () => {
  it("tries again what may pass and gives up on what may not", async () => {
    const service = new Resilience("shop", quick);
    let calls = 0;
    expect(await service.run(() => (++calls < 3 ? Promise.reject(down()) : Promise.resolve(calls)))).toBe(3);
    calls = 0;
    await expect(service.run(() => (calls++, Promise.reject(refusal)))).rejects.toBe(refusal);
    expect(calls).toBe(1);
    await expect(service.run(() => (calls++, Promise.reject(down())))).rejects.toMatchObject({ code: "DOWN" });
    expect(calls).toBe(5);
  });

  it("waits as long as it is asked to, and fails at once where that is too long", async () => {
    const service = new Resilience("shop", { ...quick, maxRetryAfterMs: 200 });
    let calls = 0;
    const start = performance.now();
    await service.run(() => (++calls === 1 ? Promise.reject(down({ retryAfterMs: 60 })) : Promise.resolve()));
    expect(performance.now() - start).toBeGreaterThanOrEqual(59);
    calls = 0;
    await expect(service.run(() => (calls++, Promise.reject(down({ retryAfterMs: 3_600_000 }))))).rejects.toMatchObject(
      { code: "DOWN" },
    );
    expect(calls).toBe(1);
  });

  it("gives each attempt its time, also where the operation doesn't listen", async () => {
    const service = new Resilience("shop", { ...quick, timeoutMs: 20, attempts: 2 });
    const signals: AbortSignal[] = [];
    const call = service.run((signal) => {
      signals.push(signal);
      return new Promise(() => undefined);
    });
    await expect(call).rejects.toMatchObject({ code: "RECOMMENDER_TIMEOUT", retryable: true });
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
  });

  it("spares a service that is down, and asks again when the pause is over", async () => {
    let now = 0;
    const service = new Resilience("shop", { ...quick, attempts: 2, breakerFailures: 2, now: () => now });
    let calls = 0;
    const fail = () => service.run(() => (calls++, Promise.reject(down())));
    for (let i = 0; i < 2; i++) await expect(fail()).rejects.toMatchObject({ code: "DOWN" });
    expect(calls).toBe(4);
    for (let i = 0; i < 10; i++) await expect(fail()).rejects.toMatchObject({ code: "RECOMMENDER_CIRCUIT_OPEN" });
    expect(calls).toBe(4);
    now = 15_000;
    expect(await service.run(() => Promise.resolve("back"))).toBe("back");
    expect(await service.run(() => Promise.resolve("still"))).toBe("still");
  });

  it("takes refusals for answers: they open nothing", async () => {
    const service = new Resilience("shop", { ...quick, breakerFailures: 1 });
    for (let i = 0; i < 5; i++) await expect(service.run(() => Promise.reject(refusal))).rejects.toBe(refusal);
    expect(await service.run(() => Promise.resolve(1))).toBe(1);
  });

  it("stops on request while it waits, and counts that as nothing", async () => {
    const service = new Resilience("shop", {
      baseDelayMs: 60_000,
      random: () => 1,
      maxDelayMs: 60_000,
      breakerFailures: 1,
    });
    const controller = new AbortController();
    const call = service.run(() => Promise.reject(down()), controller.signal);
    setTimeout(() => controller.abort(), 5);
    await expect(call).rejects.toMatchObject({ code: "ABORTED" });
    expect(await service.run(() => Promise.resolve(1))).toBe(1);
  });

  it("refuses settings that are no numbers", () => {
    for (const bad of [{ timeoutMs: 0 }, { attempts: 1.5 }, { concurrency: -1 }, { breakerFailures: NaN }]) {
      expect(() => new Resilience("shop", bad)).toThrowError(/shop: \w+ is .*expected a whole number/);
    }
  });
});

describe("failures of HTTP", () => {
  it("reads what Retry-After may be", () => {
    const now = Date.parse("2025-06-01T12:00:00Z");
    expect(parseRetryAfter("7", now)).toBe(7000);
    expect(parseRetryAfter("Sun, 01 Jun 2025 12:00:30 GMT", now)).toBe(30_000);
    expect(parseRetryAfter("Sun, 01 Jun 2025 11:00:00 GMT", now)).toBe(0);
    for (const value of ["soon", "", undefined, 7, "-3"]) expect(parseRetryAfter(value, now) ?? 0).toBe(0);
  });

  it("tells what may pass from what may not", () => {
    const retryable = [400, 401, 403, 404, 408, 429, 500, 501, 502, 503, 504, 302].filter(
      (status) => statusError("shop", status).retryable,
    );
    expect(retryable).toEqual([429, 502, 503, 504]);
    const error = statusError("shop", 503, { retryAfter: "2", body: "<h1>Sorry</h1>\n".repeat(99) });
    expect(error).toMatchObject({ status: 503, details: { retryAfterMs: 2000 } });
    expect(error.message).toMatch(
      /^shop: answered 503 Service Unavailable: <h1>Sorry.{100,200} It asks to wait 2 s\.$/,
    );
  });
});
