/** What can be wrong with examples before anything is asked: overlap, judgments, words, leaks. */
import { readJsonl } from "../../core/data-lines.ts";
import { checkRelevant } from "../../datasets/examples.ts";
import type { Relevance } from "../../ranking/judgments.ts";
import type { LoadedExample, SplitName } from "../../rl/task.ts";
import { splitNames } from "../../rl/task.ts";
import { fault, fine, skipped } from "./diagnosis.ts";
import type { CheckOutcome } from "./diagnosis.ts";
import { percent, quote, relevantOf } from "./patient.ts";
import type { Patient } from "./patient.ts";

/** Share of a split's examples that may be in another before it counts as an error and not as a warning. */
const overlapLimit = 0.01;

/** Data of the test split must be new to the policy: examples of one split that another has, too. */
export function checkOverlap<E extends object>(patient: Patient<E>): CheckOutcome {
  const check = "split-overlap";
  const overlaps = findOverlaps(patient);
  const pairs = overlaps.filter(({ shared }) => shared.length > 0);
  if (overlaps.length === 0) return skipped(check, "There is only one split.");
  if (pairs.length === 0) return fine(check, "No example of one split is in another.");
  const worst = Math.max(...pairs.map(({ shared, size }) => shared.length / size));
  const message = pairs.map(
    ({ a, b, shared, size }) =>
      `${shared.length} of ${size} ${b} examples (${percent(shared.length, size)}) are in ${a}`,
  );
  return fault(worst > overlapLimit ? "error" : "warning", check, {
    message: `${message.join("; ")}: same prompt, same relevant items.`,
    evidence: pairs.flatMap(({ a, b, shared }) => shared.slice(0, 3).map((id) => `${b} example "${id}" is in ${a}`)),
    advice:
      "Divide the data again so that each example is in one split; figures on a test split that was trained on are no evidence.",
  });
}

export interface SplitOverlap {
  a: SplitName;
  b: SplitName;
  /** Ids of the examples of `b` that are in `a`. */
  shared: string[];
  /** Examples of `b`. */
  size: number;
}

/** For every two splits, the examples of the later one whose prompt and relevant items the earlier one has. */
export function findOverlaps<E extends object>({ task, splits }: Pick<Patient<E>, "task" | "splits">): SplitOverlap[] {
  const keyOf = ({ example }: LoadedExample<E>): string =>
    JSON.stringify([task.prompt(example), relevantOf(example).sort()]);
  const keys = new Map(splitNames.map((name) => [name, (splits[name] ?? []).map(keyOf)]));
  const found: SplitOverlap[] = [];
  splitNames.forEach((b, index) => {
    for (const a of splitNames.slice(0, index)) {
      const [earlier, later] = [splits[a], splits[b]];
      if (!earlier || !later) continue;
      const known = new Set(keys.get(a));
      const ids = later.filter((_, i) => known.has(keys.get(b)?.[i] as string)).map(({ id }) => id);
      found.push({ a, b, shared: ids, size: later.length });
    }
  });
  return found;
}

/** Relevant ids that an example names twice: implementations that count them twice have an ideal DCG nobody reaches. */
export async function checkDuplicateRelevant<E extends object>(patient: Patient<E>): Promise<CheckOutcome> {
  const check = "duplicate-relevant";
  const evidence: string[] = [];
  let count = 0;
  let examples = 0;
  for (const [split, loaded] of Object.entries(patient.splits)) {
    for (const { id, relevant } of await readRelevantAsWritten(patient, split as SplitName, loaded)) {
      if (!Array.isArray(relevant)) continue;
      examples++;
      const repeated = relevant.length - new Set(relevant.map(String)).size;
      if (repeated === 0) continue;
      count++;
      evidence.push(`${split} example "${id}": ${relevant.length} relevant ids, ${repeated} of them repeated`);
    }
  }
  if (examples === 0) return skipped(check, "No example lists relevant ids.");
  if (count === 0) return fine(check, `No relevant id is listed twice in ${examples} examples.`);
  return fault("warning", check, {
    message: `${count} of ${examples} examples list a relevant id twice; they count once here (mode sound), and twice in the ideal of whoever divides by the list's length.`,
    evidence,
    advice: "Remove the repetitions; to compare with figures that count them, evaluate with --mode compatible.",
  });
}

/** `relevant` of each example before any repetition was removed. */
async function readRelevantAsWritten<E extends object>(
  { task }: Patient<E>,
  split: SplitName,
  loaded: readonly LoadedExample<E>[],
): Promise<{ id: string; relevant: unknown }[]> {
  const source = task.data[split];
  if (typeof source !== "string") {
    return loaded.map(({ id, example }) => ({ id, relevant: (example as { relevant?: unknown }).relevant }));
  }
  const rows: { id: string; relevant: unknown }[] = [];
  for await (const { line, value } of readJsonl(source)) {
    const id = typeof value.id === "string" || typeof value.id === "number" ? String(value.id) : `line-${line}`;
    rows.push({ id, relevant: value.relevant });
  }
  return rows;
}

/** Relevant items that the index doesn't have. @param maxMissingShare share that is put up with */
export async function checkMissingRelevant<E extends object>(
  { recommender, splits }: Patient<E>,
  maxMissingShare: number,
): Promise<CheckOutcome> {
  const check = "relevant-missing";
  if (!recommender.has) return skipped(check, `${recommender.name} can't tell whether it has an item.`);
  const judged = Object.values(splits)
    .flat()
    .filter(({ example }) => relevantOf(example).length > 0)
    .map(({ id, example }) => ({ id, relevant: (example as { relevant: Relevance }).relevant }));
  const known = new Map<string, boolean>();
  const has = async (id: string): Promise<boolean> => {
    if (!known.has(id)) known.set(id, (await recommender.has?.(id)) ?? true);
    return known.get(id) as boolean;
  };
  const { missing, relevant, unreachable, examples } = await checkRelevant(judged, has, { maxMissingShare: 1 });
  if (missing.length === 0) return fine(check, `All ${relevant} relevant items are in the index.`);
  return fault(missing.length > maxMissingShare * relevant ? "error" : "warning", check, {
    message: `${missing.length} of ${relevant} relevant ids (${percent(missing.length, relevant)}) aren't in the index; ${unreachable} of ${examples} examples can't be answered at all.`,
    evidence: missing.map(({ id, example }) => `"${id}" of example "${example.id}"`),
    advice: "Index the items, or use the index's ids in the examples.",
  });
}

/** Examples without anything relevant, and examples without words of their own. */
export function checkExamples<E extends object>({ task, splits }: Patient<E>): CheckOutcome[] {
  const all = Object.values(splits).flat();
  const judged = all.filter(({ example }) => (example as { relevant?: unknown }).relevant !== undefined);
  const empty = judged.filter(({ example }) => relevantOf(example).length === 0);
  const wordless = all.filter(({ example }) => task.raw(example) === null);
  const named = (examples: readonly LoadedExample<E>[]): string[] => examples.map(({ id }) => `example "${id}"`);
  return [
    judged.length === 0
      ? skipped("relevant-empty", "Examples have no `relevant`; the task scores by other means.")
      : empty.length === 0
        ? fine("relevant-empty", "Every example has something relevant.")
        : fault("error", "relevant-empty", {
            message: `${empty.length} of ${judged.length} examples have nothing relevant, so that no answer can score.`,
            evidence: named(empty),
            advice: "Remove them, or complete their judgments.",
          }),
    wordless.length === 0
      ? fine("raw-words", "Every example has words of its own to search for.")
      : fault(wordless.length === all.length ? "error" : "warning", "raw-words", {
          message: `${wordless.length} of ${all.length} examples have no words to search for as they are, and score 0 as a baseline.`,
          evidence: named(wordless),
          advice: "Give the task `raw`, a function of the example, or give examples a `query`.",
        }),
  ];
}

/** Shortest id that is looked for in prompts: shorter ones are words. */
const leakLength = 6;

/** Prompts that name what should be found. */
export function checkLeaks<E extends object>({ task, sample }: Patient<E>): CheckOutcome {
  const check = "prompt-leak";
  const evidence: string[] = [];
  for (const { id, example } of sample) {
    const text = task
      .prompt(example)
      .map(({ content }) => content)
      .join("\n");
    const leaked = relevantOf(example).find((item) => item.length >= leakLength && containsToken(text, item));
    if (leaked !== undefined) evidence.push(`example "${id}": the prompt holds ${quote(leaked)}`);
  }
  if (evidence.length === 0) return fine(check, "No prompt names the id that should be found.");
  return fault("warning", check, {
    message: `${evidence.length} of ${sample.length} prompts hold the id of a relevant item.`,
    evidence,
    advice: "Leave the target out of the prompt, or the policy learns to copy it.",
  });
}

function containsToken(text: string, token: string): boolean {
  const isWordy = (char: string | undefined): boolean => char !== undefined && /[\p{L}\p{N}_-]/u.test(char);
  for (let at = text.indexOf(token); at >= 0; at = text.indexOf(token, at + 1)) {
    if (!isWordy(text[at - 1]) && !isWordy(text[at + token.length])) return true;
  }
  return false;
}
