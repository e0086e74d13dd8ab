/** What is refused before anything is sent, because the Tinker API or the model can't have it. */
import { EngineError } from "../../core/errors.ts";
import type { Datum, SamplingParams, TokenIds } from "../engine.ts";

/** @throws EngineError `ENGINE_SAMPLING`, `ENGINE_CONTEXT` … */
export function checkSampling(prompts: readonly TokenIds[], params: SamplingParams, contextLength: number): void {
  const { maxTokens, minP = 0, ignoreEnd = false } = params;
  if (minP > 0) throw new EngineError("ENGINE_SAMPLING", "The Tinker API has no minP; leave it at 0.");
  if (ignoreEnd) throw new EngineError("ENGINE_SAMPLING", "The Tinker API can't be told to ignore end tokens.");
  for (const prompt of prompts) checkLength(prompt, maxTokens, contextLength);
}

/** @throws EngineError `ENGINE_EMPTY_DATUM`, `ENGINE_CONTEXT` … */
export function checkData(data: readonly Pick<Datum, "prompt" | "completion">[], contextLength: number): void {
  for (const { prompt, completion } of data) {
    if (completion.length === 0) throw new EngineError("ENGINE_EMPTY_DATUM", "A datum has an empty completion.");
    checkLength(prompt, completion.length, contextLength);
  }
}

/** @throws EngineError `TINKER_TEMPERATURE` */
export function checkTemperature(temperature = 1): void {
  if (temperature === 1) return;
  throw new EngineError(
    "TINKER_TEMPERATURE",
    `A Tinker server gives log-probs at temperature 1 only, asked for ${temperature}. Set the sampling temperature of training to 1.`,
  );
}

function checkLength(prompt: TokenIds, more: number, contextLength: number): void {
  if (prompt.length === 0) throw new EngineError("ENGINE_EMPTY_PROMPT", "A prompt has no tokens.");
  if (prompt.length + more <= contextLength) return;
  throw new EngineError(
    "ENGINE_CONTEXT",
    `A prompt of ${prompt.length} tokens and ${more} more exceed the model's ${contextLength}. Shorten the prompt or lower maxTokens.`,
  );
}
