/** Texts as token ids between the special tokens that the model wants around them. */
import type { Tokenizer } from "@huggingface/tokenizers";
import { ModelError } from "../core/errors.ts";
import type { TokenizerParts } from "../models/tokenizer.ts";

/** Characters of a text that are looked at for each token that it may have; the rest is cut off before tokenizing. */
const charactersPerToken = 128;

/** Halves of surrogate pairs without the other half, which no tokenizer knows. */
const loneSurrogates = /[\ud800-\udfff]/gu;

export class TextTokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #maxTokens: number;
  /** Special tokens before and after a text. */
  readonly #before: number[];
  readonly #after: number[];

  private constructor(tokenizer: Tokenizer, maxTokens: number, before: number[], after: number[]) {
    this.#tokenizer = tokenizer;
    this.#maxTokens = maxTokens;
    this.#before = before;
    this.#after = after;
  }

  /**
   * @param parts of the folder's tokenizer
   * @param maxTokens of a text, special tokens included
   * @throws ModelError where the tokenizer can't be used
   */
  static async create(parts: TokenizerParts, maxTokens: number): Promise<TextTokenizer> {
    const { Tokenizer } = await import("@huggingface/tokenizers");
    try {
      const tokenizer = new Tokenizer(parts.tokenizerJson, parts.tokenizerConfig);
      const bare: number[] = tokenizer.encode("a", { add_special_tokens: false }).ids;
      const ids: number[] = tokenizer.encode("a").ids;
      const start = ids.findIndex((_, i) => bare.every((id, j) => ids[i + j] === id));
      if (bare.length === 0 || start < 0) throw new Error("it doesn't keep a text's tokens together");
      const before = ids.slice(0, start);
      const after = ids.slice(start + bare.length);
      if (before.length + after.length >= maxTokens) throw new Error(`${maxTokens} tokens leave no place for a text`);
      return new TextTokenizer(tokenizer, maxTokens, before, after);
    } catch (cause) {
      const problem = cause instanceof Error ? cause.message : String(cause);
      throw new ModelError("TOKENIZER_INVALID", `${parts.where}: the tokenizer can't be used: ${problem}.`, {
        cause,
        details: { path: parts.where },
      });
    }
  }

  /** Ids of `text`, special tokens included, cut off at the end where there are too many. */
  encode(text: string): number[] {
    const room = this.#maxTokens - this.#before.length - this.#after.length;
    const start = text.slice(0, this.#maxTokens * charactersPerToken).replace(loneSurrogates, "\ufffd");
    const ids = this.#tokenizer.encode(start, { add_special_tokens: false }).ids;
    return [...this.#before, ...ids.slice(0, room), ...this.#after];
  }
}
