/**
 * The tokenizer that a GGUF file's own metadata describes, in the layout of tokenizer.json. Byte-level BPE only; the
 * pre-tokenizers are those of llama.cpp's `llama_vocab_pre_type`, spelled as the original models' tokenizer.json.
 */
import { ModelError } from "../core/errors.ts";
import type { GgufHeader } from "./gguf.ts";
import { corruptFile } from "./model-file-errors.ts";
import type { TokenizerParts } from "./tokenizer.ts";
import { wordsWithDigits } from "./word-pattern.ts";

type Json = Readonly<Record<string, unknown>>;

const byteLevel = (useRegex: boolean): Json => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});

/** Words split by `pattern`, then turned into bytes. */
const splitBy = (pattern: string): Json => ({
  type: "Sequence",
  pretokenizers: [
    { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
    byteLevel(false),
  ],
});

interface PreTokenizer {
  preTokenizer: Json;
  normalizer: Json | null;
  /** A word that is a token is that token, whatever the merges say. */
  ignoreMerges: boolean;
}

const gpt2: PreTokenizer = { preTokenizer: byteLevel(true), normalizer: null, ignoreMerges: false };
const smollm: PreTokenizer = {
  preTokenizer: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel(true)] },
  normalizer: null,
  ignoreMerges: false,
};
const llama3: PreTokenizer = {
  preTokenizer: splitBy(wordsWithDigits("\\p{N}{1,3}")),
  normalizer: null,
  ignoreMerges: true,
};
const qwen2: PreTokenizer = {
  preTokenizer: splitBy(wordsWithDigits("\\p{N}")),
  normalizer: { type: "NFC" },
  ignoreMerges: false,
};

/** By `tokenizer.ggml.pre`. */
const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  smollm,
  "gpt-2": gpt2,
  "llama-bpe": llama3,
  "llama-v3": llama3,
  llama3,
  qwen2,
  "deepseek-r1-qwen": qwen2,
};

/** `tokenizer.ggml.token_type`. */
export const tokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5 } as const;

/** The name that llama.cpp knows a tokenizer.json's way of splitting text by; null: none of those here. */
export function namePreTokenizer(tokenizerJson: Json): string | null {
  const split = tokenizerJson.pre_tokenizer as { type?: unknown; pretokenizers?: readonly Json[] } | null | undefined;
  const steps = split?.type === "Sequence" ? (split.pretokenizers ?? []) : split ? [split as Json] : [];
  const describe = (list: readonly Json[]): string =>
    JSON.stringify(
      list.map(({ type, pattern, individual_digits: digits }) => [
        type,
        (pattern as Json | undefined)?.Regex ?? null,
        digits ?? null,
      ]),
    );
  const found = (["smollm", "gpt-2", "llama-bpe", "qwen2"] as const).find((name) => {
    const { preTokenizer } = preTokenizers[name] as PreTokenizer;
    const own = preTokenizer.type === "Sequence" ? (preTokenizer.pretokenizers as Json[]) : [preTokenizer];
    return describe(own) === describe(steps);
  });
  return found ?? null;
}

/**
 * Reads the tokenizer of a GGUF file.
 * @returns its parts; null where the file has no tokenizer
 * @throws ModelError where it is malformed or of a kind that isn't supported
 */
export function tokenizerFromGguf(header: GgufHeader, path: string): TokenizerParts | null {
  const { metadata } = header;
  const model = metadata.get("tokenizer.ggml.model");
  if (model === undefined || model === "none") return null;
  const pre = metadata.get("tokenizer.ggml.pre");
  const preTokenizer = typeof pre === "string" && Object.hasOwn(preTokenizers, pre) ? preTokenizers[pre] : undefined;
  if (model !== "gpt2" || !preTokenizer) {
    throw new ModelError(
      "UNSUPPORTED_TOKENIZER",
      `${path}: the tokenizer is ${JSON.stringify(model)} with pre-tokenizer ${JSON.stringify(pre ?? null)}, which is ` +
        `not supported in GGUF files. Supported: "gpt2" with ${Object.keys(preTokenizers).join(", ")}. ` +
        "Use the model's Hugging Face folder instead: its tokenizer.json says all.",
      { details: { path, model, pre } },
    );
  }
  const tokens = strings(header, path, "tokenizer.ggml.tokens");
  const merges = strings(header, path, "tokenizer.ggml.merges");
  const types = tokenTypes(header, path, tokens.length);
  const badMerge = merges.findIndex((merge) => merge.indexOf(" ", 1) < 0);
  if (badMerge >= 0) throw corruptFile(path, 0, `tokenizer.ggml.merges[${badMerge}] is not two tokens`);
  const tokenAt = (key: string): string | null => {
    const id = metadata.get(`tokenizer.ggml.${key}`);
    return typeof id === "number" ? (tokens[id] ?? null) : null;
  };
  const isAdded = (type: number): boolean =>
    type === tokenType.control || type === tokenType.userDefined || type === tokenType.unknown;
  const template = metadata.get("tokenizer.chat_template");
  return {
    where: path,
    tokenizerJson: {
      version: "1.0",
      added_tokens: tokens.flatMap((content, id) =>
        isAdded(types[id]!) && content !== ""
          ? [{ id, content, special: types[id] !== tokenType.userDefined, normalized: false }]
          : [],
      ),
      normalizer: preTokenizer.normalizer,
      pre_tokenizer: preTokenizer.preTokenizer,
      post_processor: null,
      decoder: byteLevel(true),
      model: {
        type: "BPE",
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges,
        unk_token: tokenAt("unknown_token_id"),
        ignore_merges: preTokenizer.ignoreMerges,
      },
    },
    tokenizerConfig: { clean_up_tokenization_spaces: false },
    chatTemplate: typeof template === "string" ? template : null,
    bosToken: tokenAt("bos_token_id"),
    eosToken: tokenAt("eos_token_id"),
    endIds: ["eos_token_id", "eot_token_id", "eom_token_id"].flatMap((key) => {
      const id = metadata.get(`tokenizer.ggml.${key}`);
      return typeof id === "number" && id >= 0 && id < tokens.length ? [id] : [];
    }),
    unusedIds: tokens.flatMap((_, id) => (types[id] === tokenType.unused ? [id] : [])),
  };
}

function strings(header: GgufHeader, path: string, key: string): string[] {
  const value = header.metadata.get(key);
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw corruptFile(path, 0, `the metadata has no list of strings "${key}", which the tokenizer needs`);
}

/** Types `[tokens]`; all ordinary where the file doesn't say. */
function tokenTypes(header: GgufHeader, path: string, count: number): ArrayLike<number> {
  const value = header.metadata.get("tokenizer.ggml.token_type");
  if (value === undefined) return new Uint8Array(count);
  if (ArrayBuffer.isView(value) && value.length === count) return value;
  throw corruptFile(path, 0, `tokenizer.ggml.token_type must be ${count} numbers, one for each token`);
}
