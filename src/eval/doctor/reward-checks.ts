/** Whether reward and metrics can tell a good answer from none, and whether prompts and answers fit the policy. */
import { TaskError } from "../../core/errors.ts";
import type { Engine } from "../../engines/engine.ts";
import { gainsOf } from "../../ranking/judgments.ts";
import type { Relevance } from "../../ranking/judgments.ts";
import type { Hit } from "../../recommenders/recommender.ts";
import { hasVariance, meanOf } from "../../rl/advantage.ts";
import { encodeExample, encodeMessages } from "../../rl/prompt.ts";
import { collectRollouts } from "../../rl/rollout.ts";
import { fault, fine, skipped } from "./diagnosis.ts";
import type { CheckOutcome } from "./diagnosis.ts";
import { hitsOf, percent, quote, relevantOf, tryTask } from "./patient.ts";
import type { Patient } from "./patient.ts";
import type { RawAnswers } from "./search-checks.ts";

/** The best answer there can be: everything relevant, most relevant first. */
function idealHits(example: object, topK: number): Hit[] {
  const { relevant } = example as { relevant: Relevance };
  return [...gainsOf(relevant)]
    .filter(([, gain]) => gain > 0)
    .sort((a, b) => b[1] - a[1])
    .slice(0, topK)
    .map(([id], rank) => ({ id, score: 1 / (rank + 1) }));
}

/** Reward of the best answer, of what the raw words find, and of nothing: all-equal rewards teach nothing. */
export async function checkReward<E extends object>(
  { task, sample }: Patient<E>,
  raw: RawAnswers,
): Promise<CheckOutcome[]> {
  const judged = sample.filter(({ example }) => relevantOf(example).length > 0);
  if (judged.length === 0)
    return [skipped("equal-rewards", "Examples have no `relevant`, so that the best answer isn't known.")];
  const rows: { id: string; ideal: number; none: number; found: number | null }[] = [];
  for (const { id, example } of judged) {
    const words = task.raw(example);
    const outcome = words === null ? undefined : raw.get(words);
    const query = words ?? "words";
    const score = async (hits: Hit[]): Promise<number> =>
      (await task.reward({ example, query, hits, completion: task.write(query, example) })).reward;
    const result = await tryTask(async () => ({
      id,
      ideal: await score(idealHits(example, task.topK)),
      none: await score([]),
      found: outcome && "hits" in outcome ? await score(outcome.hits) : null,
    }));
    if ("fault" in result) {
      const advice =
        "A reward must be a finite number for any hits, also for none, and need no more of a hit than its id.";
      return [fault("error", "equal-rewards", { message: `The reward can't be computed: ${result.fault}`, advice })];
    }
    rows.push(result.value);
  }
  const flat = rows.filter(({ ideal, none }) => Math.abs(ideal - none) <= 1e-12);
  const upsideDown = rows.filter(({ ideal, none }) => ideal < none - 1e-12);
  if (upsideDown.length > 0 || flat.length > 0) {
    const wrong = upsideDown.length > 0 ? upsideDown : flat;
    const isMinor = upsideDown.length === 0 && flat.length < 0.5 * rows.length;
    return [
      fault(isMinor ? "warning" : "error", "equal-rewards", {
        message:
          upsideDown.length > 0
            ? `The reward is lower for the best answer than for none, in ${wrong.length} of ${rows.length} examples.`
            : `The reward is the same for the best answer and for none, in ${wrong.length} of ${rows.length} examples.`,
        evidence: wrong.map(({ id, ideal, none }) => `example "${id}": best ${ideal}, nothing found ${none}`),
        advice: "Look at the reward function: which ids it compares, its sign, and whether it uses the hits at all.",
      }),
    ];
  }
  const found = rows.flatMap((row) => (row.found === null ? [] : [row.found]));
  const [ideal, none] = [meanOf(rows.map((row) => row.ideal)), meanOf(rows.map((row) => row.none))];
  const message = `Mean reward: ${ideal.toFixed(3)} for the best answer, ${meanOf(found).toFixed(3)} for the raw words, ${none.toFixed(3)} for nothing.`;
  return [fine("equal-rewards", message)];
}

/** Metrics must give the best answer the best figure; and there must be something left to gain. */
export async function checkMetrics<E extends object>(
  { task, sample }: Patient<E>,
  raw: RawAnswers,
): Promise<CheckOutcome[]> {
  const judged = sample.filter(({ example }) => relevantOf(example).length > 0);
  if (judged.length === 0) return [skipped("metric-ceiling", "Examples have no `relevant`.")];
  const evidence: string[] = [];
  for (const metric of task.metrics) {
    const result = await tryTask(() =>
      judged.filter(({ example }) => {
        const best = metric.score({ example, hits: idealHits(example, task.topK) });
        const isNormalised = /^ndcg/i.test(metric.name);
        return !(best > metric.score({ example, hits: [] })) || (isNormalised && Math.abs(best - 1) > 1e-6);
      }),
    ).catch((error: unknown) => ({ fault: error instanceof Error ? error.message : String(error) }));
    if ("fault" in result) evidence.push(`${metric.name} throws: ${result.fault}`);
    else if (result.value.length > 0) {
      const first = result.value[0] as (typeof judged)[number];
      const best = metric.score({ example: first.example, hits: idealHits(first.example, task.topK) });
      evidence.push(
        `${metric.name}: the best answer scores ${best} on example "${first.id}" (${result.value.length} such examples)`,
      );
    }
  }
  if (evidence.length > 0) {
    return [
      fault("error", "metric-ceiling", {
        message: "The best possible answer doesn't get the best possible figure.",
        evidence,
        advice:
          "An ideal that counts relevant ids twice, or ids of another kind, does this. Compute NDCG over distinct ids.",
      }),
    ];
  }
  const first = task.metrics[0] as (typeof task.metrics)[number];
  const scores = judged.flatMap(({ example }) => {
    const words = task.raw(example);
    const outcome = words === null ? undefined : raw.get(words);
    return outcome && "hits" in outcome ? [first.score({ example, hits: hitsOf(outcome) })] : [];
  });
  const mean = meanOf(scores);
  return [
    fine("metric-ceiling", "The best answer gets the best figure of every metric."),
    scores.length > 0 && mean > 0.95
      ? fault("warning", "nothing-to-gain", {
          message: `The raw words reach ${first.name} ${mean.toFixed(3)} already.`,
          advice: "There is next to nothing to learn here.",
        })
      : fine("nothing-to-gain", `The raw words reach ${first.name} ${mean.toFixed(3)} on ${scores.length} examples.`),
  ];
}

/** Answers in the forms that models give; a parser that takes neither would give every completion the same reward. */
export async function checkParser<E extends object>({ task, sample }: Patient<E>): Promise<CheckOutcome> {
  const check = "parser";
  const first = sample[0];
  if (!first) return skipped(check, "There are no examples.");
  const words = task.raw(first.example) ?? "plain words";
  const plain = [words, `<answer>${JSON.stringify({ query: words })}</answer>`, JSON.stringify({ query: words })];
  const result = await tryTask(() => {
    const forms = [task.write(words, first.example), ...plain];
    return forms.map((form) => task.parse(form, first.example));
  });
  if ("fault" in result) {
    const advice = "A parser returns a text or null, whatever it is given.";
    return fault("error", check, { message: `The parser throws: ${result.fault}`, advice });
  }
  if (result.value.some((query) => query !== null)) return fine(check, "Answers are parsed.");
  return fault("warning", check, {
    message: "The parser finds no query in a plain answer, in an <answer> block, nor in JSON.",
    evidence: plain.map(quote),
    advice:
      "Check it on a completion in the form that the prompt asks for, and give the task a `write` that writes one.",
  });
}

/** The policy, or as much of it as a check of prompts needs. */
export type PromptFit = Pick<Engine, "tokenizer" | "contextLength">;

/** Prompts that don't fit the model's context, or only shortened. */
export function checkPrompts<E extends object>(
  { task, splits }: Patient<E>,
  engine: PromptFit | undefined,
  maxTokens: number,
): CheckOutcome {
  const check = "prompt-too-long";
  if (!engine) return skipped(check, "No model was given.");
  const evidence: string[] = [];
  let longest = 0;
  let shortened = 0;
  const all = Object.values(splits).flat();
  for (const { id, example } of all) {
    try {
      longest = Math.max(longest, encodeMessages(engine.tokenizer, task.prompt(example)).length);
      if (encodeExample(engine as Engine, task, example, { maxTokens }).isShortened) shortened++;
    } catch (error) {
      if (!(error instanceof TaskError)) throw error;
      evidence.push(`example "${id}": ${error.message.split(". ")[0] as string}`);
    }
  }
  if (evidence.length > 0) {
    return fault("error", check, {
      message: `${evidence.length} of ${all.length} prompts don't fit: with ${maxTokens} tokens of answer the model takes ${engine.contextLength}.`,
      evidence,
      advice: "Shorten the prompt, give the task a `shorten` function, or take a model with a longer context.",
    });
  }
  const note = shortened > 0 ? `, ${shortened} of them shortened` : "";
  return fine(check, `All ${all.length} prompts fit (the longest has ${longest} tokens)${note}.`);
}

/** What the untrained policy makes of a few prompts. */
export async function checkPolicy<E extends object>(
  { task, recommender, sample, signal }: Patient<E>,
  engine: Engine | undefined,
  { maxTokens, groupSize, prompts, seed }: { maxTokens: number; groupSize: number; prompts: number; seed: number },
): Promise<CheckOutcome> {
  const check = "policy-answers";
  if (!engine) return skipped(check, "No policy was asked.");
  const { groups } = await collectRollouts(sample.slice(0, prompts), {
    engine,
    recommender,
    task,
    sampling: { n: groupSize, maxTokens, temperature: 1, seed, ...(signal ? { signal } : {}) },
  });
  const rollouts = groups.flatMap((group) => group.rollouts);
  const unparsed = rollouts.filter(({ query }) => query === null).length;
  const learning = groups.filter((group) =>
    hasVariance(group.rollouts.flatMap(({ reward }) => (reward === null ? [] : [reward]))),
  ).length;
  const evidence = rollouts.slice(0, 3).map(({ sample: { text } }) => quote(text));
  if (learning === 0 || unparsed > 0.5 * rollouts.length) {
    return fault("warning", check, {
      message: `${percent(unparsed, rollouts.length)} of ${rollouts.length} answers hold no query; in ${learning} of ${groups.length} groups do rewards differ.`,
      evidence,
      advice:
        "Nothing is learnt from groups whose rewards are all equal: ask for a simpler form of answer, warm the policy up, or make the reward finer.",
    });
  }
  return fine(
    check,
    `${learning} of ${groups.length} groups have rewards that differ; ${percent(unparsed, rollouts.length)} of answers hold no query.`,
  );
}
