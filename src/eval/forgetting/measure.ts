/**
 * General ability of a policy: benchmarks from files, and two measures that need none, divergence from the base model on
 * general prompts and perplexity on a held-out text. The same prompts, seeds and limits before and after training.
 */
import { DataError, throwIfAborted } from "../../core/errors.ts";
import type { Datum, Engine, Sample, TokenIds, Weights } from "../../engines/engine.ts";
import { assembleProgram, extractNumber } from "./benchmarks.ts";
import type { ArithmeticItem, ChoiceItem, ProgramItem } from "./benchmarks.ts";
import { generalPrompts, heldOutText } from "./general-text.ts";
import { checkInstructions } from "./instructions.ts";
import type { InstructionItem } from "./instructions.ts";
import type { AbilityMeasure } from "./report.ts";
import { runsClean } from "./run-program.ts";
import type { RunLimits } from "./run-program.ts";

/** A policy: an engine, and which of its weights are meant. */
export interface Policy {
  engine: Engine;
  weights: Weights;
}

export interface AbilityOptions {
  instructions?: readonly InstructionItem[];
  arithmetic?: readonly ArithmeticItem[];
  choices?: readonly ChoiceItem[];
  programs?: readonly ProgramItem[];
  /** Programs are run only with these limits given; without, they are parsed and not run. */
  runPrograms?: RunLimits;
  /** Default: the project's own. */
  prompts?: readonly string[];
  /** Default: the project's own. */
  text?: string;
  /** Longest answer, in tokens. Default 256. */
  maxTokens?: number;
  /** Addresses sampling. Default 0. */
  seed?: number;
  signal?: AbortSignal;
  onProgress?: (text: string) => void;
}

/** A figure before it is compared with the base's. */
export type Measures = Record<string, Omit<AbilityMeasure, "base">>;

/** Prompts in one call. */
const batchSize = 16;

/** Every measure that needs one policy alone. @throws EngineError, AbortError */
export async function measureAbility(policy: Policy, options: AbilityOptions): Promise<Measures> {
  const { instructions, arithmetic, choices, programs, onProgress } = options;
  const measures: Measures = {};
  onProgress?.("perplexity");
  measures["held-out perplexity"] = await measurePerplexity(policy, options);
  if (instructions) {
    const responses = await respond(
      policy,
      instructions.map(({ prompt }) => prompt),
      options,
      "IFEval",
    );
    const checked = instructions.map((item, i) => checkInstructions(item, responses[i] as string));
    for (const kind of ["strict", "loose"] as const) {
      const whole = checked.filter((one) => one[kind].every(Boolean)).length;
      const single = checked.flatMap((one) => one[kind]);
      measures[`IFEval prompt ${kind}`] = share(whole, checked.length);
      measures[`IFEval instruction ${kind}`] = share(single.filter(Boolean).length, single.length);
    }
  }
  if (arithmetic) {
    const ask = ({ question }: ArithmeticItem): string =>
      `${question}\nThink step by step, then write the answer as #### and the number.`;
    const responses = await respond(policy, arithmetic.map(ask), options, "GSM8K");
    const right = arithmetic.filter(({ answer }, i) => extractNumber(responses[i] as string) === answer);
    measures["GSM8K accuracy"] = share(right.length, arithmetic.length);
  }
  if (choices) measures["MMLU accuracy"] = await measureChoices(policy, choices, options);
  if (programs && options.runPrograms) {
    const ask = ({ prompt }: ProgramItem): string =>
      `Complete this Python function. Answer with code only.\n\n${prompt}`;
    const responses = await respond(policy, programs.map(ask), options, "HumanEval");
    let passed = 0;
    for (const [i, item] of programs.entries()) {
      throwIfAborted(options.signal);
      if (await runsClean(assembleProgram(item, responses[i] as string), options.runPrograms)) passed++;
    }
    measures["HumanEval pass@1"] = share(passed, programs.length);
  }
  return measures;
}

const share = (part: number, whole: number): Measures[string] => ({
  value: whole === 0 ? 0 : part / whole,
  better: "more",
  count: whole,
});
const abort = (signal: AbortSignal | undefined): { signal?: AbortSignal } => (signal ? { signal } : {});

/** Ids of a question in chat form, its end cut off where it would not fit. */
function encode({ engine }: Policy, content: string, room: number): number[] {
  const limit = Math.max(1, engine.contextLength - room);
  let text = content;
  for (;;) {
    const ids = engine.tokenizer.encodeChat([{ role: "user", content: text }]);
    if (ids.length <= limit || text.length < 2) return ids;
    text = text.slice(0, Math.floor(text.length * Math.min(0.95, limit / ids.length)));
  }
}

/** Greedy answers. */
async function respond(
  policy: Policy,
  contents: readonly string[],
  options: AbilityOptions,
  name: string,
): Promise<string[]> {
  const { seed = 0, signal, onProgress } = options;
  const maxTokens = Math.min(options.maxTokens ?? 256, Math.floor(policy.engine.contextLength / 2));
  const responses: string[] = [];
  for (let start = 0; start < contents.length; start += batchSize) {
    const prompts = contents.slice(start, start + batchSize).map((content) => encode(policy, content, maxTokens));
    const params = { n: 1, maxTokens, temperature: 0, seed, weights: policy.weights, ...abort(signal) };
    const samples_P_G = await policy.engine.sample(prompts, params);
    responses.push(...samples_P_G.map((samples) => samples[0]?.text ?? ""));
    onProgress?.(`${name}: ${responses.length}/${contents.length}`);
  }
  return responses;
}

/** The choice whose letter is most likely, as Hendrycks et al. (2021) score it, in chat form. */
async function measureChoices(
  policy: Policy,
  items: readonly ChoiceItem[],
  options: AbilityOptions,
): Promise<Measures[string]> {
  const { engine, weights } = policy;
  let right = 0;
  for (let start = 0; start < items.length; start += batchSize) {
    const batch = items.slice(start, start + batchSize);
    const data = batch.flatMap(({ subject, question, choices }): Pick<Datum, "prompt" | "completion">[] => {
      const letters = choices.map((_, i) => String.fromCharCode(65 + i));
      const about = subject === "" ? "" : ` about ${subject}`;
      const asked = `The following is a multiple choice question${about}.\n\n${question}\n${choices.map((choice, i) => `${letters[i]}. ${choice}`).join("\n")}\nAnswer with one letter.`;
      const prompt = encode(policy, asked, 8);
      return letters.map((letter) => ({ prompt, completion: engine.tokenizer.encode(letter) }));
    });
    const logprobs = (await engine.logprobs(data, { weights, ...abort(options.signal) })).map((list) =>
      list.reduce((a, b) => a + b, 0),
    );
    let at = 0;
    for (const { choices, answer } of batch) {
      const own = logprobs.slice(at, (at += choices.length));
      if (own.indexOf(Math.max(...own)) === answer) right++;
    }
    options.onProgress?.(`MMLU: ${Math.min(start + batchSize, items.length)}/${items.length}`);
  }
  return share(right, items.length);
}

/** Tokens of a window of the held-out text; the first ones of a window are context and not scored. */
const windowTokens = 256;
const contextTokens = 32;

/**
 * Perplexity of a text, in windows: exp of the mean negative log-prob of the tokens after each window's context.
 * @throws DataError `TOO_LITTLE_TEXT`
 */
export async function measurePerplexity(
  { engine, weights }: Policy,
  { text = heldOutText, signal }: AbilityOptions,
): Promise<Measures[string]> {
  const ids = engine.tokenizer.encode(text);
  const size = Math.min(windowTokens, engine.contextLength);
  const context = Math.min(contextTokens, Math.floor(size / 4));
  const data: { prompt: TokenIds; completion: TokenIds }[] = [];
  for (let start = 0; start + context + 1 < ids.length; start += size - context) {
    const window = ids.slice(start, start + size);
    if (window.length > context) data.push({ prompt: window.slice(0, context), completion: window.slice(context) });
  }
  if (data.length === 0) {
    throw new DataError(
      "TOO_LITTLE_TEXT",
      `The held-out text has ${ids.length} tokens, perplexity takes more than ${context + 1}. Give a longer one.`,
    );
  }
  let [sum, count] = [0, 0];
  for (const datum of data) {
    const [logprobs] = await engine.logprobs([datum], { weights, ...abort(signal) });
    for (const logprob of logprobs ?? []) sum -= logprob;
    count += logprobs?.length ?? 0;
  }
  return { value: Math.exp(sum / count), better: "less", count };
}

export interface Divergence {
  /** KL(policy ‖ base) in nats per token, on the policy's own samples: how far it has moved. */
  fromBase: Measures[string];
  /** KL(base ‖ policy) in nats per token, on the base's samples: what of the base it would no longer say. */
  toBase: Measures[string];
}

/**
 * KL divergence of a policy from the base model on general prompts, both ways, by sampling at temperature 1: the mean of
 * exp(d) − 1 − d over sampled tokens, d the log-ratio of the other model to the sampling one (k3 of Schulman 2020,
 * unbiased and never below 0).
 */
export async function measureDivergence(policy: Policy, base: Policy, options: AbilityOptions): Promise<Divergence> {
  const { prompts = generalPrompts, seed = 0, signal, onProgress } = options;
  const maxTokens = Math.min(options.maxTokens ?? 64, 64, Math.floor(policy.engine.contextLength / 2));
  const estimate = async (from: Policy, other: Policy): Promise<Measures[string]> => {
    let [sum, count] = [0, 0];
    for (let start = 0; start < prompts.length; start += batchSize) {
      const encoded = prompts.slice(start, start + batchSize).map((content) => encode(from, content, maxTokens));
      const params = { n: 1, maxTokens, temperature: 1, seed, weights: from.weights, ...abort(signal) };
      const samples = (await from.engine.sample(encoded, params)).map(([sample]) => sample as Sample);
      const data = samples.map(({ ids }, i) => ({ prompt: encoded[i] as number[], completion: ids }));
      const [own, others] = [
        await from.engine.logprobs(data, { weights: from.weights, ...abort(signal) }),
        await other.engine.logprobs(data, { weights: other.weights, ...abort(signal) }),
      ];
      own.forEach((list, i) =>
        list.forEach((logprob, t) => {
          const d = (others[i]?.[t] as number) - logprob;
          sum += Math.expm1(d) - d;
          count++;
        }),
      );
      onProgress?.(`KL: ${Math.min(start + batchSize, prompts.length)}/${prompts.length} prompts`);
    }
    return { value: count === 0 ? 0 : sum / count, better: "none", count };
  };
  return { fromBase: await estimate(policy, base), toBase: await estimate(base, policy) };
}
