/**
 * Headers of GGUF files (versions 2 and 3), checked against the file's size before anything is allocated. Format:
 * docs/gguf.md of ggml.
 */
import { readSync } from "node:fs";
import { ModelError } from "../core/errors.ts";
import { encodings, type Encoding } from "./encodings.ts";
import { corruptFile, unreadableFile } from "./model-file-errors.ts";
import { countElements, type ModelFile, type StoredTensor } from "./stored-tensor.ts";

type NumberArray =
  Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array;
export type GgufValue = number | bigint | boolean | string | NumberArray | GgufValue[];

export interface GgufHeader {
  metadata: ReadonlyMap<string, GgufValue>;
  /** By GGUF name; shapes in Hugging Face order. */
  tensors: Map<string, StoredTensor>;
}

/** ggml type numbers; those without an encoding are named in errors only. */
const tensorTypes: Readonly<Record<number, Encoding | string>> = {
  0: encodings.F32,
  1: encodings.F16,
  2: encodings.Q4_0,
  3: encodings.Q4_1,
  6: encodings.Q5_0,
  7: encodings.Q5_1,
  8: encodings.Q8_0,
  9: "Q8_1",
  10: encodings.Q2_K,
  11: encodings.Q3_K,
  12: encodings.Q4_K,
  13: encodings.Q5_K,
  14: encodings.Q6_K,
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  30: encodings.BF16,
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
  40: "NVFP4",
};

const maxArrayDepth = 4;

/**
 * Metadata and tensors of a GGUF file.
 * @throws ModelError where the header is truncated, malformed, at odds with the file's size, or of an unsupported type
 */
export function readGgufHeader(file: ModelFile): GgufHeader {
  const reader = new HeaderReader(file);
  if (reader.remaining < 24 || reader.text(4) !== "GGUF") {
    throw corruptFile(file.path, 0, "not a GGUF file: it must begin with the letters GGUF");
  }
  const version = reader.uint32();
  if (version !== 2 && version !== 3) {
    throw new ModelError(
      "UNSUPPORTED_GGUF_VERSION",
      `${file.path}: GGUF version ${version} is not supported. Supported: 2 and 3, little-endian.`,
      { details: { path: file.path, version } },
    );
  }
  const tensorCount = reader.count(24, "tensors");
  const metadataCount = reader.count(13, "metadata entries");
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < metadataCount; i++) {
    const at = reader.position;
    const key = reader.string();
    if (metadata.has(key)) throw corruptFile(file.path, at, `the metadata key "${key}" is there twice`);
    metadata.set(key, reader.value(reader.uint32(), 0));
  }
  const parts = metadata.get("split.count");
  if (parts !== undefined && parts !== 1 && parts !== 0) {
    throw new ModelError(
      "MODEL_UNSUPPORTED",
      `${file.path}: it is one of ${String(parts)} parts. Merge them first with llama.cpp's llama-gguf-split --merge.`,
      { details: { path: file.path } },
    );
  }
  return { metadata, tensors: readTensors(reader, tensorCount, metadata.get("general.alignment") ?? 32) };
}

function readTensors(reader: HeaderReader, count: number, alignment: GgufValue): Map<string, StoredTensor> {
  const { file } = reader;
  const isPowerOfTwo = typeof alignment === "number" && alignment > 0 && (alignment & (alignment - 1)) === 0;
  if (!isPowerOfTwo) throw corruptFile(file.path, 0, `general.alignment is ${String(alignment)}, not a power of two`);
  const tensors = new Map<string, StoredTensor>();
  for (let i = 0; i < count; i++) {
    const at = reader.position;
    const name = reader.string();
    const dimensions = reader.uint32();
    if (dimensions < 1 || dimensions > 4) throw corruptFile(file.path, at, `${name} has ${dimensions} dimensions`);
    const shape = Array.from({ length: dimensions }, () => reader.size(`${name}'s shape`)).reverse();
    const encoding = findEncoding(file.path, name, reader.uint32());
    const offset = reader.size(`${name}'s offset`);
    const blocks = countElements(shape) / encoding.blockSize;
    if (shape.at(-1)! % encoding.blockSize !== 0) {
      throw corruptFile(file.path, at, `${name}: rows of ${shape.at(-1)} can't be ${encoding.name} blocks`);
    }
    if (offset % alignment !== 0) throw corruptFile(file.path, at, `${name} is not aligned to ${alignment} bytes`);
    if (tensors.has(name)) throw corruptFile(file.path, at, `the tensor ${name} is there twice`);
    tensors.set(name, { file, name, shape, encoding, offset, byteLength: blocks * encoding.blockBytes });
  }
  const dataStart = Math.ceil(reader.position / alignment) * alignment;
  for (const tensor of tensors.values()) {
    tensor.offset += dataStart;
    if (tensor.offset + tensor.byteLength > file.byteLength) {
      throw corruptFile(
        file.path,
        file.byteLength,
        `${tensor.name} should lie from byte ${tensor.offset} to ${tensor.offset + tensor.byteLength}, past the end`,
      );
    }
  }
  checkOverlap(file, tensors);
  return tensors;
}

/** Overlapping tensors would let a small file ask for any amount of memory. */
function checkOverlap(file: ModelFile, tensors: ReadonlyMap<string, StoredTensor>): void {
  let end = 0;
  for (const tensor of [...tensors.values()].sort((a, b) => a.offset - b.offset)) {
    if (tensor.offset < end) throw corruptFile(file.path, tensor.offset, `${tensor.name} overlaps another tensor`);
    end = tensor.offset + tensor.byteLength;
  }
}

function findEncoding(path: string, tensor: string, type: number): Encoding {
  const found = tensorTypes[type];
  if (typeof found === "object") return found;
  throw new ModelError(
    "UNSUPPORTED_QUANTIZATION",
    `${path}: ${tensor} is stored as ${found ?? "an unknown type"} (${type}), which is not supported. ` +
      `Supported: ${Object.keys(encodings).join(", ")}.`,
    { details: { path, tensor, type } },
  );
}

/** Reads the header from front to back through a window on the file. */
class HeaderReader {
  readonly file: ModelFile;
  position = 0;
  #window = Buffer.alloc(0);
  #windowStart = 0;

  constructor(file: ModelFile) {
    this.file = file;
  }

  get remaining(): number {
    return this.file.byteLength - this.position;
  }

  /** Puts the next `length` bytes into the window. @returns where they begin in it */
  #take(length: number): number {
    if (length > this.remaining) {
      throw corruptFile(this.file.path, this.position, `${length} bytes are due here; ${this.remaining} are left`);
    }
    if (this.position + length > this.#windowStart + this.#window.length) this.#fill(length);
    const at = this.position - this.#windowStart;
    this.position += length;
    return at;
  }

  /** The next `length` bytes as text. */
  text(length: number): string {
    const at = this.#take(length);
    return this.#window.toString("utf8", at, at + length);
  }

  uint32(): number {
    const at = this.#take(4);
    return this.#window.readUInt32LE(at);
  }

  /** An unsigned 64-bit number. @throws ModelError beyond exact integers */
  size(what: string): number {
    const at = this.#take(8);
    // Two halves: a BigInt for each of some hundred thousand strings would take longer than all the rest.
    const value = this.#window.readUInt32LE(at) + this.#window.readUInt32LE(at + 4) * 2 ** 32;
    if (value > Number.MAX_SAFE_INTEGER) throw corruptFile(this.file.path, this.position - 8, `${what} is too large`);
    return value;
  }

  /** How many items follow, each of `minBytes` at least, so that the rest of the file must hold them. */
  count(minBytes: number, what: string): number {
    const at = this.position;
    const count = this.size(what);
    if (count * minBytes > this.remaining) {
      throw corruptFile(this.file.path, at, `${count} ${what} can't be in the ${this.remaining} bytes left`);
    }
    return count;
  }

  string(): string {
    return this.text(this.size("a string's length"));
  }

  /** A metadata value of a GGUF type. */
  value(type: number, depth: number): GgufValue {
    const scalar = scalarTypes[type];
    if (scalar) {
      const at = this.#take(scalar.byteLength);
      return scalar.read(this.#window, at);
    }
    if (type === 8) return this.string();
    if (type !== 9) throw corruptFile(this.file.path, this.position, `there is no metadata type ${type}`);
    if (depth === maxArrayDepth) throw corruptFile(this.file.path, this.position, "arrays are nested too deep");
    const itemType = this.uint32();
    const itemScalar = scalarTypes[itemType];
    const length = this.count(itemScalar?.byteLength ?? 8, "array items");
    if (itemScalar) {
      const items = new itemScalar.array(length);
      for (let i = 0; i < length; i++) {
        const at = this.#take(itemScalar.byteLength);
        items[i] = Number(itemScalar.read(this.#window, at));
      }
      return items;
    }
    const items: GgufValue[] = [];
    for (let i = 0; i < length; i++) items.push(this.value(itemType, depth + 1));
    return items;
  }

  #fill(length: number): void {
    const wanted = Math.min(Math.max(length, 1024 * 1024), this.remaining);
    const window = Buffer.alloc(wanted);
    for (let filled = 0; filled < wanted;) {
      let bytesRead: number;
      try {
        bytesRead = readSync(this.file.handle.fd, window, filled, wanted - filled, this.position + filled);
      } catch (cause) {
        throw unreadableFile(this.file.path, cause);
      }
      if (bytesRead === 0) throw corruptFile(this.file.path, this.position + filled, "the file ends inside its header");
      filled += bytesRead;
    }
    this.#window = window;
    this.#windowStart = this.position;
  }
}

interface ScalarType {
  byteLength: number;
  read: (bytes: Buffer, at: number) => number | bigint | boolean;
  /** What an array of them is kept in. */
  array: new (length: number) => NumberArray;
}

/** GGUF's metadata types of fixed size, by number. */
const scalarTypes: Readonly<Record<number, ScalarType>> = {
  0: { byteLength: 1, read: (bytes, at) => bytes.readUInt8(at), array: Uint8Array },
  1: { byteLength: 1, read: (bytes, at) => bytes.readInt8(at), array: Int8Array },
  2: { byteLength: 2, read: (bytes, at) => bytes.readUInt16LE(at), array: Uint16Array },
  3: { byteLength: 2, read: (bytes, at) => bytes.readInt16LE(at), array: Int16Array },
  4: { byteLength: 4, read: (bytes, at) => bytes.readUInt32LE(at), array: Uint32Array },
  5: { byteLength: 4, read: (bytes, at) => bytes.readInt32LE(at), array: Int32Array },
  6: { byteLength: 4, read: (bytes, at) => bytes.readFloatLE(at), array: Float32Array },
  7: { byteLength: 1, read: (bytes, at) => bytes.readUInt8(at) !== 0, array: Uint8Array },
  10: { byteLength: 8, read: (bytes, at) => narrow(bytes.readBigUInt64LE(at)), array: Float64Array },
  11: { byteLength: 8, read: (bytes, at) => narrow(bytes.readBigInt64LE(at)), array: Float64Array },
  12: { byteLength: 8, read: (bytes, at) => bytes.readDoubleLE(at), array: Float64Array },
};

function narrow(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}
