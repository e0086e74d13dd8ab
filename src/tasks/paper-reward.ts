/**
 * The reward of the Rec-R1 paper, as its authors' published reward functions compute it: -2 for a wrong form, 0 for a
 * right one that found nothing relevant, 0.1 + NDCG@k otherwise.
 *
 * It is theirs to the letter where that is a choice (the tags counted over the whole answer, what passes for JSON with a
 * query, duplicate judgments in the ideal ranking) and not where it is a fault of the program: an answer on which
 * theirs ends in an exception outside its handler (JSON that is a bare number, true or null) is a wrong form here, and
 * a query that is true, false or null is not searched for as the word that Python prints for it.
 */
import { cleanQuery, parseJsonAnswer, parseTaggedAnswer } from "../rl/answer.ts";
import { ndcg } from "../ranking/metrics.ts";
import { ndcgAsPublished } from "../rl/modes.ts";
import type { Relevance } from "../ranking/judgments.ts";
import { answerStart, resolveStyle, type PromptStyle } from "./paper-prompts.ts";

/** Rewards of the parts, as in the authors' functions. */
const wrongForm = -2;
const rightForm = 0.1;

/** What an answer looks like to the reward. */
export interface PaperAnswer {
  /** Exactly one think and one answer block, in this order, and a usable answer. */
  isFormRight: boolean;
  /** Null where there is nothing to search for. */
  query: string | null;
}

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

/** Whether each tag comes once and in order. */
function areTagsRight(response: string, reasoning: boolean): boolean {
  const tags = [...(reasoning ? ["<think>", "</think>"] : []), "<answer>", "</answer>"];
  if (tags.some((tag) => count(response, tag) !== 1)) return false;
  const places = tags.map((tag) => response.indexOf(tag));
  return places.every((place, i) => i === 0 || (places[i - 1] as number) <= place);
}

/** The last whole answer block's content, trimmed; null where there is none. */
function lastAnswer(response: string): string | null {
  let last: string | null = null;
  for (let at = response.indexOf("<answer>"); at >= 0;) {
    const start = at + "<answer>".length;
    const end = response.indexOf("</answer>", start);
    if (end < 0) break;
    last = response.slice(start, end).trim();
    at = response.indexOf("<answer>", end);
  }
  return last;
}

/** Python's `"query" in data`, and what `data["query"]` is then. */
function queryIn(json: string): { has: boolean; query: unknown } {
  let data: unknown;
  try {
    data = JSON.parse(json);
  } catch {
    return { has: false, query: undefined };
  }
  if (typeof data === "string" || Array.isArray(data)) return { has: data.includes("query"), query: undefined };
  if (typeof data !== "object" || data === null || !Object.hasOwn(data, "query")) {
    return { has: false, query: undefined };
  }
  return { has: true, query: (data as Record<string, unknown>).query };
}

/**
 * Reads an answer as the authors' reward does.
 * @param completion what the policy wrote, without what the prompt began for it
 */
export function readPaperAnswer(completion: string, style: PromptStyle): PaperAnswer {
  const { reasoning, json } = resolveStyle(style);
  const whole = answerStart(style) + completion;
  const marker = "Assistant:";
  const response = whole.includes(marker) ? whole.slice(whole.indexOf(marker) + marker.length) : whole;
  const answer = lastAnswer(response);
  if (answer === null || answer === "" || !areTagsRight(response, reasoning))
    return { isFormRight: false, query: null };
  if (!json) return { isFormRight: true, query: cleanQuery(answer) };
  const { has, query } = queryIn(answer);
  const isText = typeof query === "string" || typeof query === "number";
  return { isFormRight: has, query: has && isText ? cleanQuery(String(query)) : null };
}

/**
 * The query to search for: that of an answer in the right form, else the last one that can be made out. The authors'
 * evaluation is as lenient; only the reward is strict.
 */
export function parsePaperAnswer(completion: string, style: PromptStyle): string | null {
  const { isFormRight, query } = readPaperAnswer(completion, style);
  if (isFormRight) return query;
  return resolveStyle(style).json ? parseJsonAnswer(completion) : parseTaggedAnswer(completion);
}

/** What a think block says that has nothing to say. */
const plainThought = "The words of the request say what is wanted.";

/** An answer in the right form with a query, as {@link readPaperAnswer} reads it: what follows {@link answerStart}. */
export function writePaperAnswer(query: string, style: PromptStyle): string {
  const { reasoning, json } = resolveStyle(style);
  const start = answerStart(style);
  const thought = `${start.endsWith("<think>") ? "" : "<think>"}\n${plainThought}\n</think>\n`;
  const answer = json ? `\n${JSON.stringify({ query }, null, 4)}\n` : query;
  return `${reasoning ? thought : ""}<answer>${answer}</answer>`;
}

/** What an example is scored by. */
export interface Judged {
  relevant: Relevance;
  /** Judged ids as the authors' files list them, duplicates included; used in place of `relevant` where there. */
  targets?: readonly string[];
}

/** NDCG@k of an example by the rule that its data go by: see {@link ndcgAsPublished}. */
export function judgedNdcg(hits: readonly { id: string }[], example: Judged, k: number): number {
  return example.targets ? ndcgAsPublished(hits, example.targets, { k }) : ndcg(hits, example.relevant, { k });
}

/**
 * The paper's reward of an answer.
 * @param hits null: nothing was searched
 * @param k cut of the NDCG: 1000 in training, 100 for validation and test
 */
export function paperReward(
  answer: { completion: string; hits: readonly { id: string }[] | null; example: Judged },
  style: PromptStyle,
  k: number,
): { reward: number; parts: { form: number; ndcg: number } } {
  const { isFormRight } = readPaperAnswer(answer.completion, style);
  const found = answer.hits ? judgedNdcg(answer.hits, answer.example, k) : 0;
  const reward = !isFormRight ? wrongForm : found > 0 ? rightForm + found : 0;
  return { reward, parts: { form: isFormRight ? 1 : 0, ndcg: found } };
}
