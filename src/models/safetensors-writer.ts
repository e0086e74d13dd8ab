/** Writes float32 tensors as a safetensors file. Format: https://huggingface.co/docs/safetensors */
import { open } from "node:fs/promises";

export interface NamedTensor {
  name: string;
  shape: readonly number[];
  data: Float32Array;
}

/**
 * Writes `tensors` to `path` and flushes it to disk. The file is created; an existing one is replaced.
 * @param metadata text entries for the header's `__metadata__`
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly NamedTensor[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: { format: "pt", ...metadata } };
  let offset = 0;
  for (const { name, shape, data } of tensors) {
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
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
    for (const { data } of tensors) {
      await handle.writeFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}
