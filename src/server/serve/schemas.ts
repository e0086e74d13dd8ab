/** What the service is asked and what it answers: the one source of its checks and of its OpenAPI description. */
import { z } from "zod";
import { rawReasons } from "./search-service.ts";

/** Longest text of a request, in characters. */
const maxText = 4_000;

const historyItem = z.union([
  z.string().min(1).max(maxText),
  z.strictObject({ id: z.string().min(1).max(500), title: z.string().max(maxText) }),
]);

const inputShape = {
  query: z.string().trim().min(1).max(maxText).optional().describe("the user's words"),
  history: z
    .array(historyItem)
    .min(1)
    .max(500)
    .optional()
    .describe("what the user bought or looked at, oldest first: titles, or ids with titles"),
  example: z
    .record(z.string(), z.unknown())
    .optional()
    .describe("an example as the task's own functions take it, where it is neither of the two"),
};

type Input = z.output<z.ZodObject<typeof inputShape>>;

const givesOne = ({ query, history, example }: Input): boolean =>
  [query, history, example].filter((given) => given !== undefined).length === 1;
const onlyOne = { message: "expected exactly one of query, history and example" };

export const rewriteRequest = z.strictObject(inputShape).refine(givesOne, onlyOne);

/** @param maxTopK hits that may be asked for at most */
export function searchRequestOf(maxTopK: number) {
  const topK = z.number().int().min(1).max(maxTopK).default(Math.min(10, maxTopK)).describe("hits at most");
  return z.strictObject({ ...inputShape, topK }).refine(givesOne, onlyOne);
}

/** The example that an input stands for. Judgments are what the policy is for: there are none here. */
export function exampleOf({ query, history, example }: Input): object {
  if (query !== undefined) return { id: "request", query, relevant: [] };
  if (example !== undefined) return { id: "request", relevant: [], ...example };
  const items = (history ?? []).map((item) => (typeof item === "string" ? { id: item, title: item } : item));
  return {
    id: "request",
    user: "request",
    history: items.map(({ id }) => id),
    titles: items.map(({ title }) => title),
    target: "",
    relevant: [],
  };
}

export const searchReply = z.object({
  hits: z.array(
    z.object({
      id: z.string(),
      score: z.number().describe("the recommender's own; only its order matters"),
      payload: z.record(z.string(), z.unknown()).optional().describe("what the catalogue stores for display"),
    }),
  ),
  query: z.string().nullable().describe("what found the hits; null: there was nothing to search for"),
  source: z.enum(["tuned", "raw"]).describe("whose query that is: the policy's or the user's"),
  reason: z.enum(rawReasons).optional().describe("why it is not the policy's"),
  rawQuery: z.string().nullable().describe("the user's own words, as the task searches for them"),
  tunedQuery: z.string().nullable().optional().describe("what the policy wrote, where it did in time"),
  predictedGain: z.number().optional().describe("by the gate, in units of its metric"),
  cached: z.boolean().optional().describe("whether the rewrite was remembered"),
  milliseconds: z.number(),
});

export const rewriteReply = z.object({
  query: z.string().nullable().describe("null: the policy's completion held no query"),
  rawQuery: z.string().nullable(),
  completion: z.string(),
  meanLogprob: z.number(),
  tokens: z.number().int(),
  cached: z.boolean(),
  milliseconds: z.number(),
});

const textPart = z.object({ type: z.literal("text"), text: z.string().max(20_000) });

export const chatRequest = z.object({
  model: z.string().max(200).optional(),
  messages: z
    .array(
      z.object({
        role: z.enum(["system", "developer", "user", "assistant"]),
        content: z.union([z.string().max(20_000), z.array(textPart).max(50)]),
      }),
    )
    .min(1)
    .max(100),
  max_tokens: z.number().int().min(1).nullish(),
  max_completion_tokens: z.number().int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  n: z.number().int().min(1).max(16).nullish(),
  seed: z.number().int().nullish(),
  stop: z.union([z.string().min(1).max(200), z.array(z.string().min(1).max(200)).max(4)]).nullish(),
  logprobs: z.boolean().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().optional() }).nullish(),
});
export type ChatRequest = z.output<typeof chatRequest>;

const usage = z.object({
  prompt_tokens: z.number().int(),
  completion_tokens: z.number().int(),
  total_tokens: z.number().int(),
});

export const chatReply = z.object({
  id: z.string(),
  object: z.literal("chat.completion"),
  created: z.number().int(),
  model: z.string(),
  choices: z.array(
    z.object({
      index: z.number().int(),
      message: z.object({ role: z.literal("assistant"), content: z.string(), refusal: z.null() }),
      finish_reason: z.enum(["stop", "length"]),
      logprobs: z
        .object({
          content: z.array(
            z.object({
              token: z.string(),
              logprob: z.number(),
              bytes: z.array(z.number().int()),
              top_logprobs: z.array(z.never()),
            }),
          ),
        })
        .nullable(),
    }),
  ),
  usage,
});
export type ChatReply = z.output<typeof chatReply>;

export const modelsReply = z.object({
  object: z.literal("list"),
  data: z.array(
    z.object({ id: z.string(), object: z.literal("model"), created: z.number().int(), owned_by: z.string() }),
  ),
});

const gateFigures = z.object({ mean: z.number(), rewritten: z.number(), harmed: z.number(), helped: z.number() });

export const healthReply = z.object({
  status: z.enum(["ok", "stopping"]),
  run: z.string(),
  step: z.number().int().describe("checkpoint that is served; 0: the untrained policy"),
  model: z.string(),
  mode: z.enum(["tuned", "shadow"]),
  waiting: z.number().int().describe("requests that wait for the model"),
  gate: z
    .object({
      metric: z.string(),
      examples: z.number().int(),
      raw: z.number().describe("mean without rewriting"),
      always: gateFigures.describe("with every query rewritten"),
      gated: gateFigures.describe("with the gate, on examples that it was not fitted to"),
    })
    .nullable(),
});
export type HealthReply = z.output<typeof healthReply>;

export const errorReply = z.object({ error: z.object({ code: z.string(), message: z.string() }) });
