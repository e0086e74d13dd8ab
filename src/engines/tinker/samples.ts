/** From a server's sequence to a completion as the loop knows it. */
import type { ChatTokenizer, Sample, SamplingParams } from "../engine.ts";
import { RemoteEngineError } from "../remote-http.ts";
import type { SequenceWire } from "./wire.ts";

/**
 * The API stops at ids or at strings, not both; ids are what it is given, and strings are looked for here: a completion
 * is cut after the token that completes the first of them.
 * @throws RemoteEngineError `ENGINE_BAD_REPLY`
 */
export function toSample(
  { tokens, logprobs, stopReason }: SequenceWire,
  {
    tokenizer,
    stopIds,
    params: { stop = [], maxTokens },
  }: {
    tokenizer: ChatTokenizer;
    stopIds: readonly number[];
    params: Pick<SamplingParams, "stop" | "maxTokens">;
  },
): Sample {
  if (tokens.length === 0 || tokens.length > maxTokens || logprobs?.length !== tokens.length) {
    throw new RemoteEngineError(
      "ENGINE_BAD_REPLY",
      `The server gave a completion of ${tokens.length} tokens with ${logprobs?.length ?? "no"} log-probs, asked for 1 to ${maxTokens} tokens and their log-probs.`,
    );
  }
  const length = stop.length > 0 ? lengthUpTo(tokens, stop, tokenizer) : undefined;
  if (length !== undefined) {
    const text = tokenizer.decode(tokens.slice(0, length));
    return {
      ids: tokens.slice(0, length),
      logprobs: logprobs.slice(0, length),
      text: text.slice(0, Math.min(...cuts(text, stop))),
      stopReason: "stop",
    };
  }
  const endsByToken = stopIds.includes(tokens.at(-1) as number);
  return { ids: tokens, logprobs, text: tokenizer.decode(endsByToken ? tokens.slice(0, -1) : tokens), stopReason };
}

const cuts = (text: string, stop: readonly string[]): number[] =>
  stop.map((string) => text.indexOf(string)).filter((at) => at >= 0);

/** Tokens up to the one with which a stop string is complete; undefined: there is none. */
function lengthUpTo(tokens: readonly number[], stop: readonly string[], tokenizer: ChatTokenizer): number | undefined {
  for (let length = 1; length <= tokens.length; length++) {
    if (cuts(tokenizer.decode(tokens.slice(0, length)), stop).length > 0) return length;
  }
  return undefined;
}
