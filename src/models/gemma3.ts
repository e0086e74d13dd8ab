/** What sets Gemma 3's text models apart, from their config.json. */
import type { FamilyTraits } from "./model.ts";
import { SettingsReader } from "./settings-reader.ts";

/** Settings that decide more than the shape. */
export interface ReadTraits {
  traits: FamilyTraits;
  /** Base of the rotation in the layers that have no other. */
  ropeTheta: number;
  /** Tokens beyond which the model would need what isn't supported. */
  maxContextLength: number;
}

/**
 * Gemma 3's text models (Gemma Team 2025). In five of six layers a token sees only a window of those before it; a sequence
 * within the window is computed exactly, so that is how long the context may be.
 */
export function readGemma3Traits(
  settings: SettingsReader,
  { hiddenSize, layers }: { hiddenSize: number; layers: number },
): ReadTraits {
  const tanh = "gelu_pytorch_tanh";
  settings.refuse("hidden_activation", (value) => value !== undefined && value !== tanh, tanh);
  for (const key of ["attn_logit_softcapping", "final_logit_softcapping"]) {
    settings.refuse(key, (value) => value !== undefined, "null");
  }
  settings.refuse("use_bidirectional_attention", (value) => value === true, "false");
  settings.refuse("rope_scaling", (value) => value !== undefined, "null");
  if (layers > 1000) throw settings.wrong("num_hidden_layers", layers, "1,000 at most");
  const types = settings.get("layer_types");
  const period = settings.integer("sliding_window_pattern", { fallback: 6 });
  const isLocal = (layer: number): boolean =>
    Array.isArray(types) ? types[layer] === "sliding_attention" : (layer + 1) % period !== 0;
  const local = Array.from({ length: layers }, (_, layer) => layer).filter(isLocal);
  // Transformers 5 has both bases in rope_parameters, by kind of layer; 4 in two settings.
  const byKind = (settings.get("rope_parameters") ?? {}) as Record<string, unknown>;
  const theta = (kind: string, key: string, fallback: number): number => {
    const own = new SettingsReader(
      `rope_parameters.${kind}`,
      (name) => (byKind[kind] as Record<string, unknown> | null | undefined)?.[name],
    );
    own.refuse("rope_type", (value) => value !== undefined && value !== "default", "default");
    return own.number("rope_theta", { min: 1, fallback: settings.number(key, { min: 1, fallback }) });
  };
  return {
    traits: {
      activation: "gelu_tanh",
      normsAround: true,
      normOffset: 1,
      embeddingScale: Math.sqrt(hiddenSize),
      attentionScale: settings.number("query_pre_attn_scalar", { min: 1e-9, fallback: 256 }) ** -0.5,
      localRope: { theta: theta("sliding_attention", "rope_local_base_freq", 10_000), layers: local },
    },
    ropeTheta: theta("full_attention", "rope_theta", 1_000_000),
    maxContextLength:
      local.length > 0 ? settings.integer("sliding_window", { fallback: 4096 }) : Number.MAX_SAFE_INTEGER,
  };
}
