/**
 * How numbers are stored in model files, and back to float32. Results equal those of the Python package `gguf` bit for
 * bit. Block layouts: ggml-common.h and ggml-quants.c of llama.cpp.
 */
import { decodeQ2K, decodeQ3K, decodeQ4K, decodeQ5K, decodeQ6K } from "./k-quants.ts";
import { float16ToFloat32 } from "./float16.ts";

export interface Encoding {
  name: string;
  /** Numbers in a block. */
  blockSize: number;
  /** Bytes of a block. */
  blockBytes: number;
  /** Reads whole blocks from `bytes` and fills `out`. Null: `bytes` are little-endian float32 already. */
  decode: ((bytes: Uint8Array, out: Float32Array) => void) | null;
}

/** All encodings, by the name that both safetensors and GGUF use. */
export const encodings = {
  F32: { name: "F32", blockSize: 1, blockBytes: 4, decode: null },
  F16: { name: "F16", blockSize: 1, blockBytes: 2, decode: decodeF16 },
  BF16: { name: "BF16", blockSize: 1, blockBytes: 2, decode: decodeBF16 },
  Q4_0: { name: "Q4_0", blockSize: 32, blockBytes: 18, decode: decodeQ4v0 },
  Q4_1: { name: "Q4_1", blockSize: 32, blockBytes: 20, decode: decodeQ4v1 },
  Q5_0: { name: "Q5_0", blockSize: 32, blockBytes: 22, decode: decodeQ5v0 },
  Q5_1: { name: "Q5_1", blockSize: 32, blockBytes: 24, decode: decodeQ5v1 },
  Q8_0: { name: "Q8_0", blockSize: 32, blockBytes: 34, decode: decodeQ8v0 },
  Q2_K: { name: "Q2_K", blockSize: 256, blockBytes: 84, decode: decodeQ2K },
  Q3_K: { name: "Q3_K", blockSize: 256, blockBytes: 110, decode: decodeQ3K },
  Q4_K: { name: "Q4_K", blockSize: 256, blockBytes: 144, decode: decodeQ4K },
  Q5_K: { name: "Q5_K", blockSize: 256, blockBytes: 176, decode: decodeQ5K },
  Q6_K: { name: "Q6_K", blockSize: 256, blockBytes: 210, decode: decodeQ6K },
} as const satisfies Record<string, Encoding>;

function decodeF16(bytes: Uint8Array, out: Float32Array): void {
  for (let i = 0, at = 0; i < out.length; i++, at += 2) out[i] = float16ToFloat32(bytes[at]! | (bytes[at + 1]! << 8));
}

function decodeBF16(bytes: Uint8Array, out: Float32Array): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0, at = 0; i < bits.length; i++, at += 2) bits[i] = (bytes[at]! << 16) | (bytes[at + 1]! << 24);
}

/** Block: scale f16, 16 bytes of nibbles (low ones first half, high ones second half). */
function decodeQ4v0(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 18, o += 32) {
    const scale = float16ToFloat32(bytes[at]! | (bytes[at + 1]! << 8));
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 2 + i]!;
      out[o + i] = scale * ((pair & 15) - 8);
      out[o + i + 16] = scale * ((pair >> 4) - 8);
    }
  }
}

/** Block: scale f16, minimum f16, 16 bytes of nibbles. */
function decodeQ4v1(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 20, o += 32) {
    const scale = float16ToFloat32(bytes[at]! | (bytes[at + 1]! << 8));
    const min = float16ToFloat32(bytes[at + 2]! | (bytes[at + 3]! << 8));
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 4 + i]!;
      out[o + i] = scale * (pair & 15) + min;
      out[o + i + 16] = scale * (pair >> 4) + min;
    }
  }
}

/** Block: scale f16, 32 fifth bits, 16 bytes of nibbles. */
function decodeQ5v0(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 22, o += 32) {
    const scale = float16ToFloat32(bytes[at]! | (bytes[at + 1]! << 8));
    const high = bytes[at + 2]! | (bytes[at + 3]! << 8) | (bytes[at + 4]! << 16) | (bytes[at + 5]! << 24);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 6 + i]!;
      out[o + i] = scale * (((pair & 15) | (((high >>> i) & 1) << 4)) - 16);
      out[o + i + 16] = scale * (((pair >> 4) | (((high >>> (i + 16)) & 1) << 4)) - 16);
    }
  }
}

/** Block: scale f16, minimum f16, 32 fifth bits, 16 bytes of nibbles. */
function decodeQ5v1(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 24, o += 32) {
    const scale = float16ToFloat32(bytes[at]! | (bytes[at + 1]! << 8));
    const min = float16ToFloat32(bytes[at + 2]! | (bytes[at + 3]! << 8));
    const high = bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 8 + i]!;
      out[o + i] = scale * ((pair & 15) | (((high >>> i) & 1) << 4)) + min;
      out[o + i + 16] = scale * ((pair >> 4) | (((high >>> (i + 16)) & 1) << 4)) + min;
    }
  }
}

/** Block: scale f16, 32 signed bytes. */
function decodeQ8v0(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 34, o += 32) {
    const scale = float16ToFloat32(bytes[at]! | (bytes[at + 1]! << 8));
    for (let i = 0; i < 32; i++) out[o + i] = scale * ((bytes[at + 2 + i]! << 24) >> 24);
  }
}
