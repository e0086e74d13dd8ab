/**
 * What a loaded model is: its shape, its weights as float32 arrays under Hugging Face names, and its tokenizer. Nothing
 * here knows of graphs, engines or files.
 */

/** One weight, row-major float32. */
export interface WeightTensor {
  /** `[out, in]` of a linear layer, `[n]` of a norm or bias, `[vocab, hidden]` of the embedding. */
  readonly shape: readonly number[];
  /** A view; fused neighbours (q, k, v and gate, up) share one `ArrayBuffer`. */
  data: Float32Array;
}

/** How rotary position frequencies are stretched for contexts longer than the original one. */
export type RopeScaling =
  | {
      type: "llama3";
      factor: number;
      lowFreqFactor: number;
      highFreqFactor: number;
      /** In tokens. */
      originalContextLength: number;
    }
  | { type: "linear"; factor: number };

/** The shape of a decoder-only transformer with RMS norms, rotary positions and a gated SiLU feed-forward layer. */
export interface ModelConfig {
  architecture: "llama" | "qwen2" | "qwen3" | "gemma3_text";
  /** Rows of the embedding; the tokenizer may have fewer tokens. */
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  /** Size of one head; `heads × headDim` may differ from `hiddenSize`. */
  headDim: number;
  /** In tokens. */
  contextLength: number;
  /** The model's own, where {@link contextLength} is a part of it. */
  fullContextLength?: number;
  rmsNormEps: number;
  ropeTheta: number;
  ropeScaling: RopeScaling | null;
  /** The output layer is the embedding, transposed. */
  tieWordEmbeddings: boolean;
  /** Biases on q, k and v (none on o). */
  attentionBias: boolean;
  /** An RMS norm over each head of q and k, before the rotation. */
  qkNorm: boolean;
  /** What else sets the family apart. Default: as in Llama. */
  traits?: FamilyTraits;
}

/** Ways in which families differ; the graph builder knows these and no family by name. */
export interface FamilyTraits {
  /** What the feed-forward layer's gate passes through. Default silu. */
  activation?: "silu" | "gelu_tanh";
  /** Norms also after attention and after the feed-forward layer, before their results are added. Default false. */
  normsAround?: boolean;
  /** Added to the weights of norms, where they are stored as differences from 1. Default 0. */
  normOffset?: number;
  /** Embeddings are multiplied by it. Default 1. */
  embeddingScale?: number;
  /** Scores of attention are multiplied by it. Default 1 / √headDim. */
  attentionScale?: number;
  /** Layers whose positions turn by another base, unstretched. Default none. */
  localRope?: { theta: number; layers: readonly number[] };
}

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

/** Text to tokens and back, with the model's own chat template. */
export interface ChatTokenizer {
  /** Ids of the rendered conversation, up to where the assistant's answer begins. */
  encodeChat(messages: readonly ChatMessage[]): number[];
  /** Ids of plain text, without special tokens added. */
  encode(text: string): number[];
  /** Text of ids; special tokens are left out. */
  decode(ids: readonly number[]): string;
  /** Ids that end an answer. */
  readonly endIds: readonly number[];
}

export interface LoadedModel {
  /** The known name, or the file's or folder's own. */
  name: string;
  config: ModelConfig;
  /**
   * By Hugging Face name: `model.embed_tokens.weight`, `model.layers.0.self_attn.q_proj.weight` …; `lm_head.weight` only
   * when it is not tied to the embedding. Within a layer q, k, v lie one after the other in one `ArrayBuffer`; so do the
   * biases of q, k, v, and gate, up.
   */
  weights: Map<string, WeightTensor>;
  /** Null where the folder holds no tokenizer. */
  tokenizer: ChatTokenizer | null;
  /** SHA-256 of the configuration and the weights as stored: the same model from the same files. */
  fingerprint: string;
}
