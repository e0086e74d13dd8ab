/** The JSON bodies that the Tinker API's requests have, as far as this server reads them. */
import { z } from "zod";
import { RequestError } from "./futures.ts";

const sequence = { model_id: z.string(), seq_id: z.number().int().nullish() };
const tokens = z.array(z.number().int().min(0));

export const session = z.object({ session_id: z.string() });
export const model = z.object({ model_id: z.string() });
export const future = z.object({ request_id: z.string() });
export const weightsInfo = z.object({ tinker_path: z.string() });

export const createModel = z.object({
  session_id: z.string(),
  base_model: z.string(),
  lora_config: z.object({ rank: z.number().int().min(1).max(1024), seed: z.number().int().nullish() }).nullish(),
});

export const forwardBackward = z.object({
  ...sequence,
  forward_backward_input: z.unknown().optional(),
  forward_input: z.unknown().optional(),
});

export const optimStep = z.object({
  ...sequence,
  adam_params: z.object({
    learning_rate: z.number().min(0).default(1e-4),
    beta1: z.number().min(0).lt(1).default(0.9),
    beta2: z.number().min(0).lt(1).default(0.95),
    eps: z.number().positive().default(1e-12),
    weight_decay: z.number().min(0).default(0),
    grad_clip_norm: z.number().min(0).default(0),
  }),
});

export const saveWeights = z.object({ ...sequence, path: z.string() });
/** Into a model that was made for it, or (newer clients) into one that this makes: then `session_id` and `model_seq_id` name it. */
export const loadWeights = z.union([
  z.object({ ...sequence, path: z.string() }),
  z.object({
    session_id: z.string(),
    model_seq_id: z.number().int().min(0),
    base_model: z.string().nullish(),
    path: z.string(),
  }),
]);
export const saveWeightsForSampler = z.object({ ...sequence, path: z.string().nullish() });

export const createSamplingSession = z.object({
  session_id: z.string(),
  base_model: z.string().nullish(),
  model_path: z.string().nullish(),
});

export const sample = z.object({
  num_samples: z.number().int().min(1).max(4096).default(1),
  prompt: z.object({ chunks: z.array(z.object({ tokens })) }),
  sampling_params: z.object({
    max_tokens: z.number().int().min(1).nullish(),
    seed: z.number().int().nullish(),
    temperature: z.number().min(0).default(1),
    top_k: z.number().int().default(-1),
    top_p: z.number().gt(0).max(1).default(1),
    stop: z.union([z.string(), z.array(z.string()), z.array(z.number().int())]).nullish(),
  }),
  base_model: z.string().nullish(),
  model_path: z.string().nullish(),
  sampling_session_id: z.string().nullish(),
  prompt_logprobs: z
    .boolean()
    .nullish()
    .transform((asked) => asked ?? false),
  topk_prompt_logprobs: z.unknown().optional(),
  topk_sample_logprobs: z.unknown().optional(),
  target_prompt_logprobs: z.unknown().optional(),
  prompt_alt_tokens_k: z.unknown().optional(),
  prompt_logprobs_last_n: z.unknown().optional(),
  record_stability_info: z.unknown().optional(),
});

/** Options of sampling that clients of today may ask for and this server hasn't got. */
export const notOffered = [
  "topk_prompt_logprobs",
  "topk_sample_logprobs",
  "target_prompt_logprobs",
  "prompt_alt_tokens_k",
  "prompt_logprobs_last_n",
  "record_stability_info",
] as const satisfies readonly (keyof z.output<typeof sample>)[];

/** Stop strings or stop ids, as the engine takes them. */
export function readStop(stop: string | string[] | number[] | null | undefined): {
  stop?: string[];
  stopIds?: number[];
} {
  const all = typeof stop === "string" ? [stop] : (stop ?? []);
  const strings = all.filter((item) => typeof item === "string");
  const ids = all.filter((item) => typeof item === "number");
  return { ...(strings.length > 0 ? { stop: strings } : {}), ...(ids.length > 0 ? { stopIds: ids } : {}) };
}

/** @throws RequestError 422 */
export function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (error) {
    throw new RequestError(422, `The body is not JSON: ${(error as Error).message.slice(0, 100)}`);
  }
}

/** @throws RequestError 422, naming the fields */
export function parse<T>(value: unknown, schema: z.ZodType<T>): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.slice(0, 5).map(({ path, message }) => `${path.join(".") || "body"}: ${message}`);
  throw new RequestError(422, issues.join("; "));
}
