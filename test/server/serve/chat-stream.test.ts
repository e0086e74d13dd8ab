/** Streamed completions: pieces as they come, the same text and log-probs as in one piece, and ends that are told. */
import { request } from "node:http";
import { describe, expect, it } from "vitest";
import { EngineError } from "../../../src/core/errors.ts";
import { ChatStream } from "../../../src/server/serve/chat-stream.ts";
import { makeHold, startOffice, until } from "./start.ts";

const query = "thing that joins sheets";
const chat = { model: "office", messages: [{ role: "user", content: query }], temperature: 0, stream: true };

// Events are looked into field by field.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Chunk = any;

/** The JSON of each event, in order; `[DONE]` as it is. */
function readEvents(text: string): Chunk[] {
  const events = text.split("\n\n").filter((event) => event !== "");
  return events.map((event) => {
    const data = event.replace(/^data: /, "");
    return data === "[DONE]" ? data : JSON.parse(data);
  });
}

const textOf = (chunks: readonly Chunk[], index = 0): string =>
  chunks
    .filter((chunk) => chunk.choices?.[0]?.index === index)
    .map((chunk) => chunk.choices[0].delta.content ?? "")
    .join("");

/** Opens a stream and hands out what has come so far. */
function openStream(url: string, body: object) {
  const state = { text: "", isOver: false };
  const sent = request(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
  });
  sent.on("response", (response) => {
    response.setEncoding("utf8");
    response.on("data", (piece: string) => (state.text += piece));
    response.on("close", () => (state.isOver = true));
  });
  sent.on("error", () => (state.isOver = true));
  sent.end(JSON.stringify(body));
  return { state, destroy: () => sent.destroy() };
}

describe("a stream", () => {
  it("brings each piece before the next token is there", async () => {
    const { url, engine } = await startOffice();
    const holds = new Map<number, () => void>();
    engine.beforeToken = (length) => {
      const { promise, release } = makeHold();
      holds.set(length, release);
      return promise;
    };
    const { state } = openStream(url, chat);
    for (let length = 1; length < "stapler clip".length; length++) {
      await until(() => textOf(readEvents(state.text)) === "stapler clip".slice(0, length));
      expect(state.isOver).toBe(false);
      holds.get(length)?.();
    }
    await until(() => state.isOver);
    expect(textOf(readEvents(state.text))).toBe("stapler clip");
    expect(readEvents(state.text).at(-1)).toBe("[DONE]");
  });

  it("has the text, log-probs and usage of the same completion in one piece", async () => {
    const { post } = await startOffice();
    const settings = { ...chat, n: 2, logprobs: true };
    const whole = (await post("/v1/chat/completions", { ...settings, stream: false })).json;
    const { text } = await post("/v1/chat/completions", { ...settings, stream_options: { include_usage: true } });
    const chunks = readEvents(text);
    expect(chunks.at(-2)).toMatchObject({ choices: [], usage: whole.usage });
    expect(chunks[0].usage).toBeNull();
    for (const { index, message, logprobs, finish_reason } of whole.choices) {
      const own = chunks.filter((chunk) => chunk.choices?.[0]?.index === index);
      expect(own.length).toBeGreaterThan(5);
      expect(own[0].choices[0].delta.role).toBe("assistant");
      expect(textOf(chunks, index)).toBe(message.content);
      expect(own.flatMap((chunk) => chunk.choices[0].logprobs?.content ?? [])).toEqual(logprobs.content);
      expect(own.map((chunk) => chunk.choices[0].finish_reason).filter((reason) => reason !== null)).toEqual([
        finish_reason,
      ]);
    }
    expect(new Set(chunks.slice(0, -1).map(({ id }) => id)).size).toBe(1);
  });

  it("holds back what may become a stop string, and ends before it", async () => {
    const { post, engine } = await startOffice();
    engine.answer = () => "one##two##END rest";
    const { text } = await post("/v1/chat/completions", { ...chat, stop: ["##END", "never"] });
    const chunks = readEvents(text);
    expect(textOf(chunks)).toBe("one##two");
    const pieces = chunks.map((chunk) => chunk.choices?.[0]?.delta.content).filter(Boolean);
    // "ne" may become "never".
    expect(pieces).toEqual(["o", "ne", "##t", "w", "o"]);
  });

  it("is not shared by others that are sampled with it", async () => {
    const { post, engine } = await startOffice();
    const { promise, release } = makeHold();
    engine.hold = promise;
    const first = post("/v1/chat/completions", chat);
    await until(() => engine.calls.length === 1);
    const others = [{ stream: false }, { stream: true }].map((more) =>
      post("/v1/chat/completions", {
        ...chat,
        ...more,
        messages: [{ role: "user", content: "joins sheets of paper" }],
      }),
    );
    await new Promise((resolve) => setTimeout(resolve, 30));
    release();
    expect(textOf(readEvents((await first).text))).toBe("stapler clip");
    const [whole, streamed] = await Promise.all(others);
    expect(engine.calls[1]).toHaveLength(2);
    expect(whole?.json.choices[0].message.content).toBe("stapler");
    expect(textOf(readEvents(streamed?.text ?? ""))).toBe("stapler");
  });

  it("is refused like any other request, and says what went wrong in between", async () => {
    const { post, engine, errors } = await startOffice();
    expect((await post("/v1/chat/completions", { ...chat, model: "gpt-5" })).status).toBe(404);
    engine.beforeToken = (length) =>
      length < 4 ? Promise.resolve() : Promise.reject(new EngineError("ENGINE_LOST", "The engine is gone."));
    const { status, text } = await post("/v1/chat/completions", chat);
    expect(status).toBe(200);
    const chunks = readEvents(text);
    expect(textOf(chunks)).toBe("stap");
    expect(chunks.at(-1)).toEqual({ error: { code: "ENGINE_LOST", message: "The model did not answer." } });
    expect(errors).toHaveLength(1);
  });

  it("whose reader is gone before it was begun is left out", async () => {
    const { url, post, engine } = await startOffice();
    const { promise, release } = makeHold();
    engine.hold = promise;
    const first = post("/v1/chat/completions", chat);
    await until(() => engine.calls.length === 1);
    const { state, destroy } = openStream(url, { ...chat, messages: [{ role: "user", content: "gone" }] });
    await new Promise((resolve) => setTimeout(resolve, 50));
    destroy();
    await until(() => state.isOver);
    await new Promise((resolve) => setTimeout(resolve, 50));
    release();
    await first;
    expect((await post("/v1/chat/completions", { ...chat, stream: false })).status).toBe(200);
    expect(engine.calls.flat()).not.toContain("gone");
  });
});

describe("ChatStream", () => {
  const events: string[] = [];
  const utf8 = { decode: (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids)) };
  const makeStream = () => {
    events.length = 0;
    return new ChatStream({
      ...{ id: "chatcmpl-1", created: 0, model: "m", tokenizer: utf8, stops: [], choices: 1 },
      ...{ withLogprobs: false, withUsage: false, write: (event: string) => void events.push(event) },
    });
  };
  const soFar = (bytes: Buffer, length: number) => ({
    ids: [...bytes.subarray(0, length)],
    logprobs: new Float32Array(length),
  });

  it("waits for the last byte of a character", () => {
    const stream = makeStream();
    const bytes = Buffer.from("é€😀!");
    for (let length = 1; length <= bytes.length; length++) stream.grow(0, soFar(bytes, length));
    expect(readEvents(events.join("")).map((chunk) => chunk.choices[0].delta.content)).toEqual(["é", "€", "😀", "!"]);
  });

  it("writes nothing twice when it is told again from the beginning", () => {
    const stream = makeStream();
    const bytes = Buffer.from("stapler");
    for (const length of [1, 2, 3, 4, 1, 2, 3, 4, 5, 6]) stream.grow(0, soFar(bytes, length));
    expect(textOf(readEvents(events.join("")))).toBe("staple");
  });
});
