/**
 * Answers on disk: files of lines that are only ever added to, one file for each process that wrote, so that several
 * can use a folder at once. A line that was cut off or damaged is as good as absent. Knows nothing of recommenders.
 */
import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readdir, rm, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { describeFileError, makeWithParents } from "../core/atomic-write.ts";
import type { Hit } from "./recommender.ts";

export interface AnswerLogOptions {
  /** Size of the folder's files at which the oldest are deleted and no more is written, in bytes. Default 1 GiB. */
  maxBytes?: number;
  /** Told once, when answers can't be written any more (a full disk, say); what is there stays in use. */
  onWarning?: (message: string) => void;
}

/** Where an answer's line is. */
interface Place {
  file: string;
  offset: number;
  bytes: number;
}

const filePattern = /^answers-[\w-]+\.log$/;

/** `KEY CHECKSUM ANSWER`: the key is a hash, so it has no spaces; the checksum is over key and answer. */
function toLine(key: string, hits: readonly Hit[]): string {
  const answer = JSON.stringify(
    hits.map(({ id, score, payload }) => (payload === undefined ? [id, score] : [id, score, payload])),
  );
  return `${key} ${checksum(key, answer)} ${answer}\n`;
}

function checksum(key: string, answer: string): string {
  return crc32(`${key} ${answer}`).toString(16).padStart(8, "0");
}

/** The hits in a line of `key`; undefined where the line isn't whole. */
function readLine(key: string, line: string): Hit[] | undefined {
  const answer = line.slice(key.length + 10, -1);
  if (!line.endsWith("\n") || line.slice(0, key.length + 10) !== `${key} ${checksum(key, answer)} `) return undefined;
  const rows = JSON.parse(answer) as [string, number, Record<string, unknown>?][];
  return rows.map(([id, score, payload]) => (payload === undefined ? { id, score } : { id, score, payload }));
}

/** A name of fixed length for a key of any text. */
function hashKey(key: string): string {
  return createHash("sha256").update(key).digest("base64url");
}

/** A folder of answers by key. */
export class AnswerLog {
  readonly #dir: string;
  readonly #options: AnswerLogOptions;
  readonly #places = new Map<string, Place>();
  readonly #handles = new Map<string, Promise<FileHandle>>();
  readonly #ownFile: string;
  #ownBytes = 0;
  #allBytes = 0;
  #canWrite = true;
  /** Writes one after the other. */
  #writing: Promise<void> = Promise.resolve();

  private constructor(dir: string, options: AnswerLogOptions) {
    this.#dir = dir;
    this.#options = options;
    this.#ownFile = `answers-${Date.now().toString(36)}-${process.pid}-${randomBytes(4).toString("hex")}.log`;
  }

  /**
   * Opens a folder, made where it isn't there, and finds what is in it.
   * @throws RecR1Error `NO_PERMISSION`, `NOT_A_FOLDER` …
   */
  static async open(dir: string, options: AnswerLogOptions = {}): Promise<AnswerLog> {
    const log = new AnswerLog(dir, options);
    try {
      await makeWithParents(dir);
      await log.#scan();
    } catch (error) {
      throw describeFileError(error, "keep answers in", dir);
    }
    return log;
  }

  /** Answers that can be had. */
  get size(): number {
    return this.#places.size;
  }

  /** The answer under `key`; undefined where there is none, or none that can be read. */
  async get(key: string): Promise<Hit[] | undefined> {
    const hash = hashKey(key);
    const place = this.#places.get(hash);
    if (!place) return undefined;
    try {
      const handle = await this.#handleOf(place.file);
      const buffer = Buffer.alloc(place.bytes);
      await handle.read(buffer, 0, place.bytes, place.offset);
      const hits = readLine(hash, buffer.toString("utf8"));
      if (hits) return hits;
    } catch {
      // A file that was deleted or a line that is no JSON: the recommender can be asked again.
    }
    this.#places.delete(hash);
    return undefined;
  }

  /** Writes answers behind one another; a failure is told to `onWarning` and ends the writing, not the caller. */
  add(entries: readonly (readonly [key: string, hits: readonly Hit[]])[]): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write(entries));
    return this.#writing;
  }

  async close(): Promise<void> {
    await this.#writing;
    this.#canWrite = false;
    for (const handle of this.#handles.values()) {
      await handle.then(
        (open) => open.close(),
        () => undefined,
      );
    }
    this.#handles.clear();
    this.#places.clear();
  }

  async #write(entries: readonly (readonly [key: string, hits: readonly Hit[]])[]): Promise<void> {
    if (!this.#canWrite || entries.length === 0) return;
    const lines = entries.map(([key, hits]) => ({ hash: hashKey(key), hits }));
    const buffers = lines.map(({ hash, hits }) => Buffer.from(toLine(hash, hits)));
    const bytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
    const { maxBytes = 2 ** 30 } = this.#options;
    if (this.#allBytes + bytes > maxBytes) {
      this.#stopWriting(`${this.#dir} holds as much as it may (${maxBytes} bytes)`);
      return;
    }
    try {
      const handle = await this.#handleOf(this.#ownFile);
      await handle.appendFile(Buffer.concat(buffers));
    } catch (error) {
      this.#stopWriting((describeFileError(error, "write answers to", this.#dir) as Error).message);
      return;
    }
    lines.forEach(({ hash }, i) => {
      const size = (buffers[i] as Buffer).length;
      this.#places.set(hash, { file: this.#ownFile, offset: this.#ownBytes, bytes: size });
      this.#ownBytes += size;
    });
    this.#allBytes += bytes;
  }

  #stopWriting(reason: string): void {
    this.#canWrite = false;
    this.#options.onWarning?.(`cache: no more answers are kept on disk: ${reason}`);
  }

  #handleOf(file: string): Promise<FileHandle> {
    const handle = this.#handles.get(file) ?? open(join(this.#dir, file), file === this.#ownFile ? "a+" : "r");
    this.#handles.set(file, handle);
    return handle;
  }

  /** Reads where answers are; deletes the oldest files while all are more than half of what there may be. */
  async #scan(): Promise<void> {
    const names = (await readdir(this.#dir)).filter((name) => filePattern.test(name));
    const files = await Promise.all(
      names.map(async (name) => {
        const { mtimeMs, size } = await stat(join(this.#dir, name));
        return { name, mtimeMs, size };
      }),
    );
    files.sort((a, b) => b.mtimeMs - a.mtimeMs);
    const room = (this.#options.maxBytes ?? 2 ** 30) / 2;
    for (const { name, size } of files) {
      if (this.#allBytes + size > room) {
        await rm(join(this.#dir, name), { force: true });
        continue;
      }
      this.#allBytes += size;
      await this.#scanFile(name);
    }
  }

  async #scanFile(file: string): Promise<void> {
    let offset = 0;
    let start = Buffer.alloc(0);
    for await (const chunk of createReadStream(join(this.#dir, file), { highWaterMark: 1 << 20 })) {
      const data = Buffer.concat([start, chunk as Buffer]);
      let from = 0;
      for (let end = data.indexOf(10); end !== -1; end = data.indexOf(10, from)) {
        const bytes = end + 1 - from;
        const hash = data.toString("latin1", from, from + 43);
        // Newer files are read first, and theirs is the answer that counts.
        if (/^[\w-]{43}$/.test(hash) && !this.#places.has(hash)) this.#places.set(hash, { file, offset, bytes });
        offset += bytes;
        from = end + 1;
      }
      start = data.subarray(from);
    }
  }
}
