/** A tokenizer as GGUF metadata: the way back of `gguf-tokenizer.ts`. Byte-level BPE only. */
import { ModelError } from "../core/errors.ts";
import { namePreTokenizer, tokenType } from "./gguf-tokenizer.ts";
import type { GgufEntry } from "./gguf-writer.ts";
import type { TokenizerParts } from "./tokenizer.ts";

interface AddedToken {
  id: number;
  content: string;
  special?: boolean;
}

/**
 * Metadata entries of a tokenizer.
 * @param vocabSize rows of the model's embedding; rows without a token get names of their own
 * @throws ModelError `EXPORT_TOKENIZER` where it is not byte-level BPE that llama.cpp has a pre-tokenizer for
 */
export function ggufTokenizer(parts: TokenizerParts, vocabSize: number): Record<string, GgufEntry> {
  const { tokenizerJson, where } = parts;
  const model = tokenizerJson.model as { type?: unknown; vocab?: Record<string, number>; merges?: unknown };
  const pre = namePreTokenizer(tokenizerJson);
  if (model.type !== "BPE" || !model.vocab || pre === null) {
    throw new ModelError(
      "EXPORT_TOKENIZER",
      `${where}: GGUF files are written for byte-level BPE tokenizers of SmolLM2, GPT-2, Llama 3 and Qwen 2 and 3 only. Export as safetensors; llama.cpp's converter takes that.`,
      { details: { path: where } },
    );
  }
  const added = (tokenizerJson.added_tokens ?? []) as AddedToken[];
  const tokens = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`);
  const kinds = new Array<number>(vocabSize).fill(tokenType.unused);
  const unused = new Set(parts.unusedIds ?? []);
  for (const [token, id] of Object.entries(model.vocab)) {
    tokens[id] = token;
    kinds[id] = unused.has(id) ? tokenType.unused : tokenType.normal;
  }
  for (const { id, content, special } of added) {
    tokens[id] = content;
    kinds[id] = special ? tokenType.control : tokenType.userDefined;
  }
  if (tokens.length !== vocabSize) {
    throw new ModelError("TOKENIZER_MISMATCH", `${where}: it has ids beyond the model's ${vocabSize} tokens.`);
  }
  const idOf = (token: string | null): number => (token === null ? -1 : tokens.indexOf(token));
  const ids = (entries: Record<string, number>): Record<string, GgufEntry> =>
    Object.fromEntries(
      Object.entries(entries)
        .filter(([, id]) => id >= 0)
        .map(([key, value]) => [`tokenizer.ggml.${key}`, { type: "uint32", value }]),
    );
  const eos = idOf(parts.eosToken);
  return {
    "tokenizer.ggml.model": { type: "string", value: "gpt2" },
    "tokenizer.ggml.pre": { type: "string", value: pre },
    "tokenizer.ggml.tokens": { type: "strings", value: tokens },
    "tokenizer.ggml.token_type": { type: "int32s", value: kinds },
    "tokenizer.ggml.merges": { type: "strings", value: mergesOf(model.merges) },
    ...ids({
      bos_token_id: idOf(parts.bosToken),
      eos_token_id: eos,
      eot_token_id: parts.endIds.find((id) => id !== eos) ?? -1,
    }),
    // Chat templates write the token themselves where they want it.
    "tokenizer.ggml.add_bos_token": { type: "bool", value: false },
    ...(parts.chatTemplate === null
      ? {}
      : { "tokenizer.chat_template": { type: "string", value: parts.chatTemplate } }),
  };
}

/** Merges as texts; newer tokenizer files have pairs. */
function mergesOf(merges: unknown): string[] {
  return ((merges ?? []) as (string | [string, string])[]).map((merge) =>
    typeof merge === "string" ? merge : merge.join(" "),
  );
}
