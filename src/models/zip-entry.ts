/** Reads one entry of a zip file as a stream. Format: APPNOTE.TXT of PKWARE, without ZIP64 and encryption. */
import { createReadStream } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createInflateRaw } from "node:zlib";
import { PassThrough, type Writable } from "node:stream";

const endOfDirectory = 0x06054b50;
const directoryEntry = 0x02014b50;
const localHeader = 0x04034b50;

/**
 * Writes the contents of entry `name` of the zip file `path` to `out`.
 * @throws Error where the file is not a zip file, is damaged, or has no such entry
 */
export async function extractZipEntry(path: string, name: string, out: Writable, signal?: AbortSignal): Promise<void> {
  const { method, start, compressedBytes } = await locateEntry(path, name);
  if (method !== 0 && method !== 8) throw new Error(`${path}: ${name} is compressed by method ${method}, not deflate`);
  await pipeline(
    compressedBytes === 0
      ? new PassThrough().end()
      : createReadStream(path, { start, end: start + compressedBytes - 1 }),
    method === 8 ? createInflateRaw() : new PassThrough(),
    out,
    signal ? { signal } : {},
  );
}

interface ZipEntry {
  method: number;
  /** First byte of the compressed contents. */
  start: number;
  compressedBytes: number;
}

async function locateEntry(path: string, name: string): Promise<ZipEntry> {
  const handle = await open(path, "r");
  try {
    const { size } = await handle.stat();
    const directory = await readDirectory(handle, path, size);
    for (let at = 0; at + 46 <= directory.length && directory.readUInt32LE(at) === directoryEntry;) {
      const nameBytes = directory.readUInt16LE(at + 28);
      const extraBytes = directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
      if (directory.toString("utf8", at + 46, at + 46 + nameBytes) === name) {
        const compressedBytes = directory.readUInt32LE(at + 20);
        const header = await readAt(handle, path, directory.readUInt32LE(at + 42), 30);
        if (header.readUInt32LE(0) !== localHeader) throw new Error(`${path}: damaged zip file: no header of ${name}`);
        const start = directory.readUInt32LE(at + 42) + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
        if (start + compressedBytes > size) throw new Error(`${path}: truncated zip file: ${name} goes past its end`);
        return { method: directory.readUInt16LE(at + 10), start, compressedBytes };
      }
      at += 46 + nameBytes + extraBytes;
    }
    throw new Error(`${path}: there is no ${name} in the zip file`);
  } finally {
    await handle.close();
  }
}

/** The central directory, which lies before the record at the end of the file. */
async function readDirectory(handle: FileHandle, path: string, size: number): Promise<Buffer> {
  const tailStart = Math.max(0, size - 22 - 65_535);
  const tail = await readAt(handle, path, tailStart, size - tailStart);
  for (let at = tail.length - 22; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== endOfDirectory) continue;
    const byteLength = tail.readUInt32LE(at + 12);
    const start = tail.readUInt32LE(at + 16);
    if (start + byteLength > size) break;
    return readAt(handle, path, start, byteLength);
  }
  throw new Error(`${path}: not a zip file, or a truncated one`);
}

async function readAt(handle: FileHandle, path: string, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await handle.read(bytes, 0, length, position);
  if (bytesRead !== length) throw new Error(`${path}: truncated zip file`);
  return bytes;
}
