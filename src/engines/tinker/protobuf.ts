/**
 * The Tinker API's protobuf messages, fields and numbers as in `tinker_public.proto` of its client 0.25 (Apache-2.0), and
 * their conversion from and to the plain shapes of `wire.ts`. Numbers lie in byte fields, little-endian.
 */
import protobuf from "protobufjs/light.js";
import type { DatumWire, ForwardBackwardReply, ForwardBackwardWire, SampleReply, TensorWire } from "./wire.ts";

const field = (id: number, type: string, rule?: "repeated"): protobuf.IField =>
  rule === undefined ? { id, type } : { id, type, rule };
const map = (id: number, type: string): protobuf.IMapField => ({ id, keyType: "string", type });

const schema: protobuf.INamespace = {
  nested: {
    SampleResponse: {
      fields: {
        sequences: field(1, "SampledSequence", "repeated"),
        promptLogprobs: field(2, "bytes"),
        promptCacheHitTokens: field(4, "int32"),
      },
    },
    SampledSequence: {
      fields: { stopReason: field(1, "int32"), tokens: field(2, "bytes"), logprobs: field(3, "bytes") },
    },
    Tensor: {
      fields: { dense: field(1, "bytes"), dtype: field(3, "int32"), shape: field(4, "int64", "repeated") },
    },
    BatchedTensor: {
      fields: {
        data: field(1, "bytes"),
        offsets: field(2, "bytes"),
        dtype: field(3, "int32"),
        trailingShape: field(4, "int64", "repeated"),
      },
    },
    ArrayRecord: {
      fields: { typeTag: field(1, "string"), fields: map(2, "BatchedTensor"), numDatums: field(3, "int64") },
    },
    ForwardBackwardOutput: {
      fields: {
        lossFnOutputType: field(1, "string"),
        lossFnOutputs: field(2, "ArrayRecord", "repeated"),
        metrics: map(3, "double"),
      },
    },
    ForwardBackwardRequest: {
      fields: {
        modelId: field(1, "string"),
        seqId: field(2, "int32"),
        data: field(3, "Datum", "repeated"),
        lossFn: field(4, "string"),
        lossFnConfig: map(5, "double"),
        forwardOnly: field(6, "bool"),
      },
    },
    Datum: { fields: { modelInput: field(1, "Chunk", "repeated"), lossFnInputs: map(2, "Tensor") } },
    Chunk: { fields: { encodedText: field(1, "EncodedTextChunk") } },
    EncodedTextChunk: { fields: { tokens: field(1, "bytes") } },
  },
};

const root = protobuf.Root.fromJSON(schema);
const requestType = root.lookupType("ForwardBackwardRequest");
const outputType = root.lookupType("ForwardBackwardOutput");
const sampleType = root.lookupType("SampleResponse");

/** The content type of these messages. */
export const protobufContentType = "application/x-protobuf";

const dtypes = { float32: 1, int64: 2, int32: 3, bfloat16: 4 } as const;
const stopReasons = ["stop", "length"] as const;

/** A protobuf body that isn't what its message says. */
export class ProtobufError extends Error {}

/** Body of forward_backward; of a forward pass alone with `forwardOnly`. */
export function encodeForwardBackward(request: ForwardBackwardWire): Uint8Array {
  const { modelId, seqId, data, lossFn, lossFnConfig, forwardOnly } = request;
  const message = {
    modelId,
    seqId,
    lossFn,
    lossFnConfig,
    forwardOnly,
    data: data.map(({ tokens, inputs }) => ({
      modelInput: [{ encodedText: { tokens: int32Bytes(tokens) } }],
      lossFnInputs: Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, encodeTensor(tensor)])),
    })),
  };
  return requestType.encode(requestType.fromObject(message)).finish();
}

/** The request in a body of forward_backward. @throws ProtobufError */
export function decodeForwardBackward(bytes: Uint8Array): ForwardBackwardWire {
  const message = decode(requestType, bytes) as {
    modelId: string;
    seqId: number;
    lossFn: string;
    lossFnConfig: Record<string, number>;
    forwardOnly: boolean;
    data: { modelInput: { encodedText?: { tokens: Uint8Array } }[]; lossFnInputs: Record<string, TensorMessage> }[];
  };
  const data = message.data.map(({ modelInput, lossFnInputs }): DatumWire => {
    const tokens = modelInput.flatMap(({ encodedText }) => {
      if (!encodedText) throw new ProtobufError("an input chunk is not text");
      return [...view(Int32Array, encodedText.tokens)];
    });
    const inputs = Object.entries(lossFnInputs).map(([name, tensor]) => [name, decodeTensor(tensor)] as const);
    return { tokens, inputs: Object.fromEntries(inputs) };
  });
  const { modelId, seqId, lossFn, lossFnConfig, forwardOnly } = message;
  return { modelId, seqId, lossFn, lossFnConfig, forwardOnly, data };
}

/** The reply to forward_backward. */
export function encodeForwardBackwardReply({ outputs, metrics }: ForwardBackwardReply): Uint8Array {
  const names = Object.keys(outputs[0] ?? {});
  const fields = names.map((name) => {
    const tensors = outputs.map((output) => output[name] as Float32Array);
    const offsets = new BigInt64Array(tensors.length + 1);
    tensors.forEach((tensor, i) => (offsets[i + 1] = (offsets[i] as bigint) + BigInt(4 * tensor.length)));
    const data = new Float32Array(Number(offsets[tensors.length]) / 4);
    tensors.forEach((tensor, i) => data.set(tensor, Number(offsets[i]) / 4));
    return [name, { data: bytesOf(data), offsets: bytesOf(offsets), dtype: dtypes.float32 }];
  });
  const record = { fields: Object.fromEntries(fields), numDatums: outputs.length };
  const message = { lossFnOutputType: "scalar", lossFnOutputs: [record], metrics };
  return outputType.encode(outputType.fromObject(message)).finish();
}

/** @throws ProtobufError */
export function decodeForwardBackwardReply(bytes: Uint8Array): ForwardBackwardReply {
  const message = decode(outputType, bytes) as {
    lossFnOutputs: { fields: Record<string, BatchedMessage>; numDatums: number }[];
    metrics: Record<string, number>;
  };
  const outputs = message.lossFnOutputs.flatMap(({ fields, numDatums }) => {
    const byField = Object.entries(fields).map(([name, tensor]) => [name, decodeBatched(tensor)] as const);
    return Array.from({ length: numDatums || (byField[0]?.[1].length ?? 0) }, (_, i) =>
      Object.fromEntries(byField.map(([name, perDatum]) => [name, perDatum[i] ?? new Float32Array(0)])),
    );
  });
  return { outputs, metrics: message.metrics };
}

/** The reply to sampling. */
export function encodeSampleReply({ sequences, promptLogprobs }: SampleReply): Uint8Array {
  const message = {
    sequences: sequences.map(({ stopReason, tokens, logprobs }) => ({
      stopReason: stopReasons.indexOf(stopReason),
      tokens: int32Bytes(tokens),
      ...(logprobs ? { logprobs: bytesOf(logprobs) } : {}),
    })),
    ...(promptLogprobs ? { promptLogprobs: bytesOf(promptLogprobs) } : {}),
  };
  return sampleType.encode(sampleType.fromObject(message)).finish();
}

/** @throws ProtobufError */
export function decodeSampleReply(bytes: Uint8Array): SampleReply {
  const message = decode(sampleType, bytes) as {
    sequences: { stopReason: number; tokens: Uint8Array; logprobs: Uint8Array }[];
    promptLogprobs: Uint8Array;
  };
  return {
    sequences: message.sequences.map(({ stopReason, tokens, logprobs }) => {
      const reason = stopReasons[stopReason];
      if (!reason) throw new ProtobufError(`unknown stop reason ${stopReason}`);
      return {
        stopReason: reason,
        tokens: [...view(Int32Array, tokens)],
        logprobs: logprobs.length > 0 ? view(Float32Array, logprobs) : null,
      };
    }),
    promptLogprobs: message.promptLogprobs.length > 0 ? view(Float32Array, message.promptLogprobs) : null,
  };
}

interface TensorMessage {
  dense: Uint8Array;
  dtype: number;
}

interface BatchedMessage extends Omit<TensorMessage, "dense"> {
  data: Uint8Array;
  offsets: Uint8Array;
}

function encodeTensor({ dtype, data }: TensorWire): Record<string, unknown> {
  const dense = dtype === "float32" ? bytesOf(Float32Array.from(data)) : bytesOf(BigInt64Array.from(data, BigInt));
  return { dense, dtype: dtypes[dtype], shape: [data.length] };
}

function decodeTensor({ dense, dtype }: TensorMessage): TensorWire {
  if (dtype === dtypes.float32) return { dtype: "float32", data: view(Float32Array, dense) };
  if (dtype === dtypes.int64) return { dtype: "int64", data: Array.from(view(BigInt64Array, dense), Number) };
  throw new ProtobufError(`a loss input has data type ${dtype}, expected float32 (1) or int64 (2), dense`);
}

/** Each datum's numbers, as float32. */
function decodeBatched({ data, offsets, dtype }: BatchedMessage): Float32Array[] {
  const all = decodeFloats(data, dtype);
  const bytesEach = { [dtypes.float32]: 4, [dtypes.int64]: 8, [dtypes.int32]: 4, [dtypes.bfloat16]: 2 }[
    dtype
  ] as number;
  const ends = Array.from(view(BigInt64Array, offsets), (offset) => Number(offset) / bytesEach);
  return ends.slice(1).map((end, i) => all.slice(ends[i] as number, end));
}

function decodeFloats(bytes: Uint8Array, dtype: number): Float32Array {
  if (dtype === dtypes.float32) return view(Float32Array, bytes);
  if (dtype === dtypes.int32) return Float32Array.from(view(Int32Array, bytes));
  if (dtype === dtypes.int64) return Float32Array.from(view(BigInt64Array, bytes), Number);
  if (dtype !== dtypes.bfloat16) throw new ProtobufError(`unknown data type ${dtype}`);
  // A bfloat16 is the upper half of a float32.
  return new Float32Array(Uint32Array.from(view(Uint16Array, bytes), (half) => half << 16).buffer);
}

function decode(type: protobuf.Type, bytes: Uint8Array): object {
  try {
    return type.toObject(type.decode(bytes), {
      defaults: true,
      arrays: true,
      objects: true,
      longs: Number,
      bytes: Uint8Array,
    });
  } catch (cause) {
    throw new ProtobufError(`not a ${type.name}: ${(cause as Error).message}`, { cause });
  }
}

type NumberArray = Int32Array | Float32Array | BigInt64Array | Uint16Array;

/** The bytes as numbers, in memory of their own: a message's bytes lie at any offset. */
function view<T extends NumberArray>(
  Numbers: { new (buffer: ArrayBuffer): T; BYTES_PER_ELEMENT: number },
  bytes: Uint8Array,
): T {
  if (bytes.length % Numbers.BYTES_PER_ELEMENT !== 0) {
    throw new ProtobufError(`${bytes.length} bytes are no whole number of ${Numbers.BYTES_PER_ELEMENT}-byte numbers`);
  }
  return new Numbers(Uint8Array.from(bytes).buffer);
}

const bytesOf = (numbers: NumberArray): Uint8Array =>
  new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);

const int32Bytes = (ids: readonly number[]): Uint8Array => bytesOf(Int32Array.from(ids));
