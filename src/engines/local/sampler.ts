/**
 * Sampling with key/value caches: a prompt's keys and values are computed once and shared by its completions; finished
 * completions leave the batch. It knows graphs and caches, not training.
 */
import { EngineError, throwIfAborted } from "../../core/errors.ts";
import { type Random, randomStream } from "../../core/random.ts";
import type { AnyTensor, Session, TensorData } from "../../graph/session.ts";
import type { ChatTokenizer, ModelConfig } from "../../models/model.ts";
import { isCut, type Sample, type SamplingParams, type TokenIds } from "../engine.ts";
import { estimatePrefillBytes, gigabytes } from "./memory.ts";
import { type NextToken, TokenChooser } from "./next-tokens.ts";
import { checkTokens, commonPrefix, int64, packPrompts } from "./packing.ts";
import { planWaves, type WaveEntry } from "./plan-waves.ts";
import { WaveCache } from "./wave-cache.ts";

export interface SamplerModel {
  config: ModelConfig;
  tokenizer: ChatTokenizer;
  prefill: Session;
  decode: Session;
  /** Weights, rotary tables: whatever every run of the two graphs is fed. */
  feeds: Readonly<Record<string, AnyTensor>>;
  /** Memory that sampling may take, in bytes. */
  maxBytes: number;
}

/** Most rows that one prefill takes. */
const maxPrefillRows = 1024;

/** A completion in the making. */
interface Running {
  prompt: number;
  sample: number;
  ids: number[];
  logprobs: number[];
  keptMass: number[];
}

/** A row of a wave: where its random numbers come from, and the place of its prompt among the wave's. */
interface Row {
  random: Random;
  place: number;
}

/** `[prompts][n]` completions. */
export async function sampleCompletions(
  model: SamplerModel,
  prompts: readonly TokenIds[],
  params: SamplingParams,
): Promise<Sample[][]> {
  checkPrompts(model.config, prompts, params);
  const results: Sample[][] = prompts.map(() => []);
  let done = 0;
  const finish = (running: Running, stopReason: Sample["stopReason"], text: string): void => {
    const { ids, logprobs, keptMass } = running;
    (results[running.prompt] as Sample[])[running.sample] = {
      ids,
      logprobs: Float32Array.from(logprobs),
      ...(isCut(params) ? { keptMass: Float32Array.from(keptMass) } : {}),
      text,
      stopReason,
    };
    params.onProgress?.(++done);
  };
  for (const wave of planWaves(model.config, prompts, params, model.maxBytes)) {
    await sampleWave(model, prompts, wave, params, finish);
  }
  return results;
}

/**
 * One decoding step of the largest wave with its caches full, thrown away: shows whether {@link sampleCompletions} has
 * memory enough.
 */
export async function trySampling(
  model: SamplerModel,
  prompts: readonly TokenIds[],
  params: SamplingParams,
): Promise<void> {
  checkPrompts(model.config, prompts, params);
  const [wave = []] = planWaves(model.config, prompts, params, model.maxBytes);
  const unique = [...new Set(wave.map(([p]) => p))];
  const cache = new WaveCache(
    model.config,
    unique.map((p) => prompts[p] as TokenIds),
  );
  const feeds = { ...model.feeds, inverseTemperature: { shape: [], data: Float32Array.of(1) } };
  const random = randomStream(params.seed, "try");
  const rows = wave.map(([p]) => ({ random, place: unique.indexOf(p) }));
  const chooser = new TokenChooser(params, model.config.vocabSize);
  await prefillPrompts(model, feeds, cache, rows, chooser, params.signal);
  cache.start(wave.length, params.maxTokens, params.maxTokens);
  const next = chooser.prepare(rows);
  const tokens = rows.map(({ place }) => ({ id: 0, place }));
  await cache.step(model.decode, { ...feeds, ...next.feeds }, tokens, next.results);
}

function checkPrompts(config: ModelConfig, prompts: readonly TokenIds[], params: SamplingParams): void {
  checkParams(params);
  for (const prompt of prompts) {
    if (prompt.length === 0) throw new EngineError("ENGINE_EMPTY_PROMPT", "A prompt has no tokens.");
    checkTokens(prompt, config.vocabSize);
    if (prompt.length + params.maxTokens > config.contextLength) {
      throw new EngineError(
        "ENGINE_CONTEXT",
        `A prompt of ${prompt.length} tokens and ${params.maxTokens} new ones exceed the model's ${config.contextLength}. ` +
          "Shorten the prompt or lower maxTokens.",
      );
    }
  }
}

function checkParams(params: SamplingParams): void {
  const { n, maxTokens, temperature, topP = 1, topK = 0, minP = 0, stop = [] } = params;
  const check = (field: keyof SamplingParams, isRight: boolean, expected: string): void => {
    if (isRight) return;
    const got = field === "stop" ? JSON.stringify(params.stop) : String(params[field]);
    throw new EngineError("ENGINE_SAMPLING", `Sampling: ${field} must be ${expected}, got ${got}.`);
  };
  check("n", Number.isInteger(n) && n >= 1, "a whole number from 1");
  check("maxTokens", Number.isInteger(maxTokens) && maxTokens >= 1, "a whole number from 1");
  check("temperature", Number.isFinite(temperature) && temperature >= 0, "0 (greedy) or more");
  check("topP", topP > 0 && topP <= 1, "above 0 and at most 1");
  check("topK", Number.isInteger(topK) && topK >= 0, "a whole number, 0 for off");
  check("minP", minP >= 0 && minP <= 1, "from 0 to 1");
  check("stop", !stop.includes(""), "strings that are not empty");
}

async function sampleWave(
  model: SamplerModel,
  prompts: readonly TokenIds[],
  wave: readonly WaveEntry[],
  params: SamplingParams,
  finish: (running: Running, stopReason: Sample["stopReason"], text: string) => void,
): Promise<void> {
  const { temperature } = params;
  const feeds = {
    ...model.feeds,
    inverseTemperature: { shape: [], data: Float32Array.of(temperature === 0 ? 1 : 1 / temperature) },
  };
  const ends = new Set([...(params.ignoreEnd ? [] : model.tokenizer.endIds), ...(params.stopIds ?? [])]);
  const stops = params.stop ?? [];

  /** Appends a token; false when the completion has ended. */
  const accept = (running: Running, { id, probability, keptMass }: NextToken): boolean => {
    running.ids.push(id);
    running.keptMass.push(keptMass);
    running.logprobs.push(Math.log(probability));
    if (ends.has(id)) {
      finish(running, "stop", model.tokenizer.decode(running.ids.slice(0, -1)));
      return false;
    }
    if (stops.length > 0) {
      const text = model.tokenizer.decode(running.ids);
      const cuts = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
      if (cuts.length > 0) {
        finish(running, "stop", text.slice(0, Math.min(...cuts)));
        return false;
      }
    }
    if (running.ids.length >= params.maxTokens) {
      finish(running, "length", model.tokenizer.decode(running.ids));
      return false;
    }
    params.onGrowth?.(running.prompt, running.sample, running);
    return true;
  };

  const unique = [...new Set(wave.map(([p]) => p))];
  const cache = new WaveCache(
    model.config,
    unique.map((p) => prompts[p] as TokenIds),
  );
  const chooser = new TokenChooser(params, model.config.vocabSize);
  const all = wave.map(([p, s]): Row & { running: Running } => {
    const random = randomStream(params.seed, "sample", (prompts[p] as TokenIds).join(), s);
    const running = { prompt: p, sample: s, ids: [], logprobs: [], keptMass: [] };
    return { running, random, place: unique.indexOf(p) };
  });
  const first = await prefillPrompts(model, feeds, cache, all, chooser, params.signal);
  let rows = all.filter(({ running }, r) => accept(running, first[r] as NextToken));
  cache.start(rows.length, params.maxTokens);
  while (rows.length > 0) {
    throwIfAborted(params.signal);
    const batch = rows;
    const next = chooser.prepare(batch);
    await cache.step(
      model.decode,
      { ...feeds, ...next.feeds },
      batch.map(({ running, place }) => ({ id: running.ids.at(-1) as number, place })),
      next.results,
    );
    const kept = batch.flatMap(({ running }, r) => (accept(running, next.read(r)) ? [r] : []));
    if (kept.length < batch.length) cache.keep(kept);
    rows = kept.map((r) => batch[r] as (typeof rows)[number]);
  }
}

/**
 * Fills the cache's prompt keys and values; returns the first token of each of `rows`.
 * @throws EngineError `ENGINE_MEMORY` where there isn't enough for one prompt
 */
async function prefillPrompts(
  { prefill, config, maxBytes }: SamplerModel,
  feeds: Readonly<Record<string, AnyTensor>>,
  cache: WaveCache,
  rows: readonly Row[],
  chooser: TokenChooser,
  signal: AbortSignal | undefined,
): Promise<NextToken[]> {
  const { prompts, slots } = cache;
  const { kvHeads, headDim } = config;
  const prefix = commonPrefix(prompts);
  const first: NextToken[] = [];
  for (let start = 0; start < prompts.length;) {
    throwIfAborted(signal);
    let end = start;
    let tokens = prefix;
    for (; end < prompts.length; end++) {
      const more = tokens + (prompts[end] as TokenIds).length - prefix;
      const sizes = { prompts: end + 1 - start, tokens: more, prefix, slots: slots - prefix };
      const bytes = estimatePrefillBytes(config, sizes);
      if (end > start && (more > maxPrefillRows || bytes > maxBytes)) break;
      if (bytes > maxBytes) {
        throw new EngineError(
          "ENGINE_MEMORY",
          `A prompt of ${slots} tokens needs about ${gigabytes(bytes)} for one run, and ${gigabytes(maxBytes)} are left beside ` +
            "the model. Shorten prompts, take a smaller model, or allow more memory (memoryGb).",
          { details: { neededBytes: bytes, maxBytes } },
        );
      }
      tokens = more;
    }
    const part = prompts.slice(start, end);
    const caches: Record<string, TensorData> = {};
    const room = (batch: number, length: number): TensorData => ({
      shape: [batch, kvHeads, length, headDim],
      data: new Float32Array(batch * kvHeads * length * headDim),
    });
    for (let layer = 0; layer < config.layers; layer++) {
      for (const kind of ["Keys", "Values"]) {
        caches[`prefix${kind}.${layer}`] = room(1, Math.max(1, prefix));
        caches[`prompt${kind}.${layer}`] = room(part.length, slots - prefix);
      }
    }
    const ofPart = [...rows.entries()].filter(([, { place }]) => place >= start && place < end);
    const next = chooser.prepare(ofPart.map(([, row]) => row));
    const samplePrompts = int64(ofPart.map(([, { place }]) => place - start));
    await prefill.run(
      { ...feeds, ...packPrompts(part, prefix, slots - prefix, config), samplePrompts, ...next.feeds },
      { ...caches, ...next.results },
    );
    cache.setPrompts(start, prefix, caches);
    ofPart.forEach(([r], i) => (first[r] = next.read(i)));
    start = end;
  }
  return first;
}
