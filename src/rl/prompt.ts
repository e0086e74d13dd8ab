/** From an example to the ids of its prompt, made shorter where it must be. */
import { TaskError } from "../core/errors.ts";
import type { ChatMessage, ChatTokenizer, Engine } from "../engines/engine.ts";
import type { Task } from "./task.ts";

export interface PromptLimits {
  /** Longest completion that has to fit after it, in tokens. */
  maxTokens: number;
  /** Longest prompt, in tokens; 0: whatever the model's context allows. Default 0. */
  maxPromptTokens?: number;
}

export interface EncodedPrompt {
  ids: number[];
  /** The conversation that was encoded. */
  messages: readonly ChatMessage[];
  /** Whether the task had to make the example shorter. */
  isShortened: boolean;
}

/**
 * Ids of a conversation. A last message from the assistant is how its answer begins: it is left open, and what the
 * policy writes goes on from there.
 */
export function encodeMessages(tokenizer: ChatTokenizer, messages: readonly ChatMessage[]): number[] {
  const last = messages.at(-1);
  if (last?.role !== "assistant") return tokenizer.encodeChat(messages);
  return [...tokenizer.encodeChat(messages.slice(0, -1)), ...tokenizer.encode(last.content)];
}

/**
 * The prompt of an example as the task wrote it or, where a limit demands, shortened.
 * @throws TaskError `PROMPT_TOO_LONG` when the task can't make it short enough
 */
export function encodeExample<E extends object>(
  engine: Engine,
  task: Task<E>,
  example: E,
  { maxTokens, maxPromptTokens = 0 }: PromptLimits,
): EncodedPrompt {
  const room = engine.contextLength - maxTokens;
  const limit = maxPromptTokens > 0 ? Math.min(maxPromptTokens, room) : room;
  for (let shown: E = example; ;) {
    const messages = task.prompt(shown);
    const ids = encodeMessages(engine.tokenizer, messages);
    if (ids.length <= limit) return { ids, messages, isShortened: shown !== example };
    const shorter = task.shorten(shown);
    if (shorter === null) {
      const why =
        limit === room
          ? `with completions of up to ${maxTokens} that is more than the model's context of ${engine.contextLength}`
          : `that is more than maxPromptTokens = ${limit} allows`;
      throw new TaskError(
        "PROMPT_TOO_LONG",
        `Task "${task.name}": a prompt has ${ids.length} tokens; ${why}. Shorten the prompt, give the task a \`shorten\` function, or ${limit === room ? "lower maxTokens" : "raise maxPromptTokens"}. The example: ${JSON.stringify(example).slice(0, 200)}`,
      );
    }
    shown = shorter;
  }
}

/** Ids of {@link encodeExample}. @param limits a number is `maxTokens` */
export function encodePrompt<E extends object>(
  engine: Engine,
  task: Task<E>,
  example: E,
  limits: number | PromptLimits,
): number[] {
  return encodeExample(engine, task, example, typeof limits === "number" ? { maxTokens: limits } : limits).ids;
}
