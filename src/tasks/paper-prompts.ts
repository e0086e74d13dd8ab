/**
 * The prompts of the Rec-R1 paper (Lin et al. 2025, arXiv 2503.24289) as its authors published them in their data files
 * (Apache-2.0), character for character, slips included: a model trained on their files must meet the same text here.
 */
import type { ChatMessage } from "../engines/engine.ts";

/**
 * What the policy is asked to write: `terms` query terms (ESCI and Amazon-C4, sparse engines), `boolean` a Boolean
 * query (Amazon-C4, sparse), `expand` the query with more words (ESCI, dense), `review` a review in a customer's voice
 * (Amazon-C4, dense), `next-item` words for what a user buys next.
 */
export const promptKinds = ["terms", "boolean", "expand", "review", "next-item"] as const;
export type PromptKind = (typeof promptKinds)[number];

export interface PromptStyle {
  kind: PromptKind;
  /** Think before answering, in a `<think>` block. Default true. */
  reasoning?: boolean;
  /** The answer is JSON with a `query`, rather than the query itself. Default true. */
  json?: boolean;
  /** Ask for AND and OR in the query. Default: as in the authors' files, for kinds other than `expand` and `review`. */
  operators?: boolean;
}

/** Every style that occurs in the authors' files. */
export const paperStyles: readonly Required<PromptStyle>[] = [
  ...promptKinds.map((kind) => ({ kind, reasoning: true, json: true, operators: usesOperators(kind) })),
  { kind: "terms", reasoning: false, json: true, operators: true },
  { kind: "terms", reasoning: false, json: false, operators: true },
  { kind: "terms", reasoning: true, json: false, operators: true },
];

function usesOperators(kind: PromptKind): boolean {
  return kind !== "expand" && kind !== "review";
}

const systems = {
  reasoning:
    "You are a helpful AI assistant. You first think about the reasoning process in the mind and then provide the user with the answer.",
  direct: "You are a helpful AI assistant. You need to provide the user with the answer.",
  boolean:
    "You are an AI assistant specializing in converting natural language user queries into structured Boolean search queries. You first thinks about the reasoning process in the mind and then provides the user with the answer.",
};

/** What stands around the user's words, which come between three backticks. */
const instructions: Record<PromptKind, (input: string) => string> = {
  terms: (input) =>
    "You are an expert in query generation. Given a query, your task is to create query terms to retrieve retrieve the most relevant products, ensuring they best meet customer needs.\n" +
    `Below is the query:\n\`\`\`${input}\`\`\``,
  boolean: (input) =>
    "Your task is to generate a structured Boolean search query based on the user's natural language user query.\n" +
    `Below is the user's natural language query:\n\`\`\`${input}\`\`\``,
  expand: (input) =>
    "You are an expert in generating queries for dense retrieval. Given a customer query, your task is to retain the original query while expanding it with additional semantically relevant information, retrieve the most relevant products, ensuring they best meet customer needs. If no useful expansion is needed, return the original query as is.\n" +
    `Below is the query:\n\`\`\`${input}\`\`\``,
  review: (input) =>
    "You are an expert in query rewriting for dense retrieval systems. Rewrite the following product search query as if you are a real customer writing a natural, authentic review after using the product. Maintain the meaning and details of the original query, but shift the tone to be more casual, emotional, and based on personal experience. Include specific comments about product performance that match the query's intent.\n" +
    `# Below is the product search query:\n# \`\`\`${input}\`\`\``,
  "next-item": (input) =>
    "You are an intelligent shopping assistant that helps predict what users may want to purchase next. Below is a list of items a user has purchased recently. Your task is to infer one or multiple kinds of products they may want to buy next, and generate relevant query terms that can be used to search for these potential products.\n" +
    `Below is the user purchase history:\n\`\`\`${input}\`\`\``,
};

/** A style with its defaults filled in. */
export function resolveStyle({ kind, reasoning = true, json = true, operators }: PromptStyle): Required<PromptStyle> {
  return { kind, reasoning, json, operators: operators ?? usesOperators(kind) };
}

/** How the assistant's answer begins already: the authors' prompts end inside the `<think>` block. Empty where they don't. */
export function answerStart(style: PromptStyle): string {
  const { reasoning, json } = resolveStyle(style);
  if (!reasoning) return "";
  return json ? "Let me solve this step by step.\n<think>" : "Let me solve this step by step.\n";
}

/**
 * The conversation that asks for a query. Its last message, where there is one from the assistant, is how the answer
 * begins.
 * @param input the user's query, or the history as {@link formatHistory} writes it
 */
export function paperPrompt(input: string, style: PromptStyle): ChatMessage[] {
  const { kind, reasoning, json, operators } = resolveStyle(style);
  const system = !reasoning ? systems.direct : kind === "boolean" ? systems.boolean : systems.reasoning;
  const sentences = [
    ...(reasoning ? ["Show your work in <think> </think> tags."] : []),
    `Your final response must be ${json ? "in JSON format " : ""}within <answer> </answer> tags.`,
    ...(operators
      ? ["The generated query should use Boolean operators (AND, OR) to structure your query logically."]
      : []),
    `For example,\n${json ? '<answer>\n{\n    "query": xxx\n}\n</answer>' : "<answer>xxx</answer>"}.`,
  ];
  const start = answerStart(style);
  return [
    { role: "system", content: system },
    { role: "user", content: `${instructions[kind](input)}\n${sentences.join(" ")}` },
    ...(start === "" ? [] : [{ role: "assistant", content: start } as const]),
  ];
}

/** A conversation in ChatML, as the authors' files hold it: the last message from the assistant is left open. */
export function renderChatMl(messages: readonly ChatMessage[]): string {
  const last = messages.at(-1);
  const isOpen = last?.role === "assistant";
  const closed = (isOpen ? messages.slice(0, -1) : messages).map(
    ({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`,
  );
  return `${closed.join("")}<|im_start|>assistant\n${isOpen ? last.content : ""}`;
}

/** A purchase history as the authors write it, oldest first: `Item 1: TITLE`, a line for each; unknown titles are empty. */
export function formatHistory(titles: readonly string[]): string {
  return titles
    .map((title, i) => `Item ${i + 1}: ${title}`)
    .join("\n")
    .trim();
}

/** The style whose prompt for `input` is `prompt`; undefined where none is. @param likely is tried first */
export function findStyle(
  input: string,
  prompt: string,
  likely?: Required<PromptStyle>,
): Required<PromptStyle> | undefined {
  const candidates = likely ? [likely, ...paperStyles] : paperStyles;
  return candidates.find((style) => renderChatMl(paperPrompt(input, style)) === prompt);
}

/** A style in words: `terms, reasoning, JSON`. */
export function describeStyle(style: PromptStyle): string {
  const { kind, reasoning, json } = resolveStyle(style);
  return `${kind}, ${reasoning ? "with reasoning" : "without reasoning"}, ${json ? "JSON" : "plain"}`;
}
