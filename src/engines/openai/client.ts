/**
 * Completions from a server with OpenAI's API: vLLM, llama.cpp, Ollama, hosted services. They differ in which options they
 * take; one that is refused by name is left out from then on. Counts requests, tokens and cost.
 */
import { z } from "zod";
import type { ChatMessage } from "../engine.ts";
import { RemoteEngineError, RemoteHttp } from "../remote-http.ts";
import type { RemoteHttpOptions } from "../remote-http.ts";
import { RequestLimit } from "../request-limit.ts";

export interface OpenAiClientOptions extends Omit<RemoteHttpOptions, "keyHeader"> {
  /** The model's name on the server. */
  model: string;
  /** Requests open at once. Default 8. */
  maxOpenRequests?: number;
  /** Price of a million tokens, in any currency. Default 0. */
  prices?: { input: number; output: number };
}

export interface CompletionParams {
  /** In tokens. */
  maxTokens: number;
  temperature: number;
  topP?: number | undefined;
  topK?: number | undefined;
  minP?: number | undefined;
  stop?: readonly string[] | undefined;
  seed?: number | undefined;
  /** Asks for log-probs, where the server has them. Default false. */
  logprobs?: boolean;
  signal?: AbortSignal | undefined;
}

export interface Completion {
  text: string;
  stopReason: "stop" | "length";
  /** Of each token, with its text as UTF-8; null where the server gave none. */
  tokens: { bytes: Uint8Array; logprob: number }[] | null;
}

/** What was used so far. */
export interface Account {
  requests: number;
  promptTokens: number;
  completionTokens: number;
  /** Requests whose answer said nothing of tokens: they are in neither tokens nor cost. */
  unmetered: number;
  /** In the currency of the prices. */
  cost: number;
}

/** Options that a server may not know, by the name that it would refuse. */
type Optional = "logprobs" | "seed" | "top_p" | "top_k" | "min_p" | "max_tokens";

const usageSchema = z
  .object({ prompt_tokens: z.number().nullish(), completion_tokens: z.number().nullish() })
  .nullish();
const chatReplySchema = z.object({
  choices: z
    .array(
      z.object({
        message: z.object({ content: z.string().nullish() }),
        finish_reason: z.string().nullish(),
        logprobs: z
          .object({
            content: z
              .array(z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.number()).nullish() }))
              .nullish(),
          })
          .nullish(),
      }),
    )
    .min(1),
  usage: usageSchema,
});
const textReplySchema = z.object({
  choices: z
    .array(
      z.object({
        text: z.string(),
        finish_reason: z.string().nullish(),
        logprobs: z
          .object({ tokens: z.array(z.string()).nullish(), token_logprobs: z.array(z.number().nullable()).nullish() })
          .nullish(),
      }),
    )
    .min(1),
  usage: usageSchema,
});

const chatPath = "/chat/completions";

export class OpenAiClient {
  readonly model: string;
  readonly origin: string;
  private readonly http: RemoteHttp;
  private readonly open: RequestLimit;
  private readonly prices: { input: number; output: number };
  private readonly refused = new Set<Optional>();
  private readonly used: Account = {
    requests: 0,
    promptTokens: 0,
    completionTokens: 0,
    unmetered: 0,
    cost: 0,
  };

  /** @param options `url` up to and with its version, such as `http://127.0.0.1:8000/v1` @throws ConfigError */
  constructor(options: OpenAiClientOptions) {
    const { model, maxOpenRequests = 8, prices = { input: 0, output: 0 } } = options;
    this.http = new RemoteHttp({ ...options, keyHeader: { name: "authorization", prefix: "Bearer " } });
    this.origin = this.http.origin;
    this.model = model;
    this.open = new RequestLimit(maxOpenRequests);
    this.prices = prices;
  }

  /** Requests, tokens and cost so far. */
  get account(): Readonly<Account> {
    return { ...this.used };
  }

  /** The assistant's answer to a conversation. @throws RemoteEngineError, AbortError */
  async chat(messages: readonly ChatMessage[], params: CompletionParams): Promise<Completion> {
    const reply = await this.ask(chatPath, chatReplySchema, params, {
      messages,
      ...(params.logprobs ? { logprobs: true } : {}),
    });
    const { message, finish_reason, logprobs } = reply.choices[0] as (typeof reply.choices)[number];
    const tokens = logprobs?.content?.map(({ token, logprob, bytes }) => ({
      bytes: bytes ? Uint8Array.from(bytes) : new TextEncoder().encode(token),
      logprob,
    }));
    return { text: message.content ?? "", stopReason: toStopReason(finish_reason), tokens: tokens ?? null };
  }

  /** The continuation of a text. @throws RemoteEngineError, AbortError */
  async complete(prompt: string, params: CompletionParams): Promise<Completion> {
    const reply = await this.ask("/completions", textReplySchema, params, {
      prompt,
      ...(params.logprobs ? { logprobs: 0 } : {}),
    });
    const { text, finish_reason, logprobs } = reply.choices[0] as (typeof reply.choices)[number];
    const tokens = logprobs?.tokens?.map((token, i) => ({
      bytes: new TextEncoder().encode(token),
      logprob: logprobs.token_logprobs?.[i] ?? Number.NaN,
    }));
    return { text, stopReason: toStopReason(finish_reason), tokens: tokens ?? null };
  }

  private ask<T extends { usage?: z.output<typeof usageSchema> }>(
    path: string,
    schema: z.ZodType<T>,
    params: CompletionParams,
    own: Record<string, unknown>,
  ): Promise<T> {
    return this.open.run(async () => {
      const learnt: Optional[] = [];
      for (;;) {
        const json = this.without(path, { model: this.model, ...own, ...toBody(params) });
        try {
          const reply = schema.safeParse(await this.http.sendForJson(path, { json, signal: params.signal }));
          if (reply.success) {
            this.count(reply.data.usage);
            return reply.data;
          }
          throw new RemoteEngineError(
            "ENGINE_BAD_REPLY",
            `${this.origin}${path} answered in an unknown shape: ${reply.error.issues[0]?.path.join(".")}: ${reply.error.issues[0]?.message}. Check that the URL is that of an OpenAI-compatible server, with its version (…/v1).`,
          );
        } catch (error) {
          const refused = findRefused(error, json);
          if (refused === undefined || learnt.includes(refused)) {
            // What didn't help was no refusal of that option.
            for (const name of learnt) this.refused.delete(name);
            throw error;
          }
          learnt.push(refused);
          this.refused.add(refused);
        }
      }
    });
  }

  private without(path: string, body: Record<string, unknown>): Record<string, unknown> {
    const kept = Object.fromEntries(Object.entries(body).filter(([name]) => !this.refused.has(name as Optional)));
    if (!this.refused.has("max_tokens")) return kept;
    // Newer models of OpenAI's know the limit of an answer by another name only, that of a text by this one.
    const { max_tokens } = body;
    return { ...kept, ...(path === chatPath ? { max_completion_tokens: max_tokens } : { max_tokens }) };
  }

  private count(usage: z.output<typeof usageSchema>): void {
    const { prompt_tokens, completion_tokens } = usage ?? {};
    this.used.requests++;
    if (typeof prompt_tokens !== "number" || typeof completion_tokens !== "number") this.used.unmetered++;
    this.used.promptTokens += prompt_tokens ?? 0;
    this.used.completionTokens += completion_tokens ?? 0;
    const { input, output } = this.prices;
    this.used.cost += ((prompt_tokens ?? 0) * input + (completion_tokens ?? 0) * output) / 1e6;
  }
}

/** How servers say that they don't take an option, rather than its value. */
const refusal =
  /unsupported|(n't|not) (support|permit|allow|recogni|enabled|available|implement)|unknown|unrecogni[sz]ed|unexpected|extra (inputs|fields)|use \W*\w+\W* instead/i;

/** The option of `sent` that was refused; undefined where none was. */
function findRefused(error: unknown, sent: Readonly<Record<string, unknown>>): Optional | undefined {
  if (!(error instanceof RemoteEngineError) || (error.status !== 400 && error.status !== 422)) return undefined;
  if (!refusal.test(error.message)) return undefined;
  const names: Optional[] = ["logprobs", "seed", "top_k", "min_p", "top_p", "max_tokens"];
  return names.find((name) => name in sent && new RegExp(`\\b${name}\\b`).test(error.message));
}

function toBody({ maxTokens, temperature, topP = 1, topK = 0, minP = 0, stop = [], seed }: CompletionParams): object {
  return {
    max_tokens: maxTokens,
    temperature,
    ...(topP < 1 ? { top_p: topP } : {}),
    ...(topK > 0 ? { top_k: topK } : {}),
    ...(minP > 0 ? { min_p: minP } : {}),
    ...(stop.length > 0 ? { stop } : {}),
    ...(seed === undefined ? {} : { seed }),
  };
}

const toStopReason = (finishReason: string | null | undefined): "stop" | "length" =>
  finishReason === "length" ? "length" : "stop";
