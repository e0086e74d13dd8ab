/** What /search and /rewrite answer, and when the user's own words are used instead of the policy's. */
import { describe, expect, it } from "vitest";
import type { RewriteGate } from "../../../src/eval/rewrite-gate.ts";
import { gateFeatureNames } from "../../../src/eval/rewrite-gate.ts";
import { TaskError } from "../../../src/core/errors.ts";
import type { ShadowComparison } from "../../../src/server/serve/search-service.ts";
import { defineTask } from "../../../src/rl/task.ts";
import type { Task } from "../../../src/rl/task.ts";
import { makeHold, officeTask, startOffice, until } from "./start.ts";

const query = "thing that joins sheets";

describe("POST /search", () => {
  it("answers with the hits of the policy's query, and says what it was", async () => {
    const { post } = await startOffice();
    const { status, json } = await post("/search", { query, topK: 5 });
    expect(status).toBe(200);
    expect(json).toMatchObject({
      query: "stapler clip",
      source: "tuned",
      rawQuery: query,
      tunedQuery: "stapler clip",
      cached: false,
      hits: [
        { id: "clip", score: 1 },
        { id: "stapler", score: 1 },
      ],
    });
    expect(json.reason).toBeUndefined();
    expect((await post("/search", { query, topK: 1 })).json).toMatchObject({ cached: true, hits: [{ id: "clip" }] });
  });

  it.each([
    ["same", "unchanged", "same"],
    ["unheard of", "no_query", null],
    ["nonsense", "no_hits", "zzz"],
  ])("uses the user's own words where the policy has nothing better (%s)", async (words, reason, tunedQuery) => {
    const { post } = await startOffice();
    expect((await post("/search", { query: words })).json).toMatchObject({
      source: "raw",
      reason,
      query: words,
      tunedQuery,
    });
  });

  it("does not wait longer than the time limit, and has the late rewrite ready for the next", async () => {
    const { post, engine } = await startOffice({ timeLimitMs: 20 });
    const { promise, release } = makeHold();
    engine.hold = promise;
    const asked = { query: "joins sheets of paper" };
    // Without a limit of its own, so that the work is begun however slow this machine is.
    const patient = post("/rewrite", asked);
    await until(() => engine.calls.length === 1);
    const late = await post("/search", asked);
    expect(late.json).toMatchObject({ source: "raw", reason: "time_limit", hits: [{ id: "clip" }] });
    expect(late.json.tunedQuery).toBeUndefined();
    release();
    await patient;
    expect((await post("/rewrite", asked)).json).toMatchObject({ query: "stapler", cached: true });
    expect(engine.calls).toHaveLength(1);
  });

  it("leaves out work that everybody gave up before it was begun", async () => {
    const { post, engine } = await startOffice({ timeLimitMs: 20, maxBatch: 1 });
    const { promise, release } = makeHold();
    engine.hold = promise;
    const first = post("/rewrite", { query });
    await until(() => engine.calls.length === 1);
    expect((await post("/search", { query: "nonsense" })).json).toMatchObject({ reason: "time_limit" });
    release();
    await first;
    expect((await post("/rewrite", { query: "same" })).json).toMatchObject({ query: "same" });
    expect(engine.calls).toEqual([[query], ["same"]]);
  });

  it("answers requests that come together in one call, and equal ones once", async () => {
    const { post, engine } = await startOffice();
    const { promise, release } = makeHold();
    engine.hold = promise;
    const first = post("/search", { query });
    await until(() => engine.calls.length === 1);
    const words = ["joins sheets of paper", "same", "nonsense", "same"];
    const others = words.map((text) => post("/search", { query: text }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    release();
    await Promise.all([first, ...others]);
    expect(engine.calls).toEqual([[query], expect.arrayContaining(["joins sheets of paper", "same", "nonsense"])]);
    expect(engine.calls[1]).toHaveLength(3);
  });

  it("searches with the user's own words while too many wait for the model", async () => {
    const { post, engine } = await startOffice({ maxQueue: 1, maxBatch: 1 });
    const { promise, release } = makeHold();
    engine.hold = promise;
    const first = post("/search", { query });
    await until(() => engine.calls.length === 1);
    const second = post("/search", { query: "same" });
    const third = await Promise.race([post("/search", { query: "joins sheets of paper" }), second]);
    expect(third.json).toMatchObject({ source: "raw", reason: "busy" });
    release();
    expect((await first).json).toMatchObject({ source: "tuned" });
    await second;
    expect((await post("/search", { query: "joins sheets of paper" })).json).toMatchObject({ source: "tuned" });
  });

  it("survives a model that fails, for every request but those that it fails on", async () => {
    const { post, engine, errors } = await startOffice();
    const { answer } = engine;
    engine.answer = (prompt, sample) => {
      if (prompt === "same") throw new Error("out of memory");
      return answer(prompt, sample);
    };
    const replies = await Promise.all([post("/search", { query: "same" }), post("/search", { query })]);
    expect(replies.map(({ json }) => json.source)).toEqual(["raw", "tuned"]);
    expect(replies[0].json.reason).toBe("rewrite_failed");
    expect(errors).toHaveLength(1);
  });

  it("uses whichever of the two searches succeeds, and is plain about neither", async () => {
    const { post, recommender } = await startOffice();
    recommender.broken.add("stapler clip");
    expect((await post("/search", { query })).json).toMatchObject({ source: "raw", reason: "search_failed" });
    recommender.broken.clear();
    recommender.broken.add(query);
    expect((await post("/search", { query })).json).toMatchObject({ source: "tuned", hits: [{ id: "clip" }, {}] });
    recommender.broken.add("*");
    const { status, text } = await post("/search", { query });
    expect(status).toBe(502);
    expect(text).not.toMatch(/no answer to/);
  });

  it("takes a history of titles, and waits for the policy where there are no words of the user's", async () => {
    const task = defineTask<{ titles: string[]; history: string[] }>({
      name: "histories",
      data: { train: [{ titles: [], history: [] }] },
      prompt: ({ titles, history }) => `${titles.join(", ")} (${history.join(" ")})`,
      reward: () => 0,
      topK: 5,
    }) as unknown as Task<object>;
    const { post, engine } = await startOffice({ task, timeLimitMs: 1 });
    engine.answer = (prompt) => (prompt === "paper, pen (p1 pen)" ? "stapler" : "");
    engine.hold = new Promise((resolve) => setTimeout(resolve, 30));
    const history = [{ id: "p1", title: "paper" }, "pen"];
    expect((await post("/search", { history })).json).toMatchObject({
      source: "tuned",
      rawQuery: null,
      hits: [{ id: "stapler" }],
    });
    expect((await post("/search", { example: { titles: [], history: [] } })).json).toMatchObject({
      hits: [],
      query: null,
    });
  });

  it("answers by the user's words where the policy can't be asked, and says so where there are none", async () => {
    const parse = (text: string): string => { throw new TaskError("TASK_THREW", `can't parse ${text}`); }; // prettier-ignore
    const { post, errors } = await startOffice({ task: { ...officeTask, parse } });
    expect((await post("/search", { query })).json).toMatchObject({ source: "raw", reason: "rewrite_failed" });
    const long = `stapler ${"x ".repeat(1000)}`;
    expect((await post("/search", { query: long })).json).toMatchObject({
      reason: "rewrite_failed",
      hits: [{ id: "stapler" }],
    });
    expect(errors).toMatchObject([{ code: "TASK_THREW" }, { code: "PROMPT_TOO_LONG" }]);
    const wordless = await startOffice({ task: { ...officeTask, raw: () => null } });
    expect(await wordless.post("/search", { query: long })).toMatchObject({
      status: 422,
      json: { error: { code: "PROMPT_TOO_LONG" } },
    });
  });

  it("tells the caller of an example that the task can't read", async () => {
    const task = { ...officeTask, prompt: () => { throw new TaskError("TASK_THREW", "no `brand` in it"); } }; // prettier-ignore
    const { post } = await startOffice({ task });
    expect(await post("/search", { example: { query: "x" } })).toMatchObject({
      status: 422,
      json: { error: { code: "TASK_THREW", message: "no `brand` in it" } },
    });
  });
});

describe("the gate", () => {
  /** Opens where the policy's answer has little in common with the user's. */
  const gate: RewriteGate = {
    format: 1,
    metric: "ndcg@10",
    examples: 30,
    features: gateFeatureNames,
    means: gateFeatureNames.map(() => 0),
    deviations: gateFeatureNames.map(() => 1),
    weights: gateFeatureNames.map((name) => (name === "overlap" ? -1 : 0)),
    intercept: 0.25,
    threshold: 0,
    measured: {
      raw: 0.3,
      always: { mean: 0.4, rewritten: 1, harmed: 0.2, helped: 0.3 },
      gated: { mean: 0.45, rewritten: 0.5, harmed: 0.05, helped: 0.3 },
    },
  };

  it("keeps the user's words where no gain is predicted, and shows what it was calibrated to", async () => {
    const { post, get, engine } = await startOffice({ gate });
    expect((await post("/search", { query })).json).toMatchObject({ source: "tuned", predictedGain: 0.25 });
    engine.answer = () => "paper silver";
    const shut = (await post("/search", { query: "paper" })).json;
    expect(shut).toMatchObject({ source: "raw", reason: "gate", query: "paper", tunedQuery: "paper silver" });
    expect(shut.predictedGain).toBeCloseTo(-0.75, 10);
    expect((await get("/health")).json.gate).toMatchObject({ raw: 0.3, gated: { harmed: 0.05 } });
    expect((await get("/metrics")).text).toMatch(/rec_r1_gate_validation\{system="gated",figure="harmed"\} 0\.05/);
  });
});

describe("shadow mode", () => {
  it("answers with the user's words at once, and compares when the policy is there", async () => {
    const seen: ShadowComparison[] = [];
    const { post, engine, get } = await startOffice({ onShadow: (comparison) => seen.push(comparison) });
    const { promise, release } = makeHold();
    engine.hold = promise;
    const reply = await post("/search", { query: "joins sheets of paper" });
    expect(reply.json).toMatchObject({ source: "raw", reason: "shadow", hits: [{ id: "clip" }] });
    expect(seen).toEqual([]);
    release();
    await until(() => seen.length === 1);
    expect(seen[0]).toMatchObject({
      rawQuery: "joins sheets of paper",
      tunedQuery: "stapler",
      source: "tuned",
      overlap: 0,
      rawIds: ["clip"],
      tunedIds: ["stapler"],
    });
    await post("/search", { query: "unheard of" });
    await until(() => seen.length === 2);
    expect(seen[1]).toMatchObject({ source: "raw", reason: "no_query", tunedIds: [] });
    expect((await get("/metrics")).text).toMatch(/rec_r1_shadow_total\{source="tuned",reason=""\} 1/);
  });
});

describe("POST /rewrite", () => {
  it("says what the policy writes and how sure it is", async () => {
    const { post, recommender } = await startOffice();
    expect((await post("/rewrite", { query })).json).toMatchObject({
      query: "stapler clip",
      rawQuery: query,
      completion: "stapler clip",
      meanLogprob: -0.5,
      tokens: 12,
      cached: false,
    });
    expect((await post("/rewrite", { query })).json.cached).toBe(true);
    expect(recommender.calls).toEqual([]);
  });
});
