/** A completion as server-sent events in the shapes of OpenAI's API, token by token as far as the engine tells. */
import type { ChatTokenizer, GrowingSample } from "../../engines/engine.ts";
import type { ChatReply } from "./schemas.ts";

export interface ChatStreamOptions extends Pick<ChatReply, "id" | "created" | "model"> {
  tokenizer: Pick<ChatTokenizer, "decode">;
  /** Strings that completions end before: what may become one is held back. */
  stops: readonly string[];
  /** Choices of the completion. */
  choices: number;
  withLogprobs: boolean;
  withUsage: boolean;
  /** Takes one event, with the empty line that ends it. */
  write: (event: string) => void;
}

/** What of a choice was written. */
interface Written {
  hasBegun: boolean;
  characters: number;
  tokens: number;
}

/** What decoders write for bytes that are no character yet. */
const unfinished = /\uFFFD+$/;

export class ChatStream {
  private readonly options: ChatStreamOptions;
  private readonly written: Written[];

  constructor(options: ChatStreamOptions) {
    this.options = options;
    this.written = Array.from({ length: options.choices }, () => ({ hasBegun: false, characters: 0, tokens: 0 }));
  }

  /**
   * Takes in a choice so far and writes the text that is sure. A choice may be told from its beginning again, where a call
   * of the engine was repeated: nothing is written twice.
   */
  grow(index: number, sample: GrowingSample): void {
    const { tokenizer, stops } = this.options;
    const text = tokenizer.decode(sample.ids).replace(unfinished, "");
    const sure = text.length - countHeldBack(text, stops);
    if (sure > (this.written[index] as Written).characters) this.writeText(index, text.slice(0, sure), sample);
  }

  /** Writes what is left of the whole completion, why each choice ended, and the mark of the end. */
  end({ choices, usage }: ChatReply, samples: readonly GrowingSample[]): void {
    const { withUsage, write } = this.options;
    for (const { index, message, finish_reason } of choices) {
      this.writeText(index, message.content, samples[index] as GrowingSample);
      this.write([{ index, delta: {}, logprobs: null, finish_reason }]);
    }
    if (withUsage) this.write([], usage);
    write("data: [DONE]\n\n");
  }

  /** Writes what `text` has beyond what was written, with the log-probs of the tokens since then. */
  private writeText(index: number, text: string, { ids, logprobs }: GrowingSample): void {
    const { tokenizer, withLogprobs } = this.options;
    const written = this.written[index] as Written;
    const delta = {
      ...(written.hasBegun ? {} : { role: "assistant" }),
      content: text.slice(written.characters),
    };
    const fresh = { ids: ids.slice(written.tokens), logprobs: logprobs.slice(written.tokens) };
    const told = withLogprobs && fresh.ids.length > 0 ? tokenLogprobs(tokenizer, fresh) : null;
    this.written[index] = {
      hasBegun: true,
      characters: Math.max(written.characters, text.length),
      tokens: Math.max(written.tokens, ids.length),
    };
    if (written.hasBegun && delta.content === "" && told === null) return;
    this.write([{ index, delta, logprobs: told, finish_reason: null }]);
  }

  private write(choices: object[], usage: object | null = null): void {
    const { id, created, model, withUsage, write } = this.options;
    const chunk = { id, object: "chat.completion.chunk", created, model, choices, ...(withUsage ? { usage } : {}) };
    write(`data: ${JSON.stringify(chunk)}\n\n`);
  }
}

/** Length of the longest end of `text` that is the beginning of a stop string. */
function countHeldBack(text: string, stops: readonly string[]): number {
  const longest = Math.max(0, ...stops.map((stop) => stop.length - 1));
  for (let length = Math.min(longest, text.length); length > 0; length--) {
    const end = text.slice(-length);
    if (stops.some((stop) => stop.startsWith(end))) return length;
  }
  return 0;
}

/** Tokens with their log-probs, in the shapes of OpenAI's API. */
export function tokenLogprobs(
  tokenizer: Pick<ChatTokenizer, "decode">,
  { ids, logprobs }: GrowingSample,
): NonNullable<ChatReply["choices"][number]["logprobs"]> {
  const content = ids.map((id, t) => {
    const token = tokenizer.decode([id]);
    return { token, logprob: logprobs[t] as number, bytes: [...Buffer.from(token)], top_logprobs: [] };
  });
  return { content };
}
