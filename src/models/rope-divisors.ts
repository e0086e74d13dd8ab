/** Llama 3's stretching of rotary frequencies as llama.cpp stores it: one divisor a frequency. */
import type { ModelConfig } from "./model.ts";

/**
 * Divisors `[headDim / 2]`, or null where the model's frequencies are not stretched in this way. Source: the same in
 * `generate_extra_tensors` of convert_hf_to_gguf.py.
 */
export function llama3Divisors({ ropeScaling, ropeTheta, headDim }: ModelConfig): Float32Array | null {
  if (ropeScaling?.type !== "llama3") return null;
  const { factor, lowFreqFactor, highFreqFactor, originalContextLength } = ropeScaling;
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * ropeTheta ** ((2 * i) / headDim);
    if (wavelength < originalContextLength / highFreqFactor) return 1;
    if (wavelength > originalContextLength / lowFreqFactor) return factor;
    const smooth = (originalContextLength / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
