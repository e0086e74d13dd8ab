/** Where a weight lies in a file. Safetensors and GGUF headers are both read into this. */
import type { FileHandle } from "node:fs/promises";
import type { Encoding } from "./encodings.ts";

/** An open model file; whoever opened it closes it. */
export interface ModelFile {
  path: string;
  handle: FileHandle;
  byteLength: number;
}

/** A weight as stored; its header has been checked against the file's size. */
export interface StoredTensor {
  file: ModelFile;
  name: string;
  /** Row-major, slowest dimension first (Hugging Face order). */
  shape: number[];
  encoding: Encoding;
  /** First byte, from the start of the file. */
  offset: number;
  byteLength: number;
}

/** Numbers in a tensor of this shape; Infinity where it is beyond exact integers. */
export function countElements(shape: readonly number[]): number {
  const count = shape.reduce((product, size) => product * size, 1);
  return Number.isSafeInteger(count) ? count : Infinity;
}
