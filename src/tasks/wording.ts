/**
 * How a preset speaks with the policy: what it asks, how it reads the answer, what the answer's form is worth. Two
 * wordings come with the package; a task can bring its own.
 */
import { ConfigError } from "../core/errors.ts";
import type { ChatMessage } from "../engines/engine.ts";
import { parseAnswer } from "../rl/answer.ts";
import type { Reward } from "../rl/task.ts";
import { findStyle, paperPrompt, promptKinds, type PromptKind, type PromptStyle } from "./paper-prompts.ts";
import { judgedNdcg, paperReward, parsePaperAnswer, writePaperAnswer, type Judged } from "./paper-reward.ts";

/** An answer to be judged; hits null: nothing was searched. */
export interface WordedAnswer {
  completion: string;
  hits: readonly { id: string }[] | null;
  example: Judged;
}

export interface Wording {
  /** Names it in logs. */
  name: string;
  /** @param input the user's query, or the history as text */
  prompt(input: string): readonly ChatMessage[];
  parse(completion: string): string | null;
  /** A completion in the right form with this query. */
  write(query: string): string;
  /** @param k cut of the NDCG */
  reward(answer: WordedAnswer, k: number): Reward;
}

/** The paper's prompts, parser and reward. */
export function paperWording(style: PromptStyle): Wording {
  return {
    name: `paper/${style.kind}`,
    prompt: (input) => paperPrompt(input, style),
    parse: (completion) => parsePaperAnswer(completion, style),
    write: (query) => writePaperAnswer(query, style),
    reward: (answer, k) => paperReward(answer, style, k),
  };
}

/** What the short wording asks for. */
const shortRequests = {
  search: (input: string): string => `A customer asks: ${input}\n\nWrite the words to search the shop for.`,
  history: (input: string): string =>
    `A customer bought, oldest first:\n${input}\n\nWrite the words to search the shop for what the customer buys next.`,
};

/**
 * A short prompt and a plain answer, its first line: for small models, which don't reason in tags or write JSON. The
 * reward is NDCG@k, and -0.5 without a query.
 */
export function shortWording(kind: "search" | "history"): Wording {
  return {
    name: `short/${kind}`,
    prompt: (input) => [
      { role: "system", content: "You write search queries for a shop. Answer with the query only." },
      { role: "user", content: shortRequests[kind](input) },
    ],
    parse: parseAnswer,
    write: (query) => query,
    reward: ({ hits, example }, k) => (hits ? judgedNdcg(hits, example, k) : -0.5),
  };
}

/** How a preset is worded: a wording, `short`, or a style of the paper's prompts. */
export type WordingChoice = Wording | "short" | PromptKind | PromptStyle;

/** @throws ConfigError `UNKNOWN_WORDING` */
export function resolveWording(choice: WordingChoice, kind: "search" | "history"): Wording {
  if (choice === "short") return shortWording(kind);
  const style = typeof choice === "string" ? { kind: choice } : choice;
  if ("prompt" in style) return style;
  if ((promptKinds as readonly string[]).includes(style.kind)) return paperWording(style);
  throw new ConfigError(
    "UNKNOWN_WORDING",
    `There is no wording "${style.kind}"; there are: short, ${promptKinds.join(", ")}.`,
  );
}

/**
 * The wording of each example: the one chosen, or, where none was, the style that the example's own file used, or else
 * `fallback`.
 */
export function wordingOf<E extends { filePrompt?: string }>(
  choice: WordingChoice | undefined,
  { kind, fallback, inputOf }: { kind: "search" | "history"; fallback: PromptKind; inputOf: (example: E) => string },
): (example: E) => Wording {
  if (choice !== undefined) {
    const wording = resolveWording(choice, kind);
    return () => wording;
  }
  let last = { style: undefined as ReturnType<typeof findStyle>, wording: paperWording({ kind: fallback }) };
  const usual = last.wording;
  return (example) => {
    if (example.filePrompt === undefined) return usual;
    const style = findStyle(inputOf(example), example.filePrompt, last.style);
    if (style === undefined) return usual;
    if (style !== last.style) last = { style, wording: paperWording(style) };
    return last.wording;
  };
}
