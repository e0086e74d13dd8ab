/** A completion token by token, as people read it. */
import type { ChatTokenizer, Sample } from "../engines/engine.ts";

/** What decoders write for bytes that are no character yet. */
const unfinished = "\uFFFD";

/**
 * The text of each token: what it adds to the text of those before it. Bytes of a character that several tokens make up
 * are given with the last of them; tokens that are left out of texts, such as the end token, have none.
 */
export function tokenTexts(ids: readonly number[], tokenizer: Pick<ChatTokenizer, "decode">): string[] {
  let before: number[] = [];
  let pending: number[] = [];
  return ids.map((id, t) => {
    pending.push(id);
    // With the tokens before it: some decoders drop the space that a text begins with.
    const start = tokenizer.decode(before);
    const text = tokenizer.decode([...before, ...pending]);
    if (text.endsWith(unfinished) && t < ids.length - 1) return "";
    before = pending;
    pending = [];
    return text.slice(start.length);
  });
}

/** Texts and log-probs of a sample's tokens, as a run folder keeps them: log-probs with three decimals. */
export function describeTokens(
  { ids, logprobs }: Pick<Sample, "ids" | "logprobs">,
  tokenizer: Pick<ChatTokenizer, "decode">,
): { tokenTexts: string[]; tokenLogprobs: number[] } {
  return {
    tokenTexts: tokenTexts(ids, tokenizer),
    tokenLogprobs: Array.from(logprobs, (logprob) => Math.round(logprob * 1000) / 1000),
  };
}
