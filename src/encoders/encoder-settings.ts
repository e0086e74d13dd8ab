/**
 * How a folder's encoder is to be used: as sentence-transformers writes it down (modules.json, 1_Pooling/config.json,
 * sentence_bert_config.json, config_sentence_transformers.json), or as the caller says.
 */
import { join } from "node:path";
import { ModelError } from "../core/errors.ts";
import { readJsonFile, readJsonValue } from "../models/hub-tokenizer.ts";
import { SettingsReader } from "../models/settings-reader.ts";
import type { TextKind } from "./encoder.ts";

export const poolings = ["mean", "cls"] as const;
/** `mean`: the mean of all tokens' vectors, special tokens included; `cls`: the first token's. */
export type Pooling = (typeof poolings)[number];

export interface EncoderSettings {
  pooling: Pooling;
  /** Longest text in tokens, special tokens included; what is longer is cut off at its end. */
  maxTokens: number;
  /** Put before every query and every document, such as `query: ` and `passage: `. */
  prompts: Record<TextKind, string>;
}

type Json = Record<string, unknown>;

/** Names that sentence-transformers uses for the two sides. */
const promptNames: Record<TextKind, readonly string[]> = {
  query: ["query", "s2p_query", "search_query"],
  document: ["document", "passage", "corpus", "search_document"],
};

/**
 * The settings in `folder`, where they are written down, under those that `given` names.
 * @param config the folder's config.json
 * @throws ModelError where a file is malformed or asks for something that isn't done here
 */
export async function readEncoderSettings(
  folder: string,
  config: Json,
  given: Partial<EncoderSettings>,
): Promise<EncoderSettings> {
  const poolingFolder = await readModules(folder);
  const [pooling, sizes, texts] = await Promise.all([
    readJsonFile(join(folder, poolingFolder, "config.json")),
    readJsonFile(join(folder, "sentence_bert_config.json")),
    readJsonFile(join(folder, "config_sentence_transformers.json")),
  ]);
  const positions = countPositions(folder, config);
  const sizeReader = new SettingsReader(join(folder, "sentence_bert_config.json"), (key) => sizes?.[key]);
  const wanted = given.maxTokens ?? sizeReader.integer("max_seq_length", { fallback: positions });
  return {
    pooling: given.pooling ?? readPooling(join(folder, poolingFolder, "config.json"), pooling),
    maxTokens: Math.min(wanted, positions),
    prompts: {
      query: given.prompts?.query ?? findPrompt(texts, "query"),
      document: given.prompts?.document ?? findPrompt(texts, "document"),
    },
  };
}

/** Positions that texts can have: in RoBERTa's family and MPNet they begin behind the padding token's id. */
function countPositions(folder: string, config: Json): number {
  const reader = new SettingsReader(join(folder, "config.json"), (key) => config[key]);
  const positions = reader.integer("max_position_embeddings", { fallback: 512 });
  const isShifted = ["roberta", "xlm-roberta", "camembert", "mpnet"].includes(String(config.model_type));
  return isShifted ? positions - reader.integer("pad_token_id", { min: 0, fallback: 1 }) - 1 : positions;
}

/** The folder of the pooling's settings. @throws ModelError where modules are listed that aren't known here */
async function readModules(folder: string): Promise<string> {
  const path = join(folder, "modules.json");
  const modules = await readModuleList(path);
  let pooling = "1_Pooling";
  for (const { type, path: place } of modules) {
    const kind = String(type).split(".").at(-1) ?? "";
    if (kind === "Pooling" && typeof place === "string") pooling = place;
    else if (!["Transformer", "Pooling", "Normalize"].includes(kind)) {
      throw new ModelError(
        "MODEL_UNSUPPORTED",
        `${path}: the encoder has a module ${kind}, which is not supported. Supported: Transformer, Pooling, Normalize.`,
        { details: { path } },
      );
    }
  }
  return pooling;
}

async function readModuleList(path: string): Promise<Json[]> {
  const modules = await readJsonValue(path);
  if (modules === null) return [];
  const isModule = (entry: unknown): entry is Json => typeof entry === "object" && entry !== null;
  if (Array.isArray(modules) && modules.every(isModule)) return modules;
  throw new ModelError("MODEL_FILE_CORRUPT", `${path}: expected a list of modules.`, { details: { path } });
}

function readPooling(path: string, json: Json | null): Pooling {
  if (json === null) return "mean";
  const modes = Object.entries(json).filter(([key, value]) => key.startsWith("pooling_mode_") && value === true);
  const names = modes.map(([key]) => key);
  if (names.length === 1 && names[0] === "pooling_mode_mean_tokens") return "mean";
  if (names.length === 1 && names[0] === "pooling_mode_cls_token") return "cls";
  // Newer files name one mode.
  if (names.length === 0 && (json.pooling_mode === "mean" || json.pooling_mode === "cls")) return json.pooling_mode;
  const got = names.length > 0 ? names.join(", ") : String(json.pooling_mode ?? "none");
  throw new ModelError(
    "MODEL_UNSUPPORTED",
    `${path}: the pooling is ${got}, which is not supported. Supported: mean and cls, one of them.`,
    { details: { path } },
  );
}

function findPrompt(texts: Json | null, kind: TextKind): string {
  const prompts = (texts?.prompts ?? {}) as Json;
  const found = promptNames[kind].map((name) => prompts[name]).find((prompt) => typeof prompt === "string");
  return typeof found === "string" ? found : "";
}
