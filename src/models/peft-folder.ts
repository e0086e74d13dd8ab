/**
 * LoRA adapters as folders of Hugging Face's PEFT: adapter_config.json, and adapter_model.safetensors with the names that
 * `get_peft_model_state_dict` gives: those of the modules behind `base_model.model.`.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describeFileError, makeWithParents } from "../core/atomic-write.ts";
import { ModelError } from "../core/errors.ts";
import { writeTokenizer } from "./export-folder.ts";
import { readJsonFile } from "./hub-tokenizer.ts";
import { readSafetensorsFile } from "./read-tensors.ts";
import { writeSafetensors } from "./safetensors-writer.ts";
import type { TokenizerParts } from "./tokenizer.ts";

const prefix = "base_model.model.";

export interface PeftAdapter {
  rank: number;
  /** The adapter's output is scaled by alpha / rank. */
  alpha: number;
  /** Last parts of the adapted modules' names, such as `q_proj`. */
  targets: readonly string[];
  /** By name without the prefix: `model.layers.0.self_attn.q_proj.lora_A.weight` `[rank, in]`, `….lora_B.weight` `[out, rank]`. */
  tensors: ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>;
}

/**
 * Writes an adapter, and the tokenizer that its model was trained with.
 * @param base repository or folder of the base model, which PEFT loads by this name
 * @throws RecR1Error `DISK_FULL` …
 */
export async function writePeftFolder(
  folder: string,
  { rank, alpha, targets, tensors }: PeftAdapter,
  { base, parts }: { base: string; parts: TokenizerParts | null },
): Promise<void> {
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    target_modules: [...targets],
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    use_rslora: false,
    use_dora: false,
    modules_to_save: null,
    rank_pattern: {},
    alpha_pattern: {},
  };
  try {
    await makeWithParents(folder);
    await writeFile(join(folder, "adapter_config.json"), `${JSON.stringify(config, null, 2)}\n`);
    const named = [...tensors].map(([name, tensor]) => ({ name: prefix + name, ...tensor }));
    await writeSafetensors(join(folder, "adapter_model.safetensors"), named);
    if (parts) await writeTokenizer(folder, parts);
  } catch (error) {
    throw describeFileError(error, "write the adapter to", folder);
  }
}

/**
 * Reads a PEFT folder with one plain LoRA adapter.
 * @throws ModelError `ADAPTER_UNSUPPORTED` where it holds something else; where files are missing or damaged
 */
export async function readPeftFolder(folder: string): Promise<PeftAdapter> {
  const path = join(folder, "adapter_config.json");
  const config = await readJsonFile(path);
  const bad = (what: string): ModelError =>
    new ModelError("ADAPTER_UNSUPPORTED", `${path}: ${what}.`, { details: { path } });
  if (!config) throw bad("there is no such file, so the folder holds no PEFT adapter");
  if (config.peft_type !== "LORA") throw bad(`peft_type is ${JSON.stringify(config.peft_type)}, expected "LORA"`);
  for (const key of ["use_rslora", "use_dora", "fan_in_fan_out"]) {
    if (config[key] === true) throw bad(`${key} is not supported`);
  }
  for (const key of ["rank_pattern", "alpha_pattern"]) {
    if (Object.keys((config[key] as object | null | undefined) ?? {}).length > 0) throw bad(`${key} is not supported`);
  }
  const { r: rank, lora_alpha: alpha, target_modules: targets } = config;
  if (!Number.isInteger(rank) || typeof alpha !== "number" || !Array.isArray(targets)) {
    throw bad("it must have r, lora_alpha and a list of target_modules");
  }
  const stored = await readSafetensorsFile(join(folder, "adapter_model.safetensors"));
  const tensors = new Map(
    [...stored].map(([name, tensor]) => {
      if (!name.startsWith(prefix)) throw bad(`the tensor ${name} doesn't begin with ${prefix}`);
      return [name.slice(prefix.length), tensor] as const;
    }),
  );
  return { rank: rank as number, alpha, targets: targets.map(String), tensors };
}
