/**
 * Headers of safetensors files, checked against the file's size before anything is read or allocated. Format:
 * https://huggingface.co/docs/safetensors (8 bytes of header length, JSON, data without holes).
 */
import { open, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { ModelError } from "../core/errors.ts";
import { encodings, type Encoding } from "./encodings.ts";
import { corruptFile, unreadableFile } from "./model-file-errors.ts";
import { countElements, type ModelFile, type StoredTensor } from "./stored-tensor.ts";

/** As the reference implementation allows. */
const maxHeaderBytes = 100_000_000;
const supportedTypes = ["F32", "F16", "BF16"] as const;
/** Bytes of a number of the types that only tensors to be ignored may have. */
const otherTypeBytes: Readonly<Record<string, number>> = { F64: 8, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 };

/** Opens a model file. @throws ModelError */
export async function openModelFile(path: string): Promise<ModelFile> {
  const handle = await open(path, "r").catch((cause: unknown) => Promise.reject(unreadableFile(path, cause)));
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw unreadableFile(path, new Error("it is not a regular file"));
    return { path, handle, byteLength: stats.size };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * The tensors of one safetensors file, in its order.
 * @param ignore names of tensors to leave out, which may be of a type that has no use here
 * @throws ModelError where the header is truncated, malformed or at odds with the file's size
 */
export async function readSafetensorsHeader(
  file: ModelFile,
  ignore: (name: string) => boolean = () => false,
): Promise<StoredTensor[]> {
  if (file.byteLength < 8) {
    throw corruptFile(file.path, file.byteLength, "not a safetensors file: its header needs 8 bytes at least");
  }
  const prefix = await readBytes(file, 0, 8);
  const headerBytes = Number(prefix.readBigUInt64LE(0));
  const dataStart = 8 + headerBytes;
  if (headerBytes > Math.min(file.byteLength - 8, maxHeaderBytes)) {
    throw corruptFile(file.path, 0, `its header claims ${headerBytes} bytes of a file of ${file.byteLength}`);
  }
  const header = parseHeader(file.path, await readBytes(file, 8, headerBytes));
  const tensors = Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, entry]) => readEntry(file, name, entry, dataStart, ignore(name)))
    .sort((a, b) => a.offset - b.offset);
  checkCoverage(file, tensors, dataStart);
  return tensors.filter(({ name }) => !ignore(name));
}

/**
 * Paths of a folder's weight files: those that model.safetensors.index.json lists, or model.safetensors.
 * @returns the files, and which tensor the index puts where (null without an index)
 * @throws ModelError
 */
export async function listWeightFiles(
  folder: string,
): Promise<{ paths: string[]; index: ReadonlyMap<string, string> | null }> {
  const indexPath = join(folder, "model.safetensors.index.json");
  let text: string;
  try {
    text = await readFile(indexPath, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw unreadableFile(indexPath, cause);
    return { paths: [join(folder, "model.safetensors")], index: null };
  }
  const index = new Map<string, string>();
  try {
    const parsed = JSON.parse(text) as { weight_map?: unknown };
    for (const [tensor, file] of Object.entries(parsed.weight_map as Record<string, unknown>)) {
      if (typeof file !== "string" || file === "" || basename(file) !== file || file.includes("\\")) {
        throw new Error(`"${tensor}" is in ${JSON.stringify(file)}, which is not the name of a file of this folder`);
      }
      index.set(tensor, join(folder, file));
    }
  } catch (cause) {
    throw corruptFile(indexPath, 0, `not an index with a "weight_map": ${(cause as Error).message}`, cause);
  }
  return { paths: [...new Set(index.values())].sort(), index };
}

async function readBytes(file: ModelFile, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let filled = 0; filled < length;) {
    const { bytesRead } = await file.handle
      .read(bytes, filled, length - filled, position + filled)
      .catch((cause: unknown) => Promise.reject(unreadableFile(file.path, cause)));
    if (bytesRead === 0) throw corruptFile(file.path, position + filled, "the file ends inside its header");
    filled += bytesRead;
  }
  return bytes;
}

function parseHeader(path: string, bytes: Buffer): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw corruptFile(path, 8, `its header is not JSON: ${(cause as Error).message}`, cause);
  }
  if (header === null || typeof header !== "object" || Array.isArray(header)) {
    throw corruptFile(path, 8, "its header is not a JSON object");
  }
  return header as Record<string, unknown>;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function readEntry(file: ModelFile, name: string, entry: unknown, dataStart: number, ignored: boolean): StoredTensor {
  const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as Record<string, unknown>;
  const wellFormed =
    typeof dtype === "string" &&
    Array.isArray(shape) &&
    shape.every(isCount) &&
    Array.isArray(offsets) &&
    offsets.length === 2 &&
    offsets.every(isCount);
  if (!wellFormed) {
    throw corruptFile(file.path, 8, `the header's entry of "${name}" must have dtype, shape and two data_offsets`);
  }
  const type = supportedTypes.find((supported) => supported === dtype);
  const otherBytes = ignored ? otherTypeBytes[dtype] : undefined;
  if (!type && otherBytes === undefined) {
    throw new ModelError(
      "UNSUPPORTED_QUANTIZATION",
      `${file.path}: ${name} is stored as ${dtype}, which is not supported. Supported: ${supportedTypes.join(", ")}.`,
      { details: { path: file.path, tensor: name, dtype } },
    );
  }
  const encoding: Encoding = type
    ? encodings[type]
    : { name: dtype, blockSize: 1, blockBytes: otherBytes as number, decode: null };
  const [begin, end] = offsets as [number, number];
  const byteLength = countElements(shape) * encoding.blockBytes;
  if (end - begin !== byteLength || dataStart + end > file.byteLength) {
    throw corruptFile(
      file.path,
      dataStart + begin,
      `${name} of ${byteLength} bytes can't lie from ${begin} to ${end} of the ${file.byteLength - dataStart} data bytes`,
    );
  }
  return { file, name, shape: shape as number[], encoding, offset: dataStart + begin, byteLength };
}

function checkCoverage(file: ModelFile, tensors: readonly StoredTensor[], dataStart: number): void {
  let end = dataStart;
  for (const tensor of tensors) {
    if (tensor.offset !== end) {
      throw corruptFile(
        file.path,
        end,
        `${tensor.name} begins at byte ${tensor.offset}: tensors overlap or leave a hole`,
      );
    }
    end += tensor.byteLength;
  }
  if (end !== file.byteLength) throw corruptFile(file.path, end, `${file.byteLength - end} bytes belong to no tensor`);
}
