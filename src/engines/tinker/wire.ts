/**
 * What goes over the wire of the Tinker API, in the plain shapes that the rest of the client works with, and the JSON
 * form of the messages that also have a protobuf form. Field names of the JSON bodies are the API's own.
 */
import { z } from "zod";

/** A loss input of one datum `[T]`. */
export interface TensorWire {
  dtype: "float32" | "int64";
  data: ArrayLike<number>;
}

/** Input tokens `[T]`, and the loss's inputs for each of their successors `[T]` by the API's names. */
export interface DatumWire {
  tokens: readonly number[];
  inputs: Record<string, TensorWire>;
}

export interface ForwardBackwardWire {
  modelId: string;
  seqId: number;
  data: readonly DatumWire[];
  lossFn: string;
  lossFnConfig: Readonly<Record<string, number>>;
  /** No gradients. */
  forwardOnly: boolean;
}

export interface ForwardBackwardReply {
  /** Of each datum: `logprobs` `[T]`, `elementwise_loss` `[T]` … */
  outputs: Record<string, Float32Array>[];
  metrics: Record<string, number>;
}

export interface SequenceWire {
  stopReason: "stop" | "length";
  tokens: number[];
  logprobs: Float32Array | null;
}

export interface SampleReply {
  sequences: SequenceWire[];
  /** Of the prompt's tokens; some servers leave out the first, which has none. */
  promptLogprobs: Float32Array | null;
}

/** The JSON body of forward_backward and of forward, which had a path of its own before protobuf. */
export function toForwardBackwardJson(request: ForwardBackwardWire): { path: string; body: Record<string, unknown> } {
  const { modelId, seqId, data, lossFn, lossFnConfig, forwardOnly } = request;
  const input = {
    data: data.map(({ tokens, inputs }) => ({
      model_input: { chunks: [{ tokens }] },
      loss_fn_inputs: Object.fromEntries(
        Object.entries(inputs).map(([name, { dtype, data }]) => [
          name,
          { data: Array.from(data), dtype, shape: [data.length] },
        ]),
      ),
    })),
    loss_fn: lossFn,
    loss_fn_config: Object.keys(lossFnConfig).length > 0 ? lossFnConfig : null,
  };
  return forwardOnly
    ? { path: "/api/v1/forward", body: { forward_input: input, model_id: modelId, seq_id: seqId } }
    : { path: "/api/v1/forward_backward", body: { forward_backward_input: input, model_id: modelId, seq_id: seqId } };
}

const numbers = z.array(z.number());
const tensorSchema = z.object({ data: numbers });

/** The input in the JSON body that {@link toForwardBackwardJson} writes. */
export const forwardBackwardInputSchema = z.object({
  loss_fn: z.string(),
  loss_fn_config: z.record(z.string(), z.number()).nullish(),
  data: z.array(
    z.object({
      model_input: z.object({ chunks: z.array(z.object({ tokens: numbers })) }),
      loss_fn_inputs: z.record(z.string(), tensorSchema),
    }),
  ),
});

/** Replies that are JSON in both forms. */
export const capabilitiesSchema = z.object({
  supported_models: z.array(z.object({ model_name: z.string().nullish(), max_context_length: z.number().nullish() })),
});
export const clientConfigSchema = z.object({
  fwdbwd_max_chunk_len: z.number().int().positive().optional(),
  fwdbwd_max_chunk_bytes_count: z.number().int().positive().optional(),
  sample_max_concurrent_requests: z.number().int().positive().optional(),
});
export const sessionSchema = z.object({ session_id: z.string(), error_message: z.string().nullish() });
export const futureSchema = z.object({ request_id: z.string() });
export const createdModelSchema = z.object({ model_id: z.string(), request_id: z.string() });
export const samplingSessionSchema = z.object({ sampling_session_id: z.string() });
export const samplerWeightsSchema = z.object({
  path: z.string().nullish(),
  sampling_session_id: z.string().nullish(),
});
export const savedWeightsSchema = z.object({ path: z.string() });
/** A number that isn't finite has no JSON. */
const metricSchema = z
  .number()
  .nullable()
  .transform((value) => value ?? Number.NaN);
export const optimReplySchema = z.object({ metrics: z.record(z.string(), metricSchema).nullish() });

export const forwardBackwardReplySchema = z
  .object({
    loss_fn_outputs: z.array(z.record(z.string(), tensorSchema)),
    metrics: z.record(z.string(), z.number()).nullish(),
  })
  .transform(({ loss_fn_outputs, metrics }): ForwardBackwardReply => ({
    outputs: loss_fn_outputs.map((output) =>
      Object.fromEntries(Object.entries(output).map(([name, { data }]) => [name, Float32Array.from(data)])),
    ),
    metrics: metrics ?? {},
  }));

export const sampleReplySchema = z
  .object({
    sequences: z.array(
      z.object({ stop_reason: z.enum(["stop", "length"]), tokens: numbers, logprobs: numbers.nullish() }),
    ),
    prompt_logprobs: z.array(z.number().nullable()).nullish(),
  })
  .transform(({ sequences, prompt_logprobs }): SampleReply => ({
    sequences: sequences.map(({ stop_reason, tokens, logprobs }) => ({
      stopReason: stop_reason,
      tokens,
      logprobs: logprobs ? Float32Array.from(logprobs) : null,
    })),
    promptLogprobs: prompt_logprobs ? Float32Array.from(prompt_logprobs, (value) => value ?? Number.NaN) : null,
  }));

/** What a future that isn't done, or failed, answers. */
export const tryAgainSchema = z.object({ type: z.literal("try_again") });
export const failedSchema = z.object({ error: z.string(), category: z.string().nullish() });
