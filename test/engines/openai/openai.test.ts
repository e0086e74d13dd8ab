/** OpenAI's API: what is asked, what is read, what a server may refuse, what is counted. */
import { describe, expect, it } from "vitest";
import { OpenAiClient, OpenAiEngine } from "../../../src/engines/openai/index.ts";

const key = "sk-secret-123";
type Body = Record<string, unknown>;

interface Reply {
  status?: number;
  body: unknown;
}

function server(answer: (body: Body, path: string) => Reply): {
  fetch: typeof fetch;
  asked: { path: string; body: Body; key: string | null }[];
} {
  const asked: { path: string; body: Body; key: string | null }[] = [];
  const fake = async (input: unknown, init?: RequestInit): Promise<Response> => {
    const body = JSON.parse(String(init?.body)) as Body;
    const path = new URL(String(input)).pathname;
    asked.push({ path, body, key: new Headers(init?.headers).get("authorization") });
    const { status = 200, body: reply } = answer(body, path);
    return new Response(JSON.stringify(reply), { status, headers: { "content-type": "application/json" } });
  };
  return { fetch: fake as typeof fetch, asked };
}

const bytes = (text: string): number[] => [...new TextEncoder().encode(text)];
const chatReply = (text: string, logprobs: unknown = null, finish = "stop"): Reply => ({
  body: {
    choices: [{ message: { content: text }, finish_reason: finish, logprobs }],
    usage: { prompt_tokens: 10, completion_tokens: 3 },
  },
});
const options = { url: "http://127.0.0.1:9/v1/", model: "m", apiKey: key, maxDelayMs: 1 };
const params = { n: 2, maxTokens: 8, temperature: 0.7, seed: 4 };

describe("the engine over OpenAI's API", () => {
  it("asks for every completion with a seed of its own, and puts log-probs where the tokens begin", async () => {
    const content = [
      { token: "bl", logprob: -0.5, bytes: bytes("bl") },
      { token: "å", logprob: -1.5, bytes: bytes("å") },
    ];
    const { fetch, asked } = server(() => chatReply("blå", { content }));
    const engine = new OpenAiEngine({ ...options, fetch, prices: { input: 1e6, output: 2e6 } });
    const prompts = ["hi", "ho"].map((text) => engine.tokenizer.encodeChat([{ role: "user", content: text }]));
    const samples = await engine.sample(prompts, { ...params, topP: 0.9, stop: ["\n"] });
    expect(samples.map((row) => row.map(({ text }) => text))).toEqual([
      ["blå", "blå"],
      ["blå", "blå"],
    ]);
    expect(samples[0]?.[0]?.ids).toEqual(bytes("blå"));
    expect(Array.from(samples[0]?.[0]?.logprobs ?? [])).toEqual([-0.5, 0, -1.5, 0]);
    expect(engine.tokenizer.decode(samples[0]?.[0]?.ids ?? [])).toBe("blå");
    expect(asked[0]).toMatchObject({
      path: "/v1/chat/completions",
      key: `Bearer ${key}`,
      body: {
        model: "m",
        messages: [{ role: "user", content: "hi" }],
        max_tokens: 8,
        temperature: 0.7,
        top_p: 0.9,
        stop: ["\n"],
        logprobs: true,
      },
    });
    expect(new Set(asked.map(({ body }) => body.seed)).size).toBe(4);
    expect(engine.account).toEqual({ requests: 4, promptTokens: 40, completionTokens: 12, unmetered: 0, cost: 64 });
    expect(JSON.stringify(engine.description)).not.toContain(key);
  });

  it("gives NaN where a server has no log-probs, and reads an answer without text", async () => {
    const { fetch } = server(() => ({ body: { choices: [{ message: { content: null }, finish_reason: "length" }] } }));
    const engine = new OpenAiEngine({ ...options, fetch });
    const [row] = await engine.sample([engine.tokenizer.encodeChat([])], { ...params, n: 1 });
    expect(row).toEqual([{ ids: [], logprobs: new Float32Array(0), text: "", stopReason: "length" }]);
    expect(engine.account).toMatchObject({ requests: 1, unmetered: 1, cost: 0 });
    const other = new OpenAiEngine({ ...options, fetch: server(() => chatReply("ab")).fetch });
    const [blind] = await other.sample([other.tokenizer.encodeChat([])], { ...params, n: 1 });
    expect(Array.from(blind?.[0]?.logprobs ?? [])).toEqual([Number.NaN, Number.NaN]);
  });

  it("samples by plain completions where it is told to, from a text that may be given", async () => {
    const reply = { choices: [{ text: " blue", finish_reason: "length" }] };
    const { fetch, asked } = server(() => ({ body: reply }));
    const messages = [
      { role: "system", content: "One word." },
      { role: "user", content: "The sky is" },
    ] as const;
    const template = (said: readonly { role: string; content: string }[]): string =>
      said.map(({ role, content }) => `${role}: ${content}`).join("\n");
    for (const more of [{}, { template }]) {
      const engine = new OpenAiEngine({ ...options, fetch, api: "completions", ...more });
      const [row] = await engine.sample([engine.tokenizer.encodeChat([...messages])], { ...params, n: 1 });
      expect(row?.[0]).toMatchObject({ text: " blue", stopReason: "length" });
    }
    expect(asked.map(({ path, body }) => [path, body.prompt])).toEqual([
      ["/v1/completions", "One word.\n\nThe sky is"],
      ["/v1/completions", "system: One word.\nuser: The sky is"],
    ]);
  });

  it("leaves out what a server refuses by name, and remembers", async () => {
    const { fetch, asked } = server((body) => {
      for (const name of ["max_tokens", "logprobs"]) {
        if (name in body) return { status: 400, body: { error: { message: `Unsupported parameter: '${name}'.` } } };
      }
      return chatReply("ok");
    });
    const engine = new OpenAiEngine({ ...options, fetch, maxOpenRequests: 1 });
    const prompt = engine.tokenizer.encodeChat([{ role: "user", content: "x" }]);
    await engine.sample([prompt], params);
    expect(asked).toHaveLength(4);
    expect(asked.at(-1)?.body).toMatchObject({ max_completion_tokens: 8 });
    expect(asked.at(-1)?.body).not.toHaveProperty("logprobs");
  });

  it("takes no refusal of a value for one of the option", async () => {
    const tooLarge = "'max_tokens' or 'max_completion_tokens' is too large: 9000. This model supports at most 4096.";
    const { fetch, asked } = server((body) =>
      body.max_tokens === 8 ? chatReply("ok") : { status: 400, body: { error: { message: tooLarge } } },
    );
    const engine = new OpenAiEngine({ ...options, fetch, maxOpenRequests: 1 });
    const prompt = engine.tokenizer.encodeChat([{ role: "user", content: "x" }]);
    await expect(engine.sample([prompt], { ...params, maxTokens: 9000, n: 1 })).rejects.toThrow(/too large/);
    expect(asked).toHaveLength(1);
    await engine.sample([prompt], params);
    expect(asked.at(-1)?.body).toMatchObject({ max_tokens: 8 });
  });

  it("forgets a refusal where leaving the option out didn't help", async () => {
    let isDown = true;
    const { fetch, asked } = server(() =>
      isDown
        ? { status: 400, body: { error: { message: "Model not supported with logprobs, max_tokens" } } }
        : chatReply("ok"),
    );
    const engine = new OpenAiEngine({ ...options, fetch, maxOpenRequests: 1 });
    const prompt = engine.tokenizer.encodeChat([{ role: "user", content: "x" }]);
    await expect(engine.sample([prompt], { ...params, n: 1 })).rejects.toThrow(/Model not supported/);
    isDown = false;
    asked.length = 0;
    await engine.sample([prompt], { ...params, n: 1 });
    expect(asked.map(({ body }) => body)).toMatchObject([{ max_tokens: 8, logprobs: true }]);
  });

  it("sends a refused option no more where requests that were open together are refused together", async () => {
    const { fetch, asked } = server((body) =>
      "seed" in body ? { status: 422, body: { detail: "seed: Extra inputs are not permitted" } } : chatReply("ok"),
    );
    const engine = new OpenAiEngine({ ...options, fetch });
    await engine.sample([engine.tokenizer.encodeChat([])], { ...params, n: 3 });
    expect(asked.map(({ body }) => "seed" in body)).toEqual([true, true, true, false, false, false]);
  });

  it("passes on other refusals once, without the key", async () => {
    const { fetch, asked } = server(() => ({ status: 401, body: { error: { message: `Incorrect API key: ${key}` } } }));
    const engine = new OpenAiEngine({ ...options, fetch, keyHint: "OPENAI_API_KEY" });
    const attempt = engine.sample([engine.tokenizer.encodeChat([])], { ...params, n: 1 });
    await expect(attempt).rejects.toMatchObject({ code: "ENGINE_UNAUTHORIZED", status: 401 });
    await expect(attempt).rejects.toThrow(/OPENAI_API_KEY/);
    await expect(attempt).rejects.not.toThrow(new RegExp(key));
    expect(asked).toHaveLength(1);
  });

  it("tries again after 429, and holds no more requests open than it may", async () => {
    let calls = 0;
    let open = 0;
    let most = 0;
    const inner = server(() => (++calls === 1 ? { status: 429, body: {} } : chatReply("ok")));
    const slow: typeof fetch = async (input, init) => {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setTimeout(resolve, 2));
      open--;
      return inner.fetch(input, init);
    };
    const engine = new OpenAiEngine({ ...options, fetch: slow, maxOpenRequests: 3 });
    const prompt = engine.tokenizer.encodeChat([]);
    const progress: number[] = [];
    await engine.sample([prompt, prompt], { ...params, n: 4, onProgress: (done) => progress.push(done) });
    expect(most).toBe(3);
    expect(progress).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it("refuses to train", async () => {
    const engine = new OpenAiEngine({ ...options, fetch: server(() => chatReply("")).fetch });
    await expect(engine.forwardBackward()).rejects.toMatchObject({ code: "SAMPLING_ONLY" });
    await expect(engine.saveState()).rejects.toThrow(/no state/);
    await expect(engine.sample([[1]], { ...params, weights: "reference" })).rejects.toThrow(/no other weights/);
  });
});

describe("plain completions", () => {
  it("continue a text, with log-probs", async () => {
    const { fetch, asked } = server(() => ({
      body: {
        choices: [
          { text: " Paris", finish_reason: "length", logprobs: { tokens: [" Paris"], token_logprobs: [-0.25] } },
        ],
      },
    }));
    const client = new OpenAiClient({ ...options, fetch });
    const found = await client.complete("The capital of France is", { maxTokens: 1, temperature: 0, logprobs: true });
    expect(found).toMatchObject({ text: " Paris", stopReason: "length" });
    expect(found.tokens?.[0]?.logprob).toBe(-0.25);
    expect(asked[0]).toMatchObject({
      path: "/v1/completions",
      body: { prompt: "The capital of France is", logprobs: 0 },
    });
  });

  it("have their limit by its own name, also where chats have another", async () => {
    const { fetch, asked } = server((body, path) =>
      path.endsWith("/chat/completions") && "max_tokens" in body
        ? { status: 400, body: { error: { message: "Unsupported parameter: 'max_tokens'." } } }
        : { body: { choices: [{ text: "ok", message: { content: "ok" } }] } },
    );
    const client = new OpenAiClient({ ...options, fetch });
    await client.chat([{ role: "user", content: "x" }], { maxTokens: 8, temperature: 1 });
    await client.complete("x", { maxTokens: 8, temperature: 1 });
    expect(asked.at(-2)?.body).toMatchObject({ max_completion_tokens: 8 });
    expect(asked.at(-1)?.body).toMatchObject({ max_tokens: 8 });
    expect(asked.at(-1)?.body).not.toHaveProperty("max_completion_tokens");
  });

  it("say when the server speaks something else", async () => {
    const { fetch } = server(() => ({ body: { hello: "world" } }));
    const attempt = new OpenAiClient({ ...options, fetch }).complete("x", { maxTokens: 1, temperature: 0 });
    await expect(attempt).rejects.toMatchObject({ code: "ENGINE_BAD_REPLY" });
  });
});
