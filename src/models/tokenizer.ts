/** A model's tokenizer with its chat template, whatever file they came from. */
import type { Tokenizer } from "@huggingface/tokenizers";
import { ModelError } from "../core/errors.ts";
import { withTimeLimit } from "../core/time-limit.ts";
import { ChatTemplate } from "./chat-template.ts";
import type { ChatMessage, ChatTokenizer } from "./model.ts";
import { wordsWithDigits } from "./word-pattern.ts";

/** What a tokenizer is made of. */
export interface TokenizerParts {
  /** The file, for messages. */
  where: string;
  /** In the layout of Hugging Face's tokenizer.json. */
  tokenizerJson: Readonly<Record<string, unknown>>;
  /** In the layout of tokenizer_config.json. */
  tokenizerConfig: Readonly<Record<string, unknown>>;
  /** Jinja source; null where the model has none. */
  chatTemplate: string | null;
  bosToken: string | null;
  eosToken: string | null;
  /** Ids that end an answer, as the files list them. */
  endIds: readonly number[];
  /** Ids that stand for no text, besides special tokens. */
  unusedIds?: readonly number[];
  /** Further variables of the chat template. Default `{ enable_thinking: false }`. */
  templateVariables?: Readonly<Record<string, unknown>>;
}

/**
 * Makes a tokenizer. The libraries load on the first call.
 * @throws ModelError where the parts are malformed
 */
export async function createTokenizer(parts: TokenizerParts): Promise<TemplateTokenizer> {
  const tokenizers = await import("@huggingface/tokenizers");
  const tokenizerJson = { ...parts.tokenizerJson, pre_tokenizer: splitNumbers(parts.tokenizerJson.pre_tokenizer) };
  const isBpe = (parts.tokenizerJson.model as { type?: unknown } | undefined)?.type === "BPE";
  // Transformers 5 tidies no spaces of BPE, whatever a file says (Llama 3's says it should).
  const tokenizerConfig = { ...parts.tokenizerConfig, ...(isBpe ? { clean_up_tokenization_spaces: false } : {}) };
  let tokenizer: Tokenizer;
  try {
    tokenizer = withTimeLimit(buildLimitMs, () => new tokenizers.Tokenizer(tokenizerJson, tokenizerConfig));
  } catch (cause) {
    throw new ModelError("TOKENIZER_INVALID", `${parts.where}: the tokenizer can't be used: ${messageOf(cause)}.`, {
      cause,
      details: { path: parts.where },
    });
  }
  let template: ChatTemplate | null = null;
  try {
    if (parts.chatTemplate !== null) template = await ChatTemplate.parse(parts.chatTemplate);
  } catch (cause) {
    throw new ModelError(
      "CHAT_TEMPLATE_INVALID",
      `${parts.where}: the chat template is malformed: ${messageOf(cause)}`,
      {
        cause,
        details: { path: parts.where },
      },
    );
  }
  try {
    return new TemplateTokenizer(parts, tokenizer, template);
  } catch (cause) {
    throw new ModelError("TOKENIZER_INVALID", `${parts.where}: the tokenizer can't be used: ${messageOf(cause)}.`, {
      cause,
      details: { path: parts.where },
    });
  }
}

/** For a vocabulary of hundreds of thousands of tokens, seconds; what takes longer has no end. */
const buildLimitMs = 60_000;

/** What encoding `characters` may take: a pattern that tries all the ways there are would take years. */
const encodeLimitMs = (characters: number): number => 5000 + characters;

const oneNumeral = "\\p{N}";
const numerals = "\\p{N}+";

/**
 * A pre-tokenizer with its `Digits` as splits: to Hugging Face and llama.cpp all numerals are digits (½, ², Ⅷ), to the
 * library only decimal ones.
 */
function splitNumbers(part: unknown): unknown {
  if (typeof part !== "object" || part === null) return part;
  const { type, pretokenizers, individual_digits: isEach } = part as Readonly<Record<string, unknown>>;
  if (type === "Sequence" && Array.isArray(pretokenizers)) {
    return { ...part, pretokenizers: pretokenizers.map(splitNumbers) };
  }
  if (type !== "Digits") return part;
  return { type: "Split", pattern: { Regex: isEach ? oneNumeral : numerals }, behavior: "Isolated", invert: false };
}

/** Patterns that split in time that grows with the text only: those of Llama 3 and Qwen 2, and of numerals. */
const quickPatterns: ReadonlySet<unknown> = new Set([
  ...["\\p{N}{1,3}", oneNumeral].map(wordsWithDigits),
  oneNumeral,
  numerals,
]);

/** Whether a part of a tokenizer.json has a pattern that nobody has looked at. */
function hasUnknownPattern(part: unknown): boolean {
  if (typeof part !== "object" || part === null) return false;
  if (Array.isArray(part)) return part.some(hasUnknownPattern);
  return Object.entries(part).some(([key, value]) =>
    key === "Regex" ? !quickPatterns.has(value) : hasUnknownPattern(value),
  );
}

/** A {@link ChatTokenizer} over Hugging Face's libraries. */
export class TemplateTokenizer implements ChatTokenizer {
  readonly endIds: readonly number[];
  /** One more than the largest token id. */
  readonly vocabSize: number;
  readonly #where: string;
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate | null;
  readonly #isLimited: boolean;
  /** Any special token, as text. */
  readonly #specials: RegExp | null;
  readonly #variables: Readonly<Record<string, unknown>>;
  /** Ids that {@link decode} leaves out. */
  readonly #silentIds: ReadonlySet<number>;

  constructor(parts: TokenizerParts, tokenizer: Tokenizer, template: ChatTemplate | null) {
    this.#where = parts.where;
    const { normalizer, pre_tokenizer: preTokenizer } = parts.tokenizerJson;
    this.#isLimited = hasUnknownPattern([normalizer, preTokenizer]);
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#variables = {
      // Where a model can think or not, its template lets it think unless told otherwise; other templates ignore this.
      enable_thinking: false,
      ...(parts.bosToken === null ? {} : { bos_token: parts.bosToken }),
      ...(parts.eosToken === null ? {} : { eos_token: parts.eosToken }),
      ...parts.templateVariables,
    };
    const added = [...tokenizer.get_added_tokens_decoder().values()];
    const specials = added.filter(({ special, content }) => special && content.length > 1);
    this.#specials =
      specials.length === 0 ? null : new RegExp(specials.map(({ content }) => escapePattern(content)).join("|"), "g");
    this.#silentIds = new Set([...(parts.unusedIds ?? []), ...added.filter((t) => t.special).map((t) => t.id)]);
    this.vocabSize = [...tokenizer.get_vocab().values()].reduce((max, id) => Math.max(max, id), -1) + 1;
    const endOfTurn = this.#findEndOfTurn(added);
    this.endIds = [...new Set([...parts.endIds, ...(endOfTurn === null ? [] : [endOfTurn])])];
  }

  /**
   * Ids of a conversation as the chat template writes it. What looks like a special token in a message is text: neither a
   * user nor a title from a catalogue can end a turn, or begin another.
   */
  encodeChat(messages: readonly ChatMessage[]): number[] {
    return this.encode(
      this.renderChat(messages.map((message) => ({ ...message, content: this.#defuse(message.content) }))),
    );
  }

  /**
   * The conversation as the chat template writes it, up to where the assistant's answer begins.
   * @throws ModelError without a chat template, or where it refuses the messages
   */
  renderChat(messages: readonly ChatMessage[]): string {
    return this.#render(messages, true);
  }

  /** @throws ModelError where the tokenizer's own rules fail on the text, or take too long */
  encode(text: string): number[] {
    const encode = (): number[] => this.#tokenizer.encode(text, { add_special_tokens: false }).ids;
    try {
      return this.#isLimited ? withTimeLimit(encodeLimitMs(text.length), encode) : encode();
    } catch (cause) {
      throw this.#failed(`a text of ${text.length} characters`, cause);
    }
  }

  #failed(on: string, cause: unknown): ModelError {
    const message = `${this.#where}: the tokenizer fails on ${on}: ${messageOf(cause)}`;
    return new ModelError("TOKENIZER_FAILED", message, { cause, details: { path: this.#where } });
  }

  /** `text` with a space in whatever the tokenizer would read as a special token. */
  #defuse(text: string): string {
    return this.#specials ? text.replace(this.#specials, (token) => `${token.slice(0, 1)} ${token.slice(1)}`) : text;
  }

  decode(ids: readonly number[]): string {
    const known = ids.filter((id) => !this.#silentIds.has(id) && this.#tokenizer.id_to_token(id) !== undefined);
    if (known.length === 0) return "";
    try {
      return this.#tokenizer.decode(known);
    } catch (cause) {
      throw this.#failed(`${known.length} tokens`, cause);
    }
  }

  #render(messages: readonly ChatMessage[], addGenerationPrompt: boolean): string {
    if (!this.#template) {
      throw new ModelError(
        "CHAT_TEMPLATE_MISSING",
        `${this.#where}: the model has no chat template, so it can't be given messages. Use an instruction-tuned model.`,
        { details: { path: this.#where } },
      );
    }
    try {
      return this.#template.render({ messages, add_generation_prompt: addGenerationPrompt, ...this.#variables });
    } catch (cause) {
      throw new ModelError(
        "CHAT_TEMPLATE_FAILED",
        `${this.#where}: the chat template refuses the messages (roles ${messages.map((m) => m.role).join(", ")}): ` +
          messageOf(cause),
        { cause, details: { path: this.#where } },
      );
    }
  }

  /** The special token that the template writes after an assistant's message; null where it writes none. */
  #findEndOfTurn(added: readonly { id: number; content: string; special: boolean }[]): number | null {
    if (!this.#template) return null;
    const answer = "an answer";
    let rest: string;
    try {
      const text = this.#render(
        [
          { role: "user", content: "a question" },
          { role: "assistant", content: answer },
        ],
        false,
      );
      rest = text.slice(text.lastIndexOf(answer) + answer.length).trimStart();
    } catch {
      // A template may refuse this conversation; then only the ids that the files list end an answer.
      return null;
    }
    return added.find((token) => token.special && rest.startsWith(token.content))?.id ?? null;
  }
}

const escapePattern = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
