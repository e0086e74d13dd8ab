/**
 * llama.cpp's K-quants: 256 numbers in a block, with scales of sub-blocks that are quantized themselves. Layouts:
 * ggml-common.h, `block_q2_K` to `block_q6_K`; bit order: `dequantize_row_q*_K` in ggml-quants.c.
 */
import { float16ToFloat32 } from "./float16.ts";

const halfAt = (bytes: Uint8Array, at: number): number => float16ToFloat32(bytes[at]! | (bytes[at + 1]! << 8));

/** Block of 84 bytes: 16 × (scale, minimum) of 4 bits, 256 × 2 bits, scale f16, minimum f16. */
export function decodeQ2K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 84, o += 256) {
    const scale = halfAt(bytes, at + 80);
    const min = halfAt(bytes, at + 82);
    for (let i = 0; i < 256; i++) {
      const packed = bytes[at + (i >> 4)]!;
      const quant = (bytes[at + 16 + ((i >> 7) << 5) + (i & 31)]! >> (((i >> 5) & 3) << 1)) & 3;
      out[o + i] = scale * (packed & 15) * quant - min * (packed >> 4);
    }
  }
}

/** Block of 110 bytes: 256 high bits, 256 × 2 low bits, 16 scales of 6 bits in 12 bytes, scale f16. */
export function decodeQ3K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 110, o += 256) {
    const scale = halfAt(bytes, at + 108);
    for (let group = 0; group < 16; group++) {
      const low = (bytes[at + 96 + (group & 7)]! >> ((group >> 3) << 2)) & 15;
      const high = (bytes[at + 104 + (group & 3)]! >> ((group >> 2) << 1)) & 3;
      const groupScale = scale * ((low | (high << 4)) - 32);
      for (let i = group * 16; i < group * 16 + 16; i++) {
        const quant = (bytes[at + 32 + ((i >> 7) << 5) + (i & 31)]! >> (((i >> 5) & 3) << 1)) & 3;
        const hasHigh = (bytes[at + (i & 31)]! >> (i >> 5)) & 1;
        out[o + i] = groupScale * (hasHigh ? quant : quant - 4);
      }
    }
  }
}

/** The 6-bit scale of sub-block `j` of 8, from the 12 packed bytes at `at`. */
function packedScale(bytes: Uint8Array, at: number, j: number): number {
  return j < 4 ? bytes[at + j]! & 63 : (bytes[at + j + 4]! & 15) | ((bytes[at + j - 4]! >> 6) << 4);
}

/** The 6-bit minimum of sub-block `j` of 8. */
function packedMin(bytes: Uint8Array, at: number, j: number): number {
  return j < 4 ? bytes[at + j + 4]! & 63 : (bytes[at + j + 4]! >> 4) | ((bytes[at + j]! >> 6) << 4);
}

/** Block of 144 bytes: scale f16, minimum f16, 8 × (scale, minimum) of 6 bits in 12 bytes, 256 nibbles. */
export function decodeQ4K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 144, o += 256) {
    const scale = halfAt(bytes, at);
    const min = halfAt(bytes, at + 2);
    for (let j = 0; j < 8; j++) {
      const groupScale = scale * packedScale(bytes, at + 4, j);
      const groupMin = min * packedMin(bytes, at + 4, j);
      const quants = at + 16 + ((j >> 1) << 5);
      const shift = (j & 1) << 2;
      for (let i = 0; i < 32; i++) {
        out[o + j * 32 + i] = groupScale * ((bytes[quants + i]! >> shift) & 15) - groupMin;
      }
    }
  }
}

/** Block of 176 bytes: as Q4_K, with 256 fifth bits before the nibbles. */
export function decodeQ5K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 176, o += 256) {
    const scale = halfAt(bytes, at);
    const min = halfAt(bytes, at + 2);
    for (let j = 0; j < 8; j++) {
      const groupScale = scale * packedScale(bytes, at + 4, j);
      const groupMin = min * packedMin(bytes, at + 4, j);
      const quants = at + 48 + ((j >> 1) << 5);
      const shift = (j & 1) << 2;
      for (let i = 0; i < 32; i++) {
        const quant = ((bytes[quants + i]! >> shift) & 15) | (((bytes[at + 16 + i]! >> j) & 1) << 4);
        out[o + j * 32 + i] = groupScale * quant - groupMin;
      }
    }
  }
}

/** Block of 210 bytes: 256 low nibbles, 256 × 2 high bits, 16 signed scales, scale f16. */
export function decodeQ6K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 210, o += 256) {
    const scale = halfAt(bytes, at + 208);
    for (let i = 0; i < 256; i++) {
      const half = i >> 7;
      const low = (bytes[at + half * 64 + (i & 63)]! >> (((i >> 6) & 1) << 2)) & 15;
      const high = (bytes[at + 128 + half * 32 + (i & 31)]! >> (((i >> 5) & 3) << 1)) & 3;
      const groupScale = scale * ((bytes[at + 192 + (i >> 4)]! << 24) >> 24);
      out[o + i] = groupScale * ((low | (high << 4)) - 32);
    }
  }
}
