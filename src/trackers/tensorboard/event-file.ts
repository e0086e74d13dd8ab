/**
 * TensorBoard's event files: TFRecord framing with masked CRC-32C around `Event` messages (tensorflow's `event.proto`,
 * `summary.proto`, `tensor.proto`), of which only the fields in use are declared.
 */
import type { IField, INamespace, Type } from "protobufjs/light.js";

/** A scalar or a text under a tag. */
export type EventValue = { tag: string; scalar: number } | { tag: string; text: string };

export interface EventContent {
  /** Seconds since 1970. */
  wallTime: number;
  step: number;
  /** The file's first event says `brain.Event:2`. */
  fileVersion?: string;
  values?: readonly EventValue[];
  /** Tells TensorBoard to forget everything from this step on: the run was taken up again here. */
  restarts?: boolean;
}

/** DT_STRING of tensorflow's `types.proto`. */
const stringType = 7;
/** START of `SessionLog.SessionStatus`. */
const sessionStart = 1;

const field = (id: number, type: string, rule?: "repeated"): IField =>
  rule === undefined ? { id, type } : { id, type, rule };

const schema: INamespace = {
  nested: {
    Event: {
      fields: {
        wallTime: field(1, "double"),
        step: field(2, "int64"),
        fileVersion: field(3, "string"),
        summary: field(5, "Summary"),
        sessionLog: field(7, "SessionLog"),
      },
    },
    Summary: { fields: { value: field(1, "Value", "repeated") } },
    Value: {
      fields: {
        tag: field(1, "string"),
        simpleValue: field(2, "float"),
        tensor: field(8, "Tensor"),
        metadata: field(9, "SummaryMetadata"),
      },
      // A member of a oneof is written even when it is 0, as a reward often is.
      oneofs: { value: { oneof: ["simpleValue", "tensor"] } },
    },
    Tensor: {
      fields: {
        dtype: field(1, "int32"),
        tensorShape: field(2, "TensorShape"),
        stringVal: field(8, "string", "repeated"),
      },
    },
    TensorShape: { fields: { dim: field(2, "Dim", "repeated") } },
    Dim: { fields: { size: field(1, "int64") } },
    SummaryMetadata: { fields: { pluginData: field(1, "PluginData") } },
    PluginData: { fields: { pluginName: field(1, "string") } },
    SessionLog: { fields: { status: field(1, "int32") } },
  },
};

let loaded: Promise<Type> | undefined;

async function loadEventType(): Promise<Type> {
  const { default: protobuf } = await import("protobufjs/light.js");
  return protobuf.Root.fromJSON(schema).lookupType("Event");
}

/** An event as a record of the file. */
export async function encodeEvent(content: EventContent): Promise<Uint8Array> {
  const type = await (loaded ??= loadEventType());
  const { wallTime, step, fileVersion, values, restarts } = content;
  const bytes = type
    .encode({
      wallTime,
      step,
      ...(fileVersion === undefined ? {} : { fileVersion }),
      ...(values ? { summary: { value: values.map(toValue) } } : {}),
      ...(restarts ? { sessionLog: { status: sessionStart } } : {}),
    })
    .finish();
  return frameRecord(bytes);
}

function toValue(value: EventValue): object {
  if ("scalar" in value) return { tag: value.tag, simpleValue: value.scalar };
  return {
    tag: value.tag,
    metadata: { pluginData: { pluginName: "text" } },
    tensor: { dtype: stringType, tensorShape: { dim: [{ size: 1 }] }, stringVal: [value.text] },
  };
}

/** Length, its checksum, the data, their checksum; little-endian. */
export function frameRecord(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(data.length + 16);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskCrc(crc32c(record.subarray(0, 8))), true);
  record.set(data, 12);
  view.setUint32(12 + data.length, maskCrc(crc32c(data)), true);
  return record;
}

/** The checksum as TFRecord stores it: turned by 15 bits and moved, so that checksums of checksums stay harmless. */
function maskCrc(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** CRC-32C's polynomial (Castagnoli 1993), bits reversed. */
const polynomial = 0x82f63b78;

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
  return crc;
});

/** CRC-32C of bytes; Node's own `crc32` has another polynomial. */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = (crcTable[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
