/** Reads every tensor of one safetensors file as float32: for checkpoints, references and encoders, which are small. */
import type { WeightTensor } from "./model.ts";
import { openModelFile, readSafetensorsHeader } from "./safetensors.ts";
import { countElements } from "./stored-tensor.ts";
import { readTensor } from "./weights.ts";

/**
 * Tensors by name.
 * @param ignore names of tensors to leave out, of whatever type
 * @throws ModelError where the file is missing, damaged or cut short
 */
export async function readSafetensorsFile(
  path: string,
  ignore?: (name: string) => boolean,
): Promise<Map<string, WeightTensor>> {
  const file = await openModelFile(path);
  try {
    const tensors = new Map<string, WeightTensor>();
    for (const stored of await readSafetensorsHeader(file, ignore)) {
      const data = new Float32Array(countElements(stored.shape));
      await readTensor(stored, data);
      tensors.set(stored.name, { shape: stored.shape, data });
    }
    return tensors;
  } finally {
    await file.handle.close();
  }
}
