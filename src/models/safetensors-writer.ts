/** Writes tensors as a safetensors file. Format: https://huggingface.co/docs/safetensors */
import { open } from "node:fs/promises";
import { encodeTensor, encodingOf, type WritableType } from "./encode-tensors.ts";
import { countElements } from "./stored-tensor.ts";

export interface NamedTensor {
  name: string;
  shape: readonly number[];
  data: Float32Array;
}

/** Types that safetensors files are written in. */
export type SafetensorsType = Exclude<WritableType, "q8_0">;

/**
 * Writes `tensors` to `path` and flushes it to disk. The file is created; an existing one is replaced.
 * @param metadata text entries for the header's `__metadata__`
 * @param type what the numbers are stored as. Default f32.
 * @throws ModelError `EXPORT_RANGE` where a number is beyond half precision
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly NamedTensor[],
  metadata: Readonly<Record<string, string>> = {},
  type: SafetensorsType = "f32",
): Promise<void> {
  const { name: dtype, blockBytes } = encodingOf(type);
  const header: Record<string, unknown> = { __metadata__: { format: "pt", ...metadata } };
  let offset = 0;
  for (const { name, shape } of tensors) {
    const byteLength = countElements(shape) * blockBytes;
    header[name] = { dtype, shape, data_offsets: [offset, offset + byteLength] };
    offset += byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  // The format asks for data aligned to 8 bytes; spaces pad the header.
  const text = Buffer.alloc(Math.ceil(json.length / 8) * 8, " ");
  json.copy(text);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const handle = await open(path, "w");
  try {
    await handle.writeFile(Buffer.concat([length, text]));
    for (const { name, data } of tensors) await handle.writeFile(encodeTensor(data, type, name));
    await handle.sync();
  } finally {
    await handle.close();
  }
}
