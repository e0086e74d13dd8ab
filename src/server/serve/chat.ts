/** Chat completions in the shapes of OpenAI's API, from the served policy. */
import { randomBytes, randomInt } from "node:crypto";
import type { ChatMessage, Engine, Sample, SamplingParams, TokenIds } from "../../engines/engine.ts";
import { encodeMessages } from "../../rl/prompt.ts";
import { HttpError } from "../http/http-error.ts";
import type { Batcher } from "./batcher.ts";
import type { ChatReply, ChatRequest } from "./schemas.ts";

export interface ChatOptions {
  engine: Engine;
  batcher: Batcher;
  /** The name that the policy goes by. */
  modelName: string;
  /** Most tokens of a completion where the request doesn't say. */
  maxTokens: number;
  /** Seconds since 1970. */
  now?: () => number;
}

/**
 * Completes a conversation. Requests with equal settings that come together are sampled together.
 * @throws HttpError 404 for another model, 400 `CONTEXT_LENGTH` for too long a conversation; EngineError
 */
export async function completeChat(request: ChatRequest, options: ChatOptions): Promise<ChatReply> {
  const { engine, batcher, modelName, now = () => Math.floor(Date.now() / 1000) } = options;
  if (request.model !== undefined && request.model !== modelName) {
    throw new HttpError(404, "MODEL_NOT_FOUND", `There is no model "${request.model}" here; there is "${modelName}".`);
  }
  const prompt = encodeMessages(engine.tokenizer, request.messages.map(toMessage));
  const room = engine.contextLength - prompt.length;
  const asked = request.max_completion_tokens ?? request.max_tokens;
  if (room < 1 || (asked ?? 1) > room) {
    throw new HttpError(
      400,
      "CONTEXT_LENGTH",
      `The conversation has ${prompt.length} tokens; with ${asked ?? 1} more that is over the model's ${engine.contextLength}.`,
    );
  }
  const temperature = request.temperature ?? 1;
  const params: SamplingParams = {
    n: request.n ?? 1,
    maxTokens: asked ?? Math.min(options.maxTokens, room),
    temperature,
    topP: request.top_p ?? 1,
    // Greedy completions need no random numbers; others without a seed of their own get numbers of their own.
    seed: request.seed ?? (temperature === 0 ? 0 : randomInt(2 ** 31)),
    ...(request.stop ? { stop: [request.stop].flat() } : {}),
  };
  const samples = await batcher.add(`chat ${JSON.stringify(params)}`, prompt, async (prompts: TokenIds[], signal) =>
    engine.sample(prompts, { ...params, signal }),
  );
  const tokens = samples.reduce((sum, { ids }) => sum + ids.length, 0);
  return {
    id: `chatcmpl-${randomBytes(12).toString("hex")}`,
    object: "chat.completion",
    created: now(),
    model: modelName,
    choices: samples.map((sample, index) => ({
      index,
      message: { role: "assistant", content: sample.text, refusal: null },
      finish_reason: sample.stopReason,
      logprobs: request.logprobs ? { content: tokenLogprobs(engine, sample) } : null,
    })),
    usage: { prompt_tokens: prompt.length, completion_tokens: tokens, total_tokens: prompt.length + tokens },
  };
}

function toMessage({ role, content }: ChatRequest["messages"][number]): ChatMessage {
  const text = typeof content === "string" ? content : content.map((part) => part.text).join("");
  return { role: role === "developer" ? "system" : role, content: text };
}

type TokenLogprob = NonNullable<ChatReply["choices"][number]["logprobs"]>["content"][number];

function tokenLogprobs(engine: Engine, { ids, logprobs }: Sample): TokenLogprob[] {
  return ids.map((id, t) => {
    const token = engine.tokenizer.decode([id]);
    return { token, logprob: logprobs[t] as number, bytes: [...Buffer.from(token)], top_logprobs: [] };
  });
}

/**
 * A completion as the events of a stream: for each choice its role, its text in one piece (the engine hands out whole
 * completions) and why it ended; then the usage, where that was asked for, and the mark of the end.
 */
export function* streamChat(reply: ChatReply, withUsage: boolean): Generator<string> {
  const { id, created, model } = reply;
  const chunk = (choices: object[], usage?: object | null): string =>
    `data: ${JSON.stringify({ id, object: "chat.completion.chunk", created, model, choices, ...(withUsage ? { usage: usage ?? null } : {}) })}\n\n`;
  for (const { index, message, finish_reason, logprobs } of reply.choices) {
    yield chunk([{ index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null }]);
    yield chunk([{ index, delta: { content: message.content }, logprobs, finish_reason: null }]);
    yield chunk([{ index, delta: {}, logprobs: null, finish_reason }]);
  }
  if (withUsage) yield chunk([], reply.usage);
  yield "data: [DONE]\n\n";
}
