/** JSON Lines read piece by piece: each line with its place in the file, nothing held but one chunk. */
import type { FileHandle } from "node:fs/promises";

export interface PlacedLine {
  /** Of its first byte. */
  offset: number;
  /** Without the line end. */
  bytes: Buffer;
}

const chunkBytes = 256 * 1024;
/** Longest line; a longer one is left out. */
const maxLineBytes = 8 * 1024 * 1024;

/** Whole lines from `offset` on. A last line without an end, which is being written, is not given. */
export async function* readLines(file: FileHandle, offset = 0): AsyncGenerator<PlacedLine> {
  let rest: Buffer = Buffer.alloc(0);
  let start = offset;
  let isSkipping = false;
  for (;;) {
    const chunk = Buffer.allocUnsafe(chunkBytes);
    const { bytesRead } = await file.read(chunk, 0, chunkBytes, start + rest.length);
    if (bytesRead === 0) return;
    let data = rest.length === 0 ? chunk.subarray(0, bytesRead) : Buffer.concat([rest, chunk.subarray(0, bytesRead)]);
    for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10)) {
      if (!isSkipping && end > 0) yield { offset: start, bytes: data.subarray(0, end) };
      isSkipping = false;
      start += end + 1;
      data = data.subarray(end + 1);
    }
    if (isSkipping || data.length > maxLineBytes) {
      isSkipping = true;
      start += data.length;
      data = Buffer.alloc(0);
    }
    rest = data;
  }
}

/** A line's record; undefined where it isn't JSON. */
export function parseLine<T>(bytes: Buffer): T | undefined {
  try {
    return JSON.parse(bytes.toString("utf8")) as T;
  } catch {
    return undefined;
  }
}

/** Follows a log that somebody else appends to. */
export class LogFollower<T> {
  private readonly open: () => Promise<FileHandle | undefined>;
  private offset = 0;
  private inode: number | undefined;

  constructor(open: () => Promise<FileHandle | undefined>) {
    this.open = open;
  }

  /** Records that were added since; `isNew` where the file is another one than before, or shorter, and all are given. */
  async read(): Promise<{ records: T[]; isNew: boolean }> {
    const file = await this.open();
    if (!file) {
      const isNew = this.offset > 0;
      this.offset = 0;
      return { records: [], isNew };
    }
    try {
      const { ino, size } = await file.stat();
      const isNew = this.inode !== undefined && (ino !== this.inode || size < this.offset);
      if (isNew) this.offset = 0;
      this.inode = ino;
      const records: T[] = [];
      if (size === this.offset) return { records, isNew };
      for await (const { offset, bytes } of readLines(file, this.offset)) {
        const record = parseLine<T>(bytes);
        if (record !== undefined) records.push(record);
        this.offset = offset + bytes.length + 1;
      }
      return { records, isNew };
    } finally {
      await file.close();
    }
  }
}
