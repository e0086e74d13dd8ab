/** The reference values of a small model: what is in its folder and how it is laid out. */
import { join } from "node:path";
import { z } from "zod";
import { DataError } from "../../core/errors.ts";
import type { Datum } from "../../engines/engine.ts";
import type { WeightTensor } from "../../models/model.ts";
import { readSafetensorsFile } from "../../models/read-tensors.ts";
import { computeAdvantages } from "../../rl/advantage.ts";
import { readReference } from "./reference-files.ts";

const ids = z.array(z.int().min(0)).min(1);
const perDatum = z.array(z.array(z.number()));

const referenceSchema = z.object({
  prompts: z.array(ids).min(1),
  completions: z.array(z.array(ids)),
  rewards: z.array(z.array(z.number())),
  advantages: z.array(z.array(z.number())),
  logprobs: perDatum,
  oldLogprobs: perDatum,
  refLogprobs: perDatum,
  loraLogprobs: perDatum.optional(),
  /** `NAME`, `NAME.grad_norm`, `lora_grpo`. */
  losses: z.record(z.string(), z.number()),
  clipGradNorm: z.number().optional(),
  adamw: z
    .object({ lr: z.number(), betas: z.tuple([z.number(), z.number()]), eps: z.number(), weightDecay: z.number() })
    .optional(),
  lora: z.object({ rank: z.int().min(1), alpha: z.number() }).optional(),
});

export interface TinyReference extends z.infer<typeof referenceSchema> {
  /** Prompts with completions, in the order of the log-probs. */
  data: Datum[];
  /** The same with advantages that are not divided by the group's standard deviation. */
  centredData: Datum[];
  /** Named arrays under a prefix such as `grpo`, the prefix taken off. */
  select(prefix: string): Map<string, Float32Array>;
}

/** Reads reference.json and reference.safetensors of `folder`. @throws DataError, ModelError */
export async function readTinyReference(folder: string): Promise<TinyReference> {
  const path = join(folder, "reference.json");
  const reference = await readReference(path, referenceSchema);
  const tensors = await readSafetensorsFile(join(folder, "reference.safetensors"));
  return {
    ...reference,
    data: dataOf(path, reference, reference.advantages),
    centredData: dataOf(path, reference, computeAdvantages(reference.rewards, { norm: "none" })),
    select: (prefix) => select(tensors, `${prefix}/`),
  };
}

function dataOf(path: string, reference: z.infer<typeof referenceSchema>, advantages: readonly number[][]): Datum[] {
  const data: Datum[] = [];
  reference.prompts.forEach((prompt, p) =>
    reference.completions[p]?.forEach((completion, i) => {
      const oldLogprobs = reference.oldLogprobs[data.length];
      const refLogprobs = reference.refLogprobs[data.length];
      const advantage = advantages[p]?.[i];
      if (!oldLogprobs || !refLogprobs || advantage === undefined) {
        throw new DataError("DATA_BAD_FIXTURE", `${path}: completion ${i + 1} of prompt ${p + 1} lacks its values.`);
      }
      data.push({
        prompt,
        completion,
        oldLogprobs: Float32Array.from(oldLogprobs),
        refLogprobs: Float32Array.from(refLogprobs),
        advantage,
      });
    }),
  );
  return data;
}

function select(tensors: ReadonlyMap<string, WeightTensor>, prefix: string): Map<string, Float32Array> {
  return new Map(
    [...tensors].flatMap(([name, { data }]): [string, Float32Array][] =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), data]] : [],
    ),
  );
}
