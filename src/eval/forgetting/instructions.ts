/**
 * Verifiable instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911): the checkers, under the benchmark's ids and
 * argument names. A checker says whether a response follows its instruction; it needs no model.
 */
import { splitWords } from "../../core/words.ts";

export type InstructionArguments = Readonly<Record<string, unknown>>;
type Checker = (response: string, given: InstructionArguments) => boolean;

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const list = (value: unknown): string[] => (Array.isArray(value) ? value.filter((one) => typeof one === "string") : []);
const amount = (value: unknown): number => (typeof value === "number" && Number.isFinite(value) ? value : 0);
const escape = (pattern: string): string => pattern.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");

/** `at least n`, or `less than n`, as the benchmark has them. */
function compare(count: number, limit: unknown, relation: unknown): boolean {
  return relation === "less than" ? count < amount(limit) : count >= amount(limit);
}

function countMatches(response: string, word: string): number {
  return response.match(new RegExp(escape(word), "giu"))?.length ?? 0;
}

function countSentences(response: string): number {
  const clean = response
    .replace(/\b(?:Mr|Mrs|Ms|Dr|St|Prof|Inc|Ltd|Jr|Sr|Co|vs|etc|e\.g|i\.e)\./gi, "")
    .replace(/(\d)\.(\d)/g, "$1$2")
    .trim();
  return clean === ""
    ? 0
    : clean.split(/(?<=[.!?…。！？])["')\]]*(?:\s+|$)/u).filter((part) => /[\p{L}\p{N}]/u.test(part)).length;
}

const paragraphs = (response: string, mark: RegExp): string[] => response.split(mark).map((part) => part.trim());

/** Scripts of languages that have one of their own, and frequent words of those that share the Latin one. */
const scripts: Readonly<Record<string, RegExp>> = {
  ar: /\p{Script=Arabic}/u,
  fa: /\p{Script=Arabic}/u,
  ur: /\p{Script=Arabic}/u,
  he: /\p{Script=Hebrew}/u,
  ru: /\p{Script=Cyrillic}/u,
  bg: /\p{Script=Cyrillic}/u,
  uk: /\p{Script=Cyrillic}/u,
  el: /\p{Script=Greek}/u,
  hi: /\p{Script=Devanagari}/u,
  mr: /\p{Script=Devanagari}/u,
  ne: /\p{Script=Devanagari}/u,
  bn: /\p{Script=Bengali}/u,
  gu: /\p{Script=Gujarati}/u,
  kn: /\p{Script=Kannada}/u,
  ml: /\p{Script=Malayalam}/u,
  pa: /\p{Script=Gurmukhi}/u,
  ta: /\p{Script=Tamil}/u,
  te: /\p{Script=Telugu}/u,
  th: /\p{Script=Thai}/u,
  ko: /\p{Script=Hangul}/u,
  ja: /[\p{Script=Hiragana}\p{Script=Katakana}]/u,
  zh: /\p{Script=Han}/u,
};
const frequentWords: Readonly<Record<string, string>> = {
  en: "the of and to in is that it for you with on are this be as was have not but",
  de: "der die das und ist nicht ein eine mit für auf den zu von sie es im dem wir ich",
  fr: "le la les et est des une un pour dans que qui pas du sur avec ne vous ce il",
  es: "el la los las y es de que en un una por con para no se del su al lo",
  pt: "o a os as e de que em um uma para com não por se do da no na mais",
  it: "il la i le e di che un una per con non è si del della in sono al gli",
  vi: "và của là có không được cho một các trong người với này đã để những khi tôi",
  fi: "ja on ei se että hän mutta ovat oli tai kun niin myös kuin jos mitä",
  sw: "na ya kwa ni wa katika za la kuwa hii cha yake sana lakini kama hiyo",
};

function isLanguage(response: string, language: string): boolean {
  const letters = response.match(/\p{L}/gu) ?? [];
  if (letters.length === 0) return true;
  const script = scripts[language];
  if (script)
    return letters.filter((letter) => script.test(letter)).length > (language === "ja" ? 0.2 : 0.5) * letters.length;
  const words = splitWords(response);
  const share = (code: string): number => {
    const frequent = new Set((frequentWords[code] as string).split(" "));
    return words.filter((word) => frequent.has(word)).length;
  };
  if (!Object.hasOwn(frequentWords, language)) return false;
  const best = Object.keys(frequentWords).reduce((a, b) => (share(b) > share(a) ? b : a));
  return best === language && share(language) > 0;
}

const isJson = (response: string): boolean => {
  const inner = response
    .trim()
    .replace(/^```(?:json)?/i, "")
    .replace(/```$/, "")
    .trim();
  try {
    JSON.parse(inner);
    return true;
  } catch {
    return false;
  }
};

const hasLetters = (response: string): boolean => /\p{L}/u.test(response);

/** Checkers by the benchmark's ids. */
export const instructionCheckers: Readonly<Record<string, Checker>> = {
  "keywords:existence": (response, { keywords }) => list(keywords).every((word) => countMatches(response, word) > 0),
  "keywords:frequency": (response, { keyword, frequency, relation }) =>
    compare(countMatches(response, text(keyword)), frequency, relation),
  "keywords:forbidden_words": (response, { forbidden_words: forbidden }) =>
    !list(forbidden).some((word) =>
      new RegExp(`(?<![\\p{L}\\p{N}_])${escape(word)}(?![\\p{L}\\p{N}_])`, "iu").test(response),
    ),
  "keywords:letter_frequency": (response, { letter, let_frequency: frequency, let_relation: relation }) =>
    compare(
      [...response.toLowerCase()].filter((char) => char === text(letter).toLowerCase()).length,
      frequency,
      relation,
    ),
  "language:response_language": (response, { language }) => isLanguage(response, text(language)),
  "length_constraints:number_sentences": (response, { num_sentences: count, relation }) =>
    compare(countSentences(response), count, relation),
  "length_constraints:number_paragraphs": (response, { num_paragraphs: count }) => {
    const parts = paragraphs(response, /\s?\*\*\*\s?/);
    const inner = parts.slice(1, -1);
    return inner.every((part) => part !== "") && parts.filter((part) => part !== "").length === amount(count);
  },
  "length_constraints:number_words": (response, { num_words: count, relation }) =>
    compare(response.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0, count, relation),
  "length_constraints:nth_paragraph_first_word": (response, given) => {
    const parts = paragraphs(response, /\n\n/);
    const nth = amount(given.nth_paragraph);
    const part = parts[nth - 1];
    if (parts.filter((one) => one !== "").length !== amount(given.num_paragraphs) || part === undefined) return false;
    const word = /^["']*([^\s.,?!"']*)/.exec(part)?.[1] ?? "";
    return word.toLowerCase() === text(given.first_word).toLowerCase();
  },
  "detectable_content:number_placeholders": (response, { num_placeholders: count }) =>
    (response.match(/\[.*?\]/g)?.length ?? 0) >= amount(count),
  "detectable_content:postscript": (response, { postscript_marker: marker }) => {
    const kind = text(marker);
    if (kind === "P.P.S") return /\s*p\.\s?p\.\s?s.*$/im.test(response);
    if (kind === "P.S.") return /\s*p\.\s?s\..*$/im.test(response);
    return response.toLowerCase().includes(kind.toLowerCase());
  },
  "detectable_format:number_bullet_lists": (response, { num_bullets: count }) =>
    (response.match(/^\s*\*[^*].*$/gm)?.length ?? 0) + (response.match(/^\s*-.*$/gm)?.length ?? 0) === amount(count),
  "detectable_format:constrained_response": (response) =>
    ["My answer is yes.", "My answer is no.", "My answer is maybe."].some((answer) => response.includes(answer)),
  "detectable_format:number_highlighted_sections": (response, { num_highlights: count }) => {
    const double = response.match(/\*\*[^\n*]+\*\*/g) ?? [];
    const single = response.replace(/\*\*[^\n*]+\*\*/g, "").match(/\*[^\n*]+\*/g) ?? [];
    return [...double, ...single].filter((part) => part.replaceAll("*", "").trim() !== "").length >= amount(count);
  },
  "detectable_format:multiple_sections": (response, { section_spliter: splitter, num_sections: count }) =>
    response.split(new RegExp(`\\s?${escape(text(splitter))}\\s?\\d+\\s?`)).length - 1 >= amount(count),
  "detectable_format:json_format": isJson,
  "detectable_format:title": (response) =>
    (response.match(/<<[^\n]+>>/g) ?? []).some((title) => title.replace(/^<+|>+$/g, "").trim() !== ""),
  "combination:two_responses": (response) => {
    const parts = response.split("******");
    const whole = parts.map((part) => part.trim());
    const inner = whole.slice(1, -1);
    const filled = whole.filter((part) => part !== "");
    return inner.every((part) => part !== "") && filled.length === 2 && filled[0] !== filled[1];
  },
  "combination:repeat_prompt": (response, { prompt_to_repeat: prompt }) =>
    response.trim().toLowerCase().startsWith(text(prompt).trim().toLowerCase()),
  "startend:end_checker": (response, { end_phrase: end }) =>
    response
      .trim()
      .replace(/^"+|"+$/g, "")
      .toLowerCase()
      .endsWith(text(end).trim().toLowerCase()),
  "startend:quotation": (response) => {
    const inner = response.trim();
    return inner.length > 1 && inner.startsWith('"') && inner.endsWith('"');
  },
  "change_case:capital_word_frequency": (response, { capital_frequency: frequency, capital_relation: relation }) => {
    const capitals = (response.match(/[\p{L}\p{N}'-]+/gu) ?? []).filter(
      (word) => hasLetters(word) && word === word.toUpperCase(),
    );
    return compare(capitals.length, frequency, relation);
  },
  "change_case:english_capital": (response) => hasLetters(response) && response === response.toUpperCase(),
  "change_case:english_lowercase": (response) => hasLetters(response) && response === response.toLowerCase(),
  "punctuation:no_comma": (response) => !response.includes(","),
};

/** An item of the benchmark's file. */
export interface InstructionItem {
  key: string;
  prompt: string;
  instructions: { id: string; given: InstructionArguments }[];
}

/** Responses that the benchmark's loose accuracy looks at: without first or last line, without asterisks. */
function looseForms(response: string): string[] {
  const lines = response.split("\n");
  const cut = [response, lines.slice(1).join("\n"), lines.slice(0, -1).join("\n"), lines.slice(1, -1).join("\n")];
  return [...cut, ...cut.map((form) => form.replaceAll("*", ""))]
    .map((form) => form.trim())
    .filter((form) => form !== "");
}

/** Which of an item's instructions a response follows; empty responses follow none. */
export function checkInstructions(
  { instructions }: InstructionItem,
  response: string,
): { strict: boolean[]; loose: boolean[] } {
  const follows = (form: string, { id, given }: InstructionItem["instructions"][number]): boolean =>
    form.trim() !== "" && Boolean(instructionCheckers[id]?.(form, given));
  return {
    strict: instructions.map((instruction) => follows(response, instruction)),
    loose: instructions.map((instruction) => looseForms(response).some((form) => follows(form, instruction))),
  };
}
