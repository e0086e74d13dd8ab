/** The tokenizer of a Hugging Face folder. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ModelError } from "../core/errors.ts";
import { unreadableFile } from "./model-file-errors.ts";
import type { TokenizerParts } from "./tokenizer.ts";

type Json = Record<string, unknown>;

/**
 * Reads tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json.
 * @param config the folder's config.json
 * @returns the tokenizer's parts; null where the folder has no tokenizer.json
 * @throws ModelError where one of them is malformed
 */
export async function tokenizerFromFolder(folder: string, config: Json): Promise<TokenizerParts | null> {
  const where = join(folder, "tokenizer.json");
  const [tokenizerJson, tokenizerConfig, generationConfig, templateFile] = await Promise.all([
    readJsonFile(where),
    readJsonFile(join(folder, "tokenizer_config.json")),
    readJsonFile(join(folder, "generation_config.json")),
    readTextFile(join(folder, "chat_template.jinja")),
  ]);
  if (!tokenizerJson) return null;
  const tokens = listTokens(tokenizerJson, where);
  const bosToken = tokenText(tokenizerConfig?.bos_token);
  const eosToken = tokenText(tokenizerConfig?.eos_token);
  const listed = generationConfig?.eos_token_id ?? config.eos_token_id;
  const endIds = [listed, eosToken === null ? undefined : tokens.get(eosToken)]
    .flat()
    .filter((id): id is number => Number.isSafeInteger(id) && (id as number) >= 0);
  return {
    where,
    tokenizerJson: { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, ...tokenizerJson },
    // Transformers 5 doesn't tidy spaces unless told to; the library does unless told not to.
    tokenizerConfig: { clean_up_tokenization_spaces: false, ...tokenizerConfig },
    chatTemplate: templateFile ?? chooseTemplate(tokenizerConfig?.chat_template),
    bosToken,
    eosToken,
    endIds: [...new Set(endIds)],
  };
}

/** Reads a JSON object; null where there is no such file. @throws ModelError */
export async function readJsonFile(path: string): Promise<Json | null> {
  const value = await readJsonValue(path);
  if (value === null) return null;
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new ModelError("MODEL_FILE_CORRUPT", `${path}: it must hold a JSON object.`, { details: { path } });
  }
  return value as Json;
}

/** Reads any JSON but null; null where there is no such file. @throws ModelError */
export async function readJsonValue(path: string): Promise<unknown> {
  const text = await readTextFile(path);
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ModelError("MODEL_FILE_CORRUPT", `${path}: not JSON: ${(cause as Error).message}`, {
      cause,
      details: { path },
    });
  }
  if (value === null) {
    throw new ModelError("MODEL_FILE_CORRUPT", `${path}: it must not hold null.`, { details: { path } });
  }
  return value;
}

async function readTextFile(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw unreadableFile(path, cause);
  }
}

/** Of the largest vocabularies the ids end at a few hundred thousand; lists as long as the largest id are made of them. */
const largestId = 2 ** 22;

const isTokenId = (id: unknown): id is number =>
  Number.isInteger(id) && (id as number) >= 0 && (id as number) <= largestId;

/** Ids of the added tokens and of a vocabulary that is a map. */
function listTokens(tokenizerJson: Json, where: string): Map<string, number> {
  const model = tokenizerJson.model as Json | null | undefined;
  if (model === null || typeof model !== "object") {
    throw new ModelError("TOKENIZER_INVALID", `${where}: it has no "model", so it is not a tokenizer.`, {
      details: { path: where },
    });
  }
  const tokens = new Map<string, number>();
  if (model.vocab !== null && typeof model.vocab === "object" && !Array.isArray(model.vocab)) {
    for (const [token, id] of Object.entries(model.vocab)) {
      if (!isTokenId(id)) {
        const message = `${where}: the id of the token ${JSON.stringify(token.slice(0, 40))} is ${typeof id === "number" ? id : `a ${typeof id}`}; expected a whole number from 0 to ${largestId}.`;
        throw new ModelError("TOKENIZER_INVALID", message, { details: { path: where } });
      }
      tokens.set(token, id);
    }
  }
  const added: unknown[] = Array.isArray(tokenizerJson.added_tokens) ? tokenizerJson.added_tokens : [];
  for (const [i, token] of added.entries()) {
    const { content, id } = (token ?? {}) as Json;
    if (typeof content !== "string" || !isTokenId(id)) {
      throw new ModelError("TOKENIZER_INVALID", `${where}: added_tokens[${i}] is not a token with its text and id.`, {
        details: { path: where },
      });
    }
    tokens.set(content, id);
  }
  return tokens;
}

/** A special token is written as its text or as an object with `content`. */
function tokenText(value: unknown): string | null {
  if (typeof value === "string") return value;
  const content = (value as Json | null | undefined)?.content;
  return typeof content === "string" ? content : null;
}

/** A template is text, or a list of named ones, of which "default" is meant. */
function chooseTemplate(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return null;
  const entries = value as Json[];
  const chosen = entries.find((entry) => entry.name === "default") ?? entries[0];
  return typeof chosen?.template === "string" ? chosen.template : null;
}
