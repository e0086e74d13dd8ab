/** The key goes to the server and nowhere else, whatever the server says back. */
import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { OpenAiEngine } from "../../src/engines/openai/index.ts";
import { RemoteEngineError, RemoteHttp } from "../../src/engines/remote-http.ts";
import { TinkerEngine } from "../../src/engines/tinker/index.ts";

const key = "tml-0123456789-abcdefghij-secret";
const url = "http://127.0.0.1:9";
const letters = { encodeChat: () => [1], encode: () => [1], decode: () => "", endIds: [0] };

/** Everything that a logger could make of an error: message, stack, fields, causes. */
const everything = (error: unknown): string => inspect(error, { depth: 20, showHidden: true });

async function failureOf(attempt: Promise<unknown>): Promise<unknown> {
  try {
    await attempt;
  } catch (error) {
    return error;
  }
  throw new Error("It was expected to fail.");
}

/** No ten characters of the key in a row. */
function expectNoPartOfTheKey(text: string): void {
  for (let start = 0; start + 10 <= key.length; start++) expect(text).not.toContain(key.slice(start, start + 10));
}

/** A server that repeats the key in everything that it says. */
function echo(status: number, body: string): typeof fetch {
  const answer = async (): Promise<Response> =>
    new Response(body, { status, headers: { "content-type": "application/json", "x-request-id": `req-${key}` } });
  return answer as typeof fetch;
}

describe("a server that repeats the key", () => {
  it("does so at any place of any answer without its reaching an error", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(200, 400, 401, 403, 404, 413, 422, 429, 500, 503),
        fc.nat({ max: 330 }),
        fc.constantFrom(
          (said: string) => said,
          (said: string) => JSON.stringify({ detail: said }),
          (said: string) => JSON.stringify({ detail: [{ msg: said, loc: ["header"] }] }),
          (said: string) => JSON.stringify({ error: { message: said } }),
          (said: string) => `<html>${said}</html>`,
        ),
        async (status, before, dress) => {
          const body = dress(`${"x".repeat(before)} ${key} and more`);
          const options = { url, apiKey: key, keyHeader: { name: "x-api-key" }, attempts: 1 };
          const http = new RemoteHttp({ ...options, fetch: echo(status, body) });
          const attempt = http.sendForJson("/x", { json: {} });
          if (status < 400 && body.startsWith("{")) return void (await attempt);
          const error = await failureOf(attempt);
          expect(error).toBeInstanceOf(RemoteEngineError);
          expectNoPartOfTheKey(everything(error));
        },
      ),
    );
  });

  it("gives it away by no engine's error", async () => {
    const said = JSON.stringify({ detail: `Incorrect API key provided: ${key}` });
    const options = { url, apiKey: key, attempts: 1 };
    const connecting = TinkerEngine.connect({ ...options, tokenizer: letters, fetch: echo(401, said) });
    expectNoPartOfTheKey(everything(await failureOf(connecting)));
    const engine = new OpenAiEngine({ ...options, model: "m", fetch: echo(500, said) });
    const prompt = engine.tokenizer.encodeChat([{ role: "user", content: "x" }]);
    const asking = engine.sample([prompt], { n: 1, maxTokens: 1, temperature: 1, seed: 0 });
    expectNoPartOfTheKey(everything(await failureOf(asking)));
    expectNoPartOfTheKey(JSON.stringify(engine.description));
  });

  it("gives it away by no warning or notice of another try", async () => {
    const told: string[] = [];
    const answers: Record<string, unknown> = {
      get_server_capabilities: { supported_models: [{ model_name: "m", max_context_length: 64 }] },
      "client/config": {},
      create_session: { session_id: "s" },
      create_model: { model_id: "m", request_id: "1" },
    };
    const server = (async (input: unknown) => {
      const answer = answers[new URL(String(input)).pathname.replace("/api/v1/", "")];
      const body = answer ?? { detail: `no: ${key}` };
      return new Response(JSON.stringify(body), { status: answer ? 200 : 503 });
    }) as typeof fetch;
    const engine = await TinkerEngine.connect({
      ...{ url, apiKey: key, tokenizer: letters, fetch: server, attempts: 3, maxDelayMs: 1, heartbeatMs: 1 },
      onWarning: (message) => told.push(message),
      onRetry: ({ error }) => told.push(everything(error)),
    });
    onTestFinished(() => engine.close());
    const datum = { prompt: [1], completion: [2] };
    const error = await failureOf(engine.forwardBackward([datum], { name: "cross_entropy" }));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(told.length).toBeGreaterThan(2);
    expect(told.some((message) => message.includes("heartbeat"))).toBe(true);
    expectNoPartOfTheKey([everything(error), ...told].join("\n"));
  });
});

describe("a key", () => {
  it("may end with a line break, as files do", async () => {
    let sent: string | null = null;
    const server = (async (_: unknown, init?: RequestInit) => {
      sent = new Headers(init?.headers).get("x-api-key");
      return new Response("{}");
    }) as typeof fetch;
    const http = new RemoteHttp({ url, apiKey: `${key}\n`, keyHeader: { name: "x-api-key" }, fetch: server });
    await http.sendForJson("/x", { json: {} });
    expect(sent).toBe(key);
  });

  it.each([`two words ${key}`, `${key}\r\nx-other: header`, `${key}ü`])(
    "that no header can carry is refused without repeating it",
    (apiKey) => {
      const make = (): unknown => new RemoteHttp({ url, apiKey, keyHint: "TINKER_API_KEY" });
      expect(make).toThrow(ConfigError);
      try {
        make();
      } catch (error) {
        expect((error as Error).message).toContain("TINKER_API_KEY");
        expectNoPartOfTheKey(everything(error));
      }
    },
  );
});
