/** The service as its operators and its enemies see it: OpenAI's API, figures, description, overload, hostile requests. */
import { Validator } from "@seriousme/openapi-schema-validator";
import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { ModelError } from "../../../src/core/errors.ts";
import { RemoteEngineError } from "../../../src/engines/remote-http.ts";
import { makeHold, send, startOffice, until } from "./start.ts";

const query = "thing that joins sheets";
const chat = { model: "office", messages: [{ role: "user", content: query }] };

describe("POST /v1/chat/completions", () => {
  it("answers in OpenAI's shapes", async () => {
    const { post, get, engine } = await startOffice();
    const { status, json } = await post("/v1/chat/completions", {
      ...chat,
      temperature: 0,
      logprobs: true,
      max_completion_tokens: 7,
      unknown_option: 1,
    });
    expect(status).toBe(200);
    expect(json).toMatchObject({
      object: "chat.completion",
      model: "office",
      choices: [{ index: 0, message: { role: "assistant", content: "stapler" }, finish_reason: "stop" }],
      usage: { prompt_tokens: query.length, completion_tokens: 7, total_tokens: query.length + 7 },
    });
    expect(json.choices[0].logprobs.content[0]).toMatchObject({ token: "s", logprob: -0.5, bytes: [115] });
    expect(engine.params[0]).toMatchObject({ n: 1, maxTokens: 7, temperature: 0 });
    expect((await get("/v1/models")).json.data).toMatchObject([{ id: "office", object: "model" }]);
  });

  it("passes settings on, and gives as many choices as asked for", async () => {
    const { post, engine } = await startOffice();
    engine.answer = (_prompt, sample) => `choice ${sample}`;
    const settings = { n: 3, temperature: 0.7, top_p: 0.9, seed: 5, stop: "\n" };
    const { json } = await post("/v1/chat/completions", { ...chat, ...settings });
    expect(json.choices.map((choice: { message: { content: string } }) => choice.message.content)).toEqual([
      "choice 0",
      "choice 1",
      "choice 2",
    ]);
    expect(engine.params[0]).toMatchObject({ n: 3, temperature: 0.7, topP: 0.9, seed: 5, stop: ["\n"] });
  });

  it("streams events that end with [DONE]", async () => {
    const { post } = await startOffice();
    const stream = { stream: true, stream_options: { include_usage: true } };
    const { headers, text } = await post("/v1/chat/completions", { ...chat, temperature: 0, ...stream });
    expect(headers["content-type"]).toMatch(/^text\/event-stream/);
    const events = text.trimEnd().split("\n\n");
    expect(events.at(-1)).toBe("data: [DONE]");
    const chunks = events.slice(0, -1).map((event) => JSON.parse(event.replace(/^data: /, "")));
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe("stapler clip");
    expect(chunks.at(-2).choices[0].finish_reason).toBe("stop");
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 12 } });
  });

  it.each([
    [{ ...chat, model: "gpt-5" }, 404, /There is no model "gpt-5" here/],
    [{ ...chat, max_tokens: 5000 }, 400, /over the model's 2000/],
    [{ ...chat, messages: [] }, 422, /messages/],
    [{ ...chat, messages: [{ role: "tool", content: "x" }] }, 422, /role/],
    [{ ...chat, temperature: -1 }, 422, /temperature/],
    [{ ...chat, n: 1e9 }, 422, /n: /],
  ])("refuses what it can't do (%#)", async (body, status, message) => {
    const { post } = await startOffice();
    const reply = await post("/v1/chat/completions", body);
    expect(reply.status).toBe(status);
    expect(reply.json.error.message).toMatch(message);
  });
});

describe("GET /openapi.json", () => {
  it("is a valid description of what is there", async () => {
    const { get } = await startOffice({ token: "secret" });
    const { json } = await get("/openapi.json", { authorization: "Bearer secret" });
    const validated = await new Validator().validate(json);
    expect(validated.errors ?? []).toEqual([]);
    expect(validated.valid).toBe(true);
    expect(Object.keys(json.paths)).toEqual([
      "/search",
      "/rewrite",
      "/v1/chat/completions",
      "/v1/models",
      "/health",
      "/metrics",
      "/openapi.json",
    ]);
    const search = json.paths["/search"].post;
    expect(search.requestBody.content["application/json"].schema.properties.topK).toMatchObject({ maximum: 100 });
    expect(search.responses["200"].content["application/json"].schema.required).toContain("hits");
    expect(json.security).toEqual([{ token: [] }]);
  });
});

describe("GET /metrics and /health", () => {
  it("count what happened", async () => {
    const { post, get } = await startOffice();
    await Promise.all([post("/search", { query }), post("/search", { query: "same" }), post("/search", { nope: 1 })]);
    const { headers, text } = await get("/metrics");
    expect(headers["content-type"]).toMatch(/^text\/plain/);
    expect(text).toMatch(/rec_r1_requests_total\{route="\/search",status="200"\} 2/);
    expect(text).toMatch(/rec_r1_requests_total\{route="\/search",status="422"\} 1/);
    expect(text).toMatch(/rec_r1_answers_total\{source="tuned",reason=""\} 1/);
    expect(text).toMatch(/rec_r1_answers_total\{source="raw",reason="unchanged"\} 1/);
    expect(text).toMatch(/rec_r1_batch_size_sum 2/);
    expect((await get("/health")).json).toMatchObject({
      status: "ok",
      run: "runs/office",
      step: 7,
      model: "office",
      mode: "tuned",
      gate: null,
    });
  });
});

describe("overload", () => {
  it("turns requests away with Retry-After beyond its capacity, and recovers", async () => {
    const { post, engine, get } = await startOffice({ maxInFlight: 2 });
    const { promise, release } = makeHold();
    engine.hold = promise;
    const taken = [post("/search", { query }), post("/rewrite", { query: "same" })];
    await until(() => engine.calls.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 30));
    const refused = await post("/search", { query: "nonsense" });
    expect(refused.status).toBe(503);
    expect(refused.headers["retry-after"]).toBe("1");
    expect((await get("/health")).status).toBe(200);
    release();
    expect((await Promise.all(taken)).map(({ status }) => status)).toEqual([200, 200]);
    expect((await post("/search", { query: "nonsense" })).status).toBe(200);
  });

  it("turns rewrites and chats away while the queue is full", async () => {
    const { post, engine } = await startOffice({ maxQueue: 1, maxBatch: 1 });
    const { promise, release } = makeHold();
    engine.hold = promise;
    const first = post("/rewrite", { query });
    await until(() => engine.calls.length === 1);
    const second = post("/rewrite", { query: "same" });
    await new Promise((resolve) => setTimeout(resolve, 30));
    for (const refused of [await post("/rewrite", { query: "other" }), await post("/v1/chat/completions", chat)]) {
      expect(refused.status).toBe(503);
      expect(refused.headers["retry-after"]).toBe("1");
    }
    release();
    expect((await Promise.all([first, second])).map(({ status }) => status)).toEqual([200, 200]);
  });

  it("answers four hundred requests at once, each or with a refusal", async () => {
    const { post } = await startOffice({ maxInFlight: 100 });
    const replies = await Promise.all(
      Array.from({ length: 400 }, (_, i) => post("/search", { query: i % 2 ? query : `word ${i}` })),
    );
    const statuses = new Set(replies.map(({ status }) => status));
    expect([...statuses].every((status) => status === 200 || status === 503)).toBe(true);
    expect(replies.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(100);
    for (const { json } of replies.filter((reply, i) => i % 2 && reply.status === 200)) {
      expect(json).toMatchObject({ source: "tuned", query: "stapler clip" });
    }
    expect((await post("/search", { query })).status).toBe(200);
  });
});

describe("stopping", () => {
  it("finishes what was begun and takes nothing new", async () => {
    const { post, get, engine, close } = await startOffice();
    const { promise, release } = makeHold();
    engine.hold = promise;
    const begun = post("/search", { query });
    await until(() => engine.calls.length === 1);
    const closed = close();
    expect((await post("/search", { query: "same" })).status).toBe(503);
    expect(await get("/health")).toMatchObject({ status: 503, json: { status: "stopping" } });
    release();
    expect(await begun).toMatchObject({ status: 200, json: { source: "tuned" } });
    await closed;
    await expect(get("/health")).rejects.toThrowError();
  });

  it("does not wait for ever", async () => {
    const { post, engine, close } = await startOffice({ drainMs: 20 });
    engine.hold = new Promise(() => {});
    const begun = post("/search", { query }).catch(() => "cut off");
    await until(() => engine.calls.length === 1);
    await close();
    expect(await begun).toSatisfy((reply) => reply === "cut off" || (reply as { status: number }).status <= 503);
  });
});

describe("hostile requests", () => {
  const long = "x".repeat(5000);

  it.each([
    ["not JSON", "{", 400],
    ["nothing", "", 400],
    ["bytes that are no UTF-8", Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), 400],
    ["UTF-16", Buffer.from(JSON.stringify({ query }), "utf16le"), 400],
    ["null", "null", 422],
    ["a list", "[]", 422],
    ["a number for a text", { query: 1 }, 422],
    ["an empty text", { query: "  " }, 422],
    ["too long a text", { query: long }, 422],
    ["a history of objects without titles", { history: [{ id: "a" }] }, 422],
    ["both", { query, history: ["a"] }, 422],
    ["neither", { topK: 3 }, 422],
    ["too many hits", { query, topK: 1e6 }, 422],
    ["no hits", { query, topK: 0 }, 422],
    ["half a hit", { query, topK: 1.5 }, 422],
    ["an unknown field", { query, filter: "1=1" }, 422],
    ["a huge body", { query: "x".repeat(100_000) }, 413],
  ])("%s is refused", async (_name, body, status) => {
    const { post, engine } = await startOffice();
    const reply = await post("/search", body);
    expect(reply.status).toBe(status);
    expect(reply.json.error.message).not.toBe("");
    expect(engine.calls).toEqual([]);
    expect((await post("/search", { query })).status).toBe(200);
  });

  it("passes hostile words on as words", async () => {
    const { post, engine, recommender } = await startOffice({ maxTokens: 200 });
    const hostile = `"}],"__proto__":{"x":1} <script>alert(1)</script> \u0000\u202e ' OR 1=1 --`;
    engine.answer = () => `${hostile} stapler`;
    const { status, json, headers } = await post("/search", { query: hostile });
    expect(status).toBe(200);
    expect(json).toMatchObject({ rawQuery: hostile, source: "tuned", hits: [{ id: "stapler" }] });
    expect(recommender.calls.flat()).toContain(hostile);
    expect(headers).toMatchObject({ "x-content-type-options": "nosniff", "cache-control": "no-store" });
    const body = `{"example":{"query":"x","__proto__":{"polluted":true}}}`;
    await post("/search", body);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it("asks for JSON, known paths, known methods, this machine's name and no other site", async () => {
    const { post, get, url } = await startOffice();
    const statusOf = async (headers: Record<string, string>): Promise<number> =>
      (await post("/search", { query }, headers)).status;
    expect(await statusOf({ "content-type": "text/plain" })).toBe(415);
    expect(await statusOf({ host: "rebound.example" })).toBe(403);
    expect(await statusOf({ origin: "https://evil.example" })).toBe(403);
    expect(await statusOf({ "sec-fetch-site": "cross-site" })).toBe(403);
    expect((await get("/search")).status).toBe(405);
    expect((await get("/../../etc/passwd")).status).toBe(404);
    expect((await get("/%2e%2e/config.json")).status).toBe(404);
    expect((await send(`${url}/search`, { method: "OPTIONS", headers: {} })).status).toBe(405);
  });

  it("lets pages of named origins ask, and read what they are told", async () => {
    const origin = "https://shop.example";
    const { post, url } = await startOffice({ token: "s3cret", allowedOrigins: [origin] });
    const preflight = (from: string) => {
      const asks = { "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
      return send(`${url}/search`, { method: "OPTIONS", headers: { origin: from, ...asks } });
    };
    const { status, headers } = await preflight(origin);
    expect(status).toBe(204);
    expect(headers).toMatchObject({ "access-control-allow-origin": origin, vary: "origin" });
    expect(headers["access-control-allow-headers"]).toMatch(/content-type, authorization/);
    for (const [own, expected] of [
      [{ authorization: "Bearer s3cret" }, 200],
      [{}, 401],
    ] as const) {
      const reply = await post("/search", { query }, { origin, "sec-fetch-site": "cross-site", ...own });
      expect(reply.status).toBe(expected);
      expect(reply.headers["access-control-allow-origin"]).toBe(origin);
    }
    const stranger = await preflight("https://evil.example");
    expect(stranger.status).toBe(403);
    expect(stranger.headers["access-control-allow-origin"]).toBeUndefined();
  });

  it("keeps to itself what a model's backend says, and tells a caller of messages that it has no form for", async () => {
    const { post, engine, errors } = await startOffice();
    engine.answer = () => { throw new RemoteEngineError("ENGINE_UNREACHABLE", "http://gpu-box:9000 is down", { retryable: true }); }; // prettier-ignore
    const failed = await post("/rewrite", { query });
    expect(failed).toMatchObject({ status: 503, json: { error: { code: "ENGINE_UNREACHABLE" } } });
    expect(failed.text).not.toContain("gpu-box");
    expect(errors).toHaveLength(1);
    const chat = { messages: [{ role: "system", content: "a" }, { role: "system", content: "b" }] }; // prettier-ignore
    Object.assign(engine, {
      tokenizer: {
        ...engine.tokenizer,
        encodeChat: () => { throw new ModelError("CHAT_TEMPLATE_FAILED", "/models/secret: refused"); }, // prettier-ignore
      },
    });
    const refused = await post("/v1/chat/completions", chat);
    expect(refused).toMatchObject({ status: 400, json: { error: { code: "CHAT_TEMPLATE_FAILED" } } });
    expect(refused.text).not.toContain("secret");
    expect(errors).toHaveLength(1);
  });

  it("wants its token where it has one, on every path", async () => {
    const { post, get } = await startOffice({ token: "s3cret" });
    for (const path of ["/health", "/metrics", "/openapi.json", "/v1/models"]) {
      expect((await get(path)).status).toBe(401);
      expect((await get(path, { "x-api-key": "s3cret" })).status).toBe(200);
    }
    expect((await post("/search", { query })).status).toBe(401);
    expect((await post("/search", { query }, { authorization: "Bearer s3cre" })).status).toBe(401);
    expect((await post("/search", { query }, { authorization: "Bearer s3cret" })).status).toBe(200);
  });

  it("listens to other machines only with a token, and limits each sender's rate", async () => {
    await expect(startOffice({ host: "0.0.0.0" })).rejects.toThrowError(/needs a token/);
    const { get } = await startOffice({ rate: { perSecond: 1, burst: 3 } });
    const statuses = [];
    for (let i = 0; i < 5; i++) statuses.push((await get("/health")).status);
    expect(statuses).toEqual([200, 200, 200, 429, 429]);
  });

  it("outlives a sender that breaks off", async () => {
    const { url, post } = await startOffice();
    const { port } = new URL(url);
    await new Promise<void>((resolve) => {
      const socket = connect(Number(port), "127.0.0.1", () => {
        socket.write("POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        socket.write('Content-Length: 1000\r\n\r\n{"query": "th', () => socket.destroy());
      });
      socket.on("close", () => resolve());
    });
    expect((await post("/search", { query })).status).toBe(200);
  });
});
