/**
 * Reads TensorBoard event files, written from the formats' descriptions without anything of ours: protobuf's wire format
 * by hand, the checksum bit by bit as polynomial division.
 */

export interface ReadEvent {
  wallTime: number;
  step: number;
  fileVersion?: string;
  restarts: boolean;
  scalars: Record<string, number>;
  texts: Record<string, string>;
}

/** CRC-32C as a division over bits that come least significant first. */
function checksum(bytes: Uint8Array): number {
  let remainder = 0xffffffffn;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const feedback = (remainder ^ (BigInt(byte) >> BigInt(bit))) & 1n;
      remainder >>= 1n;
      if (feedback === 1n) remainder ^= 0x82f63b78n;
    }
  }
  return Number(remainder ^ 0xffffffffn);
}

function masked(bytes: Uint8Array): number {
  const crc = BigInt(checksum(bytes));
  return Number((((crc >> 15n) | ((crc << 17n) & 0xffffffffn)) + 0xa282ead8n) & 0xffffffffn);
}

type Fields = Map<number, (number | Uint8Array)[]>;

function parseFields(bytes: Uint8Array): Fields {
  const fields: Fields = new Map();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = (): number => {
    let [value, shift] = [0n, 0n];
    for (;;) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("cut off");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
      shift += 7n;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const [id, wire] = [key >> 3, key & 7];
    let value: number | Uint8Array;
    if (wire === 0) value = varint();
    else if (wire === 1) {
      value = view.getFloat64(at, true);
      at += 8;
    } else if (wire === 5) {
      value = view.getFloat32(at, true);
      at += 4;
    } else if (wire === 2) {
      const length = varint();
      value = bytes.subarray(at, at + length);
      at += length;
    } else throw new Error(`wire type ${wire}`);
    fields.set(id, [...(fields.get(id) ?? []), value]);
  }
  return fields;
}

const text = (value: number | Uint8Array | undefined): string => new TextDecoder().decode(value as Uint8Array);

/** @throws Error on a wrong checksum or a torn record */
export function readEvents(file: Uint8Array): ReadEvent[] {
  const events: ReadEvent[] = [];
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let at = 0;
  while (at < file.length) {
    const length = Number(view.getBigUint64(at, true));
    if (view.getUint32(at + 8, true) !== masked(file.subarray(at, at + 8))) throw new Error(`length checksum at ${at}`);
    const data = file.subarray(at + 12, at + 12 + length);
    if (view.getUint32(at + 12 + length, true) !== masked(data)) throw new Error(`data checksum at ${at}`);
    at += 16 + length;
    const event = parseFields(data);
    const read: ReadEvent = {
      wallTime: event.get(1)?.[0] as number,
      step: (event.get(2)?.[0] as number | undefined) ?? 0,
      restarts: event.has(7),
      scalars: {},
      texts: {},
    };
    if (event.has(3)) read.fileVersion = text(event.get(3)?.[0]);
    for (const summary of event.get(5) ?? []) {
      for (const value of parseFields(summary as Uint8Array).get(1) ?? []) {
        const fields = parseFields(value as Uint8Array);
        const tag = text(fields.get(1)?.[0]);
        if (fields.has(2)) read.scalars[tag] = fields.get(2)?.[0] as number;
        const tensor = fields.get(8)?.[0];
        if (tensor) read.texts[tag] = text(parseFields(tensor as Uint8Array).get(8)?.[0]);
      }
    }
    events.push(read);
  }
  return events;
}
