/** Reads every tensor of one safetensors file as float32: for checkpoints and references, which are small. */
import type { WeightTensor } from "./model.ts";
import { corruptFile } from "./model-file-errors.ts";
import { openModelFile, readSafetensorsHeader } from "./safetensors.ts";
import { countElements } from "./stored-tensor.ts";

/** Tensors by name. @throws ModelError where the file is missing, damaged or cut short */
export async function readSafetensorsFile(path: string): Promise<Map<string, WeightTensor>> {
  const file = await openModelFile(path);
  try {
    const tensors = new Map<string, WeightTensor>();
    for (const { name, shape, encoding, offset, byteLength } of await readSafetensorsHeader(file)) {
      const data = new Float32Array(countElements(shape));
      const bytes = encoding.decode
        ? new Uint8Array(byteLength)
        : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      const { bytesRead } = await file.handle.read(bytes, 0, byteLength, offset);
      if (bytesRead !== byteLength) throw corruptFile(path, offset, `it ends within ${name}`);
      encoding.decode?.(bytes, data);
      tensors.set(name, { shape, data });
    }
    return tensors;
  } finally {
    await file.handle.close();
  }
}
