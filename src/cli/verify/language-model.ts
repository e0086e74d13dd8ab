/** Checks SmolLM2-135M-Instruct as dequantized from its Q4_1 GGUF: tokenizer, chat template, log-probs, greedy answers. */
import { stat } from "node:fs/promises";
import { z } from "zod";
import type { Sample } from "../../engines/engine.ts";
import { LocalEngine } from "../../engines/local/index.ts";
import { findKnownModel, type KnownModel } from "../../models/known-models.ts";
import { loadModel } from "../../models/load.ts";
import { findCachedModel, modelCacheDir } from "../../models/model-cache.ts";
import { pullKnownModel, type PullOptions } from "../../models/pull.ts";
import { TemplateTokenizer } from "../../models/tokenizer.ts";
import { type Check, largestDifference } from "./check.ts";
import { readReference } from "./reference-files.ts";

const tolerance = { logprob: 2e-3 };

const ids = z.array(z.int().min(0));
const numbers = z.array(z.number());
const referenceSchema = z.object({
  cases: z.array(
    z.object({
      messages: z.array(z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() })),
      prompt: z.string(),
      ids,
      topIds: ids,
      topLogprobs: numbers,
      greedyIds: ids,
      greedyText: z.string().optional(),
      greedyLogprobs: numbers,
    }),
  ),
  encode: z.array(z.object({ text: z.string(), ids })).default([]),
});

/**
 * The model that the reference values are of: the quantized one, which the hub doesn't have.
 * @throws ModelError where it isn't in the cache and can't be fetched
 */
export async function findQuantizedModel(options: Pick<PullOptions, "signal" | "onProgress">): Promise<string> {
  const known = findKnownModel("smollm2-135m-instruct") as KnownModel;
  const cached = await findCachedModel(modelCacheDir(), known.name);
  if (cached?.path.endsWith(".gguf")) return cached.path;
  const quantized = { ...known, name: `${known.name}-q4_1` };
  const { path } = await pullKnownModel(quantized, { ...options, env: { ...process.env, HF_HUB_OFFLINE: "1" } });
  return path;
}

/**
 * Compares the model at `modelPath` with the values in `path`.
 * @throws DataError, ModelError, EngineError, AbortError
 */
export async function verifyLanguageModel(
  path: string,
  modelPath: string,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<Check[]> {
  const { cases, encode } = await readReference(path, referenceSchema);
  await stat(modelPath);
  const model = await loadModel(modelPath, options.signal ? { signal: options.signal } : {});
  const { tokenizer } = model;
  await using engine = new LocalEngine(model);
  const countWrong = (quantity: string, wrong: readonly string[]): Check => ({
    quantity,
    error: wrong.length,
    tolerance: 0,
    ...(wrong[0] === undefined ? {} : { where: wrong[0] }),
  });
  const nameOf = (_: unknown, i: number): string => `case ${i + 1}`;
  const differing = <T>(items: readonly T[], isEqual: (item: T) => boolean): string[] =>
    items.map((item, i) => (isEqual(item) ? "" : nameOf(item, i))).filter((name) => name !== "");

  const greedy: Sample[] = [];
  for (const { ids: prompt, greedyIds } of cases) {
    const params = { n: 1, maxTokens: greedyIds.length, temperature: 0, seed: 0, ignoreEnd: true };
    const signal = options.signal ? { signal: options.signal } : {};
    const [[sample]] = (await engine.sample([prompt], { ...params, ...signal })) as [[Sample]];
    greedy.push(sample);
  }
  const top = await engine.logprobs(
    cases.flatMap(({ ids: prompt, topIds }) => topIds.map((id) => ({ prompt, completion: [id] }))),
  );
  const scored = await engine.logprobs(cases.map(({ ids: prompt, greedyIds }) => ({ prompt, completion: greedyIds })));
  return [
    countWrong(
      "rendered prompts that differ",
      differing(
        cases,
        ({ messages, prompt }) => tokenizer instanceof TemplateTokenizer && tokenizer.renderChat(messages) === prompt,
      ),
    ),
    countWrong(
      "token ids of prompts that differ",
      differing(cases, ({ messages, ids: expected }) => isSame(engine.tokenizer.encodeChat(messages), expected)),
    ),
    countWrong(
      "token ids of texts that differ",
      differing(encode, ({ text, ids: expected }) => isSame(engine.tokenizer.encode(text), expected)),
    ),
    countWrong(
      "greedy answers that differ",
      cases.flatMap(({ greedyIds }, i) => (isSame(greedy[i]?.ids ?? [], greedyIds) ? [] : [nameOf(0, i)])),
    ),
    {
      quantity: "log-probs of the likeliest tokens",
      error: largestDifference([top.map(([x]) => x as number)], [cases.flatMap(({ topLogprobs }) => topLogprobs)]),
      tolerance: tolerance.logprob,
    },
    {
      quantity: "log-probs of greedy answers, sampled",
      error: largestDifference(
        greedy.map(({ logprobs }) => logprobs),
        cases.map(({ greedyLogprobs }) => greedyLogprobs),
      ),
      tolerance: tolerance.logprob,
    },
    {
      quantity: "log-probs of greedy answers, scored",
      error: largestDifference(
        scored,
        cases.map(({ greedyLogprobs }) => greedyLogprobs),
      ),
      tolerance: tolerance.logprob,
    },
  ];
}

const isSame = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((id, i) => id === b[i]);
