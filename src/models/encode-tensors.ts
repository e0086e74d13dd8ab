/**
 * Float32 numbers as model files store them: the way back of `encodings.ts`. Half precision rounds to the nearest even, as
 * NumPy and PyTorch do; Q8_0 as `quantize_row_q8_0_ref` of llama.cpp's ggml-quants.c does.
 */
import { ModelError } from "../core/errors.ts";
import { encodings, type Encoding } from "./encodings.ts";

/** What tensors can be written as. */
export const writableTypes = ["f32", "f16", "bf16", "q8_0"] as const;
export type WritableType = (typeof writableTypes)[number];

/** The encoding of a type that is written. */
export function encodingOf(type: WritableType): Encoding {
  return { f32: encodings.F32, f16: encodings.F16, bf16: encodings.BF16, q8_0: encodings.Q8_0 }[type];
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The 16 bits of the nearest half-precision number (IEEE 754 binary16), ties to even. */
export function float32ToFloat16(value: number): number {
  float[0] = value;
  const x = bits[0] as number;
  const sign = (x >>> 16) & 0x8000;
  const magnitude = x & 0x7fffffff;
  // From half of the last step above 65,504 on, the nearest is infinity; NaN stays NaN.
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Below 2⁻¹⁴ steps are 2⁻²⁴ wide; adding 0.5 lets the addition round.
    float[0] = Math.abs(value) + 0.5;
    return sign | ((bits[0] as number) - 0x3f000000);
  }
  const odd = (magnitude >>> 13) & 1;
  return sign | ((magnitude - 0x38000000 + 0xfff + odd) >>> 13);
}

/** The upper 16 bits of the nearest bfloat16 number, ties to even. */
export function float32ToBfloat16(value: number): number {
  float[0] = value;
  const x = bits[0] as number;
  if ((x & 0x7fffffff) > 0x7f800000) return (x >>> 16) | 0x40;
  return ((x + 0x7fff + ((x >>> 16) & 1)) >>> 16) & 0xffff;
}

/**
 * Numbers as the bytes of a type.
 * @param data as many numbers as whole blocks have
 * @param name the tensor's, for messages
 * @throws ModelError `EXPORT_RANGE` where a finite number is beyond half precision's 65,504
 */
export function encodeTensor(data: Float32Array, type: WritableType, name: string): Uint8Array {
  switch (type) {
    case "f32":
      return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    case "f16":
      return encodeHalf(data, name);
    case "bf16": {
      const out = new Uint16Array(data.length);
      for (let i = 0; i < data.length; i++) out[i] = float32ToBfloat16(data[i] as number);
      return new Uint8Array(out.buffer);
    }
    case "q8_0":
      return encodeQ8(data);
  }
}

function encodeHalf(data: Float32Array, name: string): Uint8Array {
  const out = new Uint16Array(data.length);
  for (let i = 0; i < data.length; i++) {
    const half = float32ToFloat16(data[i] as number);
    if ((half & 0x7fff) === 0x7c00) {
      throw new ModelError(
        "EXPORT_RANGE",
        `${name} holds ${data[i]}, which half precision can't express. Export as f32 or bf16 instead.`,
        { details: { tensor: name } },
      );
    }
    out[i] = half;
  }
  return new Uint8Array(out.buffer);
}

/** Blocks of 32: the scale as f16, 32 signed bytes. */
function encodeQ8(data: Float32Array): Uint8Array {
  const { blockSize, blockBytes } = encodings.Q8_0;
  const out = Buffer.alloc((data.length / blockSize) * blockBytes);
  for (let start = 0, at = 0; start < data.length; start += blockSize, at += blockBytes) {
    let largest = 0;
    for (let i = 0; i < blockSize; i++) largest = Math.max(largest, Math.abs(data[start + i] as number));
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    out.writeUInt16LE(float32ToFloat16(scale), at);
    for (let i = 0; i < blockSize; i++) {
      const scaled = Math.fround((data[start + i] as number) * inverse);
      // C's roundf: halves away from zero.
      out.writeInt8(Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5), at + 2 + i);
    }
  }
  return out;
}
