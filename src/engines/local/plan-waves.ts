/**
 * Which completions are decoded together: as many as there is memory for, evenly divided. Completions do not depend on
 * it, only the time and the memory that they take.
 */
import type { ModelConfig } from "../../models/model.ts";
import type { SamplingParams, TokenIds } from "../engine.ts";
import { cacheBytesPerToken } from "./memory.ts";

/** Most completions that are decoded together. */
const maxDecodeRows = 256;
/** Most memory for keys and values of prompts and completions, in bytes. */
const maxCacheBytes = 2 ** 29;

/** A prompt's index and a sample's. */
export type WaveEntry = readonly [prompt: number, sample: number];

/**
 * Samples that are decoded together, the longest prompts first.
 * @param maxBytes memory that sampling may take; a wave has one completion at least, whatever it takes
 */
export function planWaves(
  config: ModelConfig,
  prompts: readonly TokenIds[],
  { n, maxTokens }: Pick<SamplingParams, "n" | "maxTokens">,
  maxBytes: number,
): WaveEntry[][] {
  const lengthOf = (p: number): number => (prompts[p] as TokenIds).length;
  const order = prompts.map((_, p) => p).sort((a, b) => lengthOf(b) - lengthOf(a) || a - b);
  const entries = order.flatMap((p) => Array.from({ length: n }, (_, s): WaveEntry => [p, s]));
  const perToken = cacheBytesPerToken(config);
  // Probabilities, and the logits that they are made of.
  const perRow = maxTokens * perToken + 3 * 4 * config.vocabSize;
  const limit = Math.min(maxCacheBytes, maxBytes / 2);
  const divide = (maxRows: number): WaveEntry[][] => {
    const waves: WaveEntry[][] = [];
    let wave: WaveEntry[] = [];
    let bytes = 0;
    let slots = 0;
    for (const entry of entries) {
      const [p] = entry;
      const isNew = wave.at(-1)?.[0] !== p;
      // Every prompt of a wave has as many slots as its first and longest.
      const more = perRow + (isNew ? slots * perToken : 0);
      if (wave.length > 0 && (wave.length >= maxRows || bytes + more > limit)) {
        waves.push(wave);
        wave = [];
      }
      if (wave.length === 0) {
        slots = lengthOf(p);
        bytes = perRow + slots * perToken;
      } else {
        bytes += more;
      }
      wave.push(entry);
    }
    return wave.length > 0 ? [...waves, wave] : waves;
  };
  const fullest = divide(maxDecodeRows);
  if (fullest.length <= 1) return fullest;
  // Even waves are faster than full ones and a rest; a prompt's samples stay together where they can.
  const even = Math.ceil(entries.length / fullest.length / n) * n;
  return divide(Math.min(maxDecodeRows, even));
}
