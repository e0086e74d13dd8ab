/**
 * A model behind OpenAI's API as an engine that samples and does not train: prompting baselines, teachers, serving. Such a
 * server takes text and not tokens, so tokens here are bytes: a prompt's ids are the conversation as JSON in UTF-8, a
 * completion's ids its text in UTF-8.
 */
import { allOrStopped } from "../../core/abort.ts";
import { EngineError } from "../../core/errors.ts";
import { randomStream } from "../../core/random.ts";
import type { ChatMessage, ChatTokenizer, Engine, Sample, SamplingParams, TokenIds } from "../engine.ts";
import { OpenAiClient } from "./client.ts";
import type { Account, Completion, CompletionParams, OpenAiClientOptions } from "./client.ts";

export interface OpenAiEngineOptions extends OpenAiClientOptions {
  /** Asks for log-probs, where the server has them. Default true. */
  logprobs?: boolean;
  /** `chat`: conversations; `completions`: plain text, for models without a chat template. Default `chat`. */
  api?: "chat" | "completions";
  /** With `completions`: the text that a conversation becomes. Default: what was said, an empty line between. */
  template?: (messages: readonly ChatMessage[]) => string;
}

const joinContents = (messages: readonly ChatMessage[]): string => messages.map(({ content }) => content).join("\n\n");

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const bytesTokenizer: ChatTokenizer = {
  encodeChat: (messages) => [...encoder.encode(JSON.stringify(messages))],
  encode: (text) => [...encoder.encode(text)],
  decode: (ids) => decoder.decode(Uint8Array.from(ids)),
  endIds: [],
};

export class OpenAiEngine implements Engine {
  readonly description: Readonly<Record<string, unknown>>;
  readonly tokenizer = bytesTokenizer;
  /** The server knows its limit, and says so. */
  readonly contextLength = 2 ** 31;
  private readonly client: OpenAiClient;
  private readonly asksLogprobs: boolean;
  private readonly ask: (messages: readonly ChatMessage[], params: CompletionParams) => Promise<Completion>;

  /** @throws ConfigError on a malformed URL or key */
  constructor(options: OpenAiEngineOptions) {
    const { logprobs = true, api = "chat", template = joinContents } = options;
    const client = new OpenAiClient(options);
    this.client = client;
    this.asksLogprobs = logprobs;
    this.ask =
      api === "chat"
        ? (messages, params) => client.chat(messages, params)
        : (messages, params) => client.complete(template(messages), params);
    this.description = { engine: "openai", server: this.client.origin, model: this.client.model };
  }

  /** Requests, tokens and cost so far. */
  get account(): Readonly<Account> {
    return this.client.account;
  }

  /**
   * One request for each completion, since not every server gives several at once. Log-probs lie at the first byte of each
   * of the server's tokens, the other bytes have 0; where the server gives none they are NaN.
   */
  async sample(prompts: readonly TokenIds[], params: SamplingParams): Promise<Sample[][]> {
    const { n, signal, onProgress, weights, ignoreEnd, stopIds = [] } = params;
    if (weights === "reference") return refuse("has no other weights than its own");
    if (ignoreEnd || stopIds.length > 0) return refuse("can't be told which tokens end a completion");
    let done = 0;
    return allOrStopped(signal, (own) =>
      prompts.map((prompt) =>
        Promise.all(
          Array.from({ length: n }, async (_, index) => {
            const messages = readMessages(prompt);
            const seed = randomStream(params.seed, decoder.decode(Uint8Array.from(prompt)), index).nextInt(2 ** 31);
            const asks = { ...params, seed, logprobs: this.asksLogprobs, signal: own };
            const completion = await this.ask(messages, asks);
            onProgress?.(++done);
            return toSample(completion);
          }),
        ),
      ),
    );
  }

  async forwardBackward(): Promise<never> {
    return refuse("can't be trained");
  }

  async optimStep(): Promise<never> {
    return refuse("can't be trained");
  }

  async zeroGrad(): Promise<void> {
    await Promise.resolve();
  }

  async logprobs(): Promise<never> {
    return refuse("doesn't score given completions");
  }

  async saveState(): Promise<never> {
    return refuse("has no state to save");
  }

  async loadState(): Promise<never> {
    return refuse("has no state to load");
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function refuse(what: string): Promise<never> {
  const message = `A model behind OpenAI's API ${what}; use the local engine, or one on a Tinker server.`;
  return Promise.reject(new EngineError("SAMPLING_ONLY", message));
}

/** The conversation that a prompt's ids are. @throws EngineError where they come from another tokenizer */
function readMessages(prompt: TokenIds): ChatMessage[] {
  try {
    return JSON.parse(decoder.decode(Uint8Array.from(prompt))) as ChatMessage[];
  } catch (cause) {
    throw new EngineError("ENGINE_PROMPT", "A prompt's ids must come from this engine's own tokenizer.", { cause });
  }
}

function toSample({ text, stopReason, tokens }: Completion): Sample {
  const ids = bytesTokenizer.encode(text);
  const logprobs = new Float32Array(ids.length);
  let at = 0;
  for (const { bytes, logprob } of tokens ?? []) {
    if (at < ids.length) logprobs[at] = logprob;
    at += bytes.length;
  }
  return { ids, logprobs: tokens ? logprobs : logprobs.fill(Number.NaN), text, stopReason };
}
