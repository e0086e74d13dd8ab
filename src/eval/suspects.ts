/**
 * Completions and runs that look as if the policy were after the reward and not what it stands for. Each finding says
 * why; none is proof. Thresholds are chosen so that a person looks at few things: a word or two that nobody said is what
 * the policy is there for, a whole query of them is not.
 */
import { splitWords } from "../core/words.ts";

/** What one completion is judged by. */
export interface Written {
  completion: string;
  query: string | null;
  /** The user's words; null where unknown. */
  input: string | null;
  /** Titles of what its query found, and of what should be found. */
  titles: readonly string[];
}

export const suspectKinds = ["length", "repetition", "unsupported", "title-copy"] as const;
export type SuspectKind = (typeof suspectKinds)[number];

export interface Suspicion {
  kind: SuspectKind;
  /** A sentence. */
  reason: string;
}

export interface SuspectContext {
  /** Median words of a completion before training or at its start; 0: unknown, and length isn't judged. */
  usualWords: number;
  /** Words of the catalogue's titles, as far as they are known; empty: words aren't judged by it. */
  catalogueWords: ReadonlySet<string>;
}

/** Times its usual length from which a completion is suspicious, and the words it has to have. */
const longFactor = 3;
const longWords = 12;
/** Words from which repetition is judged, the share of different ones below it, and repeats of one sequence of three. */
const repeatWords = 8;
const differentShare = 0.5;
const repeatsOfThree = 3;
/** Shortest words that are judged, the share of them that nothing supports, and how many there have to be. */
const judgedLetters = 3;
const unsupportedShare = 0.5;
const unsupportedWords = 2;
/** Words of the shortest title whose copy is suspicious. */
const titleWords = 4;

/** What is suspicious about a completion; mostly nothing. */
export function suspect(written: Written, context: SuspectContext): Suspicion[] {
  const words = splitWords(written.completion);
  return [
    judgeLength(words, context.usualWords),
    judgeRepetition(words),
    judgeSupport(written, context.catalogueWords),
    judgeCopy(written),
  ].filter((suspicion) => suspicion !== undefined);
}

function judgeLength(words: readonly string[], usualWords: number): Suspicion | undefined {
  if (usualWords <= 0 || words.length < longWords || words.length < longFactor * usualWords) return undefined;
  return {
    kind: "length",
    reason: `It has ${words.length} words; at the start ${formatCount(usualWords)} ${usualWords === 1 ? "was" : "were"} usual.`,
  };
}

function judgeRepetition(words: readonly string[]): Suspicion | undefined {
  if (words.length < repeatWords) return undefined;
  const different = new Set(words).size;
  if (different / words.length < differentShare) {
    return {
      kind: "repetition",
      reason: `Its ${words.length} words are ${different} different ${different === 1 ? "word" : "words"}.`,
    };
  }
  const counts = new Map<string, number>();
  for (let i = 0; i + 3 <= words.length; i++) {
    const three = words.slice(i, i + 3).join(" ");
    const count = (counts.get(three) ?? 0) + 1;
    if (count === repeatsOfThree) return { kind: "repetition", reason: `It says “${three}” ${count} times or more.` };
    counts.set(three, count);
  }
  return undefined;
}

function judgeSupport({ query, input, titles }: Written, catalogue: ReadonlySet<string>): Suspicion | undefined {
  if (query === null || input === null || catalogue.size === 0) return undefined;
  const supported = new Set([...splitWords(input), ...titles.flatMap(splitWords)]);
  const judged = [...new Set(splitWords(query))].filter((word) => word.length >= judgedLetters);
  const unknown = judged.filter((word) => !supported.has(word) && !catalogue.has(word));
  if (unknown.length < unsupportedWords || unknown.length < unsupportedShare * judged.length) return undefined;
  const some = unknown.slice(0, 6).join(", ");
  return {
    kind: "unsupported",
    reason: `${unknown.length} of its ${judged.length} words are neither in what was asked nor in any title seen: ${some}.`,
  };
}

function judgeCopy({ query, input, titles }: Written): Suspicion | undefined {
  const asked = ` ${splitWords(input ?? "").join(" ")} `;
  const said = ` ${splitWords(query ?? "").join(" ")} `;
  for (const title of titles) {
    const words = splitWords(title);
    const text = ` ${words.join(" ")} `;
    if (words.length < titleWords || !said.includes(text) || asked.includes(text)) continue;
    return {
      kind: "title-copy",
      reason: `It has the whole of the title “${title.slice(0, 120)}”, which was not asked for.`,
    };
  }
  return undefined;
}

const formatCount = (value: number): string => (Number.isInteger(value) ? String(value) : value.toFixed(1));

/** A finding on a run as a whole. */
export interface RunFinding {
  kind: "length" | "divergence";
  reason: string;
}

/** What a run's curves are judged by, in the order of steps. */
export interface RunCurve {
  /** Steps of reinforcement learning. */
  steps: readonly { step: number; reward: number; completionTokens: number | undefined }[];
  /** Evaluations on the validation split, by the metric that decides. */
  validation: readonly { step: number; value: number; standardError: number | undefined }[];
}

/** Steps and evaluations from which a run's curves are judged. */
const judgedSteps = 10;
const judgedEvaluations = 3;
/** Growth of the mean completion length that is told. */
const lengthGrowth = 2;

/** What a run's curves say: completions that grew, reward that rose while validation fell. */
export function examineCurves({ steps, validation }: RunCurve): RunFinding[] {
  const findings: RunFinding[] = [];
  const part = Math.max(1, Math.floor(steps.length / 5));
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  if (steps.length >= judgedSteps) {
    const tokens = steps.map(({ completionTokens }) => completionTokens).filter((count) => count !== undefined);
    const [first, last] = [tokens.slice(0, part), tokens.slice(-part)].map(mean) as [number, number];
    if (first > 0 && last > lengthGrowth * first) {
      findings.push({
        kind: "length",
        reason: `Completions grew from ${first.toFixed(1)} to ${last.toFixed(1)} tokens on average.`,
      });
    }
  }
  const best = validation.reduce<RunCurve["validation"][number] | undefined>(
    (top, point) => (top === undefined || point.value > top.value ? point : top),
    undefined,
  );
  const last = validation.at(-1);
  if (best && last && validation.length >= judgedEvaluations && last.step > best.step) {
    const noise = 1.96 * Math.hypot(best.standardError ?? 0, last.standardError ?? 0);
    const around = (step: number): number[] => {
      const at = steps.findIndex((row) => row.step >= step);
      return at < 0 ? [] : steps.slice(Math.max(0, at - part), at + 1).map(({ reward }) => reward);
    };
    const [then, now] = [around(best.step), steps.slice(-part).map(({ reward }) => reward)];
    // Paired by the same queries, so a fall within the unpaired interval may be real, too; beyond it, it hardly isn't.
    if (
      then.length > 0 &&
      now.length > 0 &&
      mean(now) > mean(then) &&
      best.value - last.value > Math.max(noise, 0.01)
    ) {
      findings.push({
        kind: "divergence",
        reason: `Since step ${best.step} the reward rose from ${mean(then).toFixed(3)} to ${mean(now).toFixed(3)}, while validation fell from ${best.value.toFixed(3)} to ${last.value.toFixed(3)}.`,
      });
    }
  }
  return findings;
}

/** One system's answer to a query, as far as it explains a loss. */
export interface AnswerView {
  query: string | null;
  /** Ids, best first. */
  hits: readonly string[];
  score: number | null;
}

/** Why a policy's query may have done worse than another: what can be seen in the two, in sentences. */
export function explainLoss(
  { input, relevant }: { input: string | null; relevant: ReadonlySet<string> },
  before: AnswerView,
  after: AnswerView,
): string[] {
  const reasons: string[] = [];
  if (after.query === null) return ["No query could be read from its answer."];
  if (after.hits.length === 0) reasons.push("Its query finds nothing.");
  const rank = (hits: readonly string[]): number => hits.findIndex((id) => relevant.has(id)) + 1;
  const [was, is] = [rank(before.hits), rank(after.hits)];
  if (was > 0 && is === 0)
    reasons.push(`The first relevant item was at rank ${was}, now it is not among the first ${after.hits.length}.`);
  else if (was > 0 && is > was) reasons.push(`The first relevant item fell from rank ${was} to ${is}.`);
  const said = new Set(splitWords(after.query));
  const asked = [...new Set(splitWords(input ?? before.query ?? ""))];
  const lost = asked.filter((word) => !said.has(word));
  if (lost.length > 0) reasons.push(`It left out ${lost.slice(0, 5).join(", ")}.`);
  const added = [...said].filter((word) => !asked.includes(word));
  if (added.length > 0) reasons.push(`It added ${added.slice(0, 5).join(", ")}.`);
  return reasons;
}
