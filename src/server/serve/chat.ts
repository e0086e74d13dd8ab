/** Chat completions in the shapes of OpenAI's API, from the served policy. */
import { randomBytes, randomInt } from "node:crypto";
import type { ChatMessage, Engine, GrowingSample, SamplingParams, TokenIds } from "../../engines/engine.ts";
import { ModelError } from "../../core/errors.ts";
import { encodeMessages } from "../../rl/prompt.ts";
import { HttpError } from "../http/http-error.ts";
import type { Batcher } from "./batcher.ts";
import { ChatStream, tokenLogprobs } from "./chat-stream.ts";
import type { ChatReply, ChatRequest } from "./schemas.ts";

export interface ChatOptions {
  engine: Engine;
  batcher: Batcher;
  /** The name that the policy goes by. */
  modelName: string;
  /** Most tokens of a completion where the request doesn't say. */
  maxTokens: number;
  /** Given: the completion is written as events while it grows; each with the empty line that ends it. */
  write?: (event: string) => void;
  /** Once it has fired, the completion is left out unless it was begun. */
  signal?: AbortSignal;
  /** Seconds since 1970. */
  now?: () => number;
}

/** @throws HttpError 400 `CHAT_TEMPLATE_FAILED` for messages that the model has no form for, such as turns out of order */
function encodeConversation({ tokenizer }: Engine, { messages }: ChatRequest): TokenIds {
  try {
    return encodeMessages(tokenizer, messages.map(toMessage));
  } catch (error) {
    if (!(error instanceof ModelError) || error.code !== "CHAT_TEMPLATE_FAILED") throw error;
    const roles = messages.map(({ role }) => role).join(", ");
    throw new HttpError(400, error.code, `The model's chat template refuses these messages (roles ${roles}).`);
  }
}

/** A conversation in the engine's queue. */
interface Job {
  prompt: TokenIds;
  onGrowth?: (index: number, sample: GrowingSample) => void;
}

/**
 * Completes a conversation. Requests with equal settings that come together are sampled together.
 * @throws HttpError 404 for another model, 400 `CONTEXT_LENGTH` for too long a conversation; EngineError
 */
export async function completeChat(request: ChatRequest, options: ChatOptions): Promise<ChatReply> {
  const { engine, batcher, modelName, write, now = () => Math.floor(Date.now() / 1000) } = options;
  if (request.model !== undefined && request.model !== modelName) {
    throw new HttpError(404, "MODEL_NOT_FOUND", `There is no model "${request.model}" here; there is "${modelName}".`);
  }
  const prompt = encodeConversation(engine, request);
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
  const head = { id: `chatcmpl-${randomBytes(12).toString("hex")}`, created: now(), model: modelName };
  const stream =
    write &&
    new ChatStream({
      ...head,
      tokenizer: engine.tokenizer,
      stops: params.stop ?? [],
      choices: params.n,
      withLogprobs: request.logprobs === true,
      withUsage: request.stream_options?.include_usage === true,
      write,
    });
  const job: Job = { prompt, ...(stream ? { onGrowth: (index, sample) => stream.grow(index, sample) } : {}) };
  const run = (jobs: Job[], signal: AbortSignal) =>
    engine.sample(
      jobs.map((each) => each.prompt),
      { ...params, signal, onGrowth: (place, index, sample) => jobs[place]?.onGrowth?.(index, sample) },
    );
  const samples = await batcher.add(`chat ${JSON.stringify(params)}`, job, run, options.signal);
  const tokens = samples.reduce((sum, { ids }) => sum + ids.length, 0);
  const reply: ChatReply = {
    ...head,
    object: "chat.completion",
    choices: samples.map((sample, index) => ({
      index,
      message: { role: "assistant", content: sample.text, refusal: null },
      finish_reason: sample.stopReason,
      logprobs: request.logprobs ? tokenLogprobs(engine.tokenizer, sample) : null,
    })),
    usage: { prompt_tokens: prompt.length, completion_tokens: tokens, total_tokens: prompt.length + tokens },
  };
  stream?.end(reply, samples);
  return reply;
}

function toMessage({ role, content }: ChatRequest["messages"][number]): ChatMessage {
  const text = typeof content === "string" ? content : content.map((part) => part.text).join("");
  return { role: role === "developer" ? "system" : role, content: text };
}
