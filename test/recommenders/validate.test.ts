import { describe, expect, it } from "vitest";
import { RecommenderError } from "../../src/core/errors.ts";
import { fromFunction, type SearchFunction } from "../../src/recommenders/function/index.ts";
import { validateAnswers, validateHits } from "../../src/recommenders/validate.ts";

const query = { text: "red pen" };

describe("validateHits", () => {
  it("passes an answer on as it is", () => {
    const hits = [{ id: "a", score: 2, payload: { title: "A" } }, { id: "b", score: 2 }, { id: "c", score: -1 }]; // prettier-ignore
    expect(validateHits("x", query, hits, 3)).toBe(hits);
    expect(validateHits("x", query, [], 3)).toEqual([]);
  });

  it("names recommender, query and fault of every lie", () => {
    const cases: [unknown, string][] = [
      [undefined, "gave undefined; expected a list of hits"],
      ["<html>", 'gave "<html>"; expected a list of hits'],
      [[{ id: "a", score: 1 }, null], "hit 2 is null; expected {id, score}"],
      [[{ score: 1 }], "hit 1 has the id undefined; expected a string that isn't empty"],
      [[{ id: 7, score: 1 }], "hit 1 has the id 7; expected a string that isn't empty"],
      [[{ id: "", score: 1 }], 'hit 1 has the id ""; expected a string that isn\'t empty'],
      [[{ id: "a", score: NaN }], 'hit 1 ("a") has the score NaN; expected a finite number'],
      [[{ id: "a", score: "1" }], 'hit 1 ("a") has the score "1"; expected a finite number'],
      [[{ id: "a" }], 'hit 1 ("a") has the score undefined; expected a finite number'],
      [
        [
          { id: "a", score: 2 },
          { id: "a", score: 1 },
        ],
        'hits 1 and 2 are both "a"; expected each item once',
      ],
      [
        [
          { id: "a", score: 1 },
          { id: "b", score: 2 },
        ],
        'hit 2 ("b") scores 2, more than 1 before it; expected best first',
      ],
      [["a", "b", "c", "d"], "gave 4 hits; asked for at most 3"],
    ];
    for (const [hits, fault] of cases) {
      let error: unknown;
      try {
        validateHits("shop", query, hits, 3);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(RecommenderError);
      expect(error).toMatchObject({
        code: "RECOMMENDER_BAD_ANSWER",
        message: `shop: to the query "red pen": ${fault}.`,
        retryable: false,
      });
    }
  });

  it("wants one list for each query", () => {
    expect(() => validateAnswers("shop", [query, query], [[]], 3)).toThrowError(/gave 1 lists to 2 queries/);
    expect(() => validateAnswers("shop", [query], null, 3)).toThrowError(/gave null to 1 queries/);
  });
});

describe("fromFunction", () => {
  const ask = (search: SearchFunction, signal?: AbortSignal) =>
    fromFunction(search, { name: "shop" }).search([query], signal ? { topK: 3, signal } : { topK: 3 });

  it("hands over queries, topK and signal; takes answers with and without a promise", async () => {
    const { signal } = new AbortController();
    const seen: unknown[] = [];
    const answer = await ask((queries, options) => {
      seen.push(queries, options);
      return [[{ id: "a", score: 1 }]];
    }, signal);
    expect(answer).toEqual([[{ id: "a", score: 1 }]]);
    expect(seen).toEqual([[query], { topK: 3, signal }]);
  });

  it("turns what the function throws into a failure of the recommender that may be retried", async () => {
    const cause = new Error("connection refused");
    await expect(ask(() => Promise.reject(cause))).rejects.toMatchObject({
      code: "RECOMMENDER_FAILED",
      message: "shop: connection refused",
      retryable: true,
      cause,
    });
    await expect(ask(() => Promise.reject(new DOMException("x", "AbortError")))).rejects.toMatchObject({
      code: "RECOMMENDER_FAILED",
    });
    const own = new RecommenderError("MINE", "no such index", { status: 404 });
    await expect(ask(() => Promise.reject(own))).rejects.toBe(own);
    await expect(ask((() => undefined) as never)).rejects.toMatchObject({ code: "RECOMMENDER_BAD_ANSWER" });
  });

  it("doesn't wait for a function that ignores the signal, but closing does", async () => {
    const controller = new AbortController();
    const events: string[] = [];
    let finish: () => void = () => undefined;
    const recommender = fromFunction(
      async () => {
        await new Promise<void>((resolve) => (finish = resolve));
        events.push("answered");
        return [[]];
      },
      { close: () => void events.push("closed") },
    );
    const search = recommender.search([query], { topK: 1, signal: controller.signal });
    controller.abort();
    await expect(search).rejects.toMatchObject({ code: "ABORTED" });
    const closing = recommender.close();
    finish();
    await closing;
    expect(events).toEqual(["answered", "closed"]);
  });

  it("has a fingerprint of its own unless it is given one", async () => {
    const one = fromFunction(() => []);
    expect(await one.fingerprint()).toBe(await one.fingerprint());
    expect(await one.fingerprint()).not.toBe(await fromFunction(() => []).fingerprint());
    expect(await fromFunction(() => [], { fingerprint: "v1" }).fingerprint()).toBe("function:v1");
    expect(one.has).toBeUndefined();
  });
});
