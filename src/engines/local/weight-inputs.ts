/**
 * Which weights a graph of this model takes as inputs, under their Hugging Face names, and which of them are trained.
 * Knows shapes and names, never the numbers.
 */
import type { Graph, Value } from "../../graph/graph.ts";
import type { ModelConfig } from "../../models/model.ts";

/** The linear layers that LoRA can adapt, by the last part of their module's name. */
export const projectionNames = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;
export type ProjectionName = (typeof projectionNames)[number];

export interface LoraOptions {
  rank: number;
  /** The adapter's output is scaled by alpha / rank. */
  alpha: number;
  targets: readonly ProjectionName[];
}

/** What is trained: an adapter, or every weight. */
export type Training = { kind: "lora"; lora: LoraOptions } | { kind: "full" };

/** `[out, in]` of a projection. */
export function projectionShape(config: ModelConfig, projection: ProjectionName): [number, number] {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  switch (projection) {
    case "q_proj":
      return [heads * headDim, hiddenSize];
    case "k_proj":
    case "v_proj":
      return [kvHeads * headDim, hiddenSize];
    case "o_proj":
      return [hiddenSize, heads * headDim];
    case "gate_proj":
    case "up_proj":
      return [intermediateSize, hiddenSize];
    case "down_proj":
      return [hiddenSize, intermediateSize];
  }
}

/** Module name such as `model.layers.3.self_attn.q_proj`. */
export function projectionModule(layer: number, projection: ProjectionName): string {
  const block = projection.endsWith("_proj") && "qkvo".includes(projection[0] as string) ? "self_attn" : "mlp";
  return `model.layers.${layer}.${block}.${projection}`;
}

/** Every projection of the model as [module name, [out, in]]. */
export function listProjections(
  config: ModelConfig,
  projections: readonly ProjectionName[] = projectionNames,
): { module: string; shape: [number, number] }[] {
  return Array.from({ length: config.layers }, (_, layer) =>
    projections.map((projection) => ({
      module: projectionModule(layer, projection),
      shape: projectionShape(config, projection),
    })),
  ).flat();
}

/** Names of an adapter's two matrices, as PEFT writes them. */
export function loraNames(module: string): { a: string; b: string } {
  return { a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` };
}

/** Name of the matrix that turns hidden states into logits. */
export function headName(config: ModelConfig): string {
  return config.tieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
}

/** Declares weight inputs on first use and remembers them by name. */
export class WeightInputs {
  private readonly graph: Graph;
  private readonly declared = new Map<string, Value>();

  constructor(graph: Graph) {
    this.graph = graph;
  }

  get(name: string, shape: readonly number[]): Value {
    const known = this.declared.get(name);
    if (known) return known;
    const value = this.graph.input(name, "float32", shape);
    this.declared.set(name, value);
    return value;
  }

  /** All declared so far, by name. */
  get all(): ReadonlyMap<string, Value> {
    return this.declared;
  }
}
