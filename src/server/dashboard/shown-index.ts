/** Titles and texts of a run by id: their places in the files, so that each is read when it is asked for. */
import type { FileHandle } from "node:fs/promises";
import { splitWords } from "../../core/words.ts";
import type { ShownExample, ShownItem, ShownRecord } from "../../runs/records.ts";
import { groupBy } from "../../core/group-by.ts";
import { parseLine, readLines } from "./line-reader.ts";
import { listRunFolder, openRunFile, type RunFiles } from "./run-files.ts";
import type { ShownHit } from "./wire.ts";

interface Place {
  file: string;
  offset: number;
  length: number;
}

/** Records remembered after they were read. */
const maxRemembered = 5_000;
/** How long the index is believed to be whole, in milliseconds. */
const freshMs = 2_000;

export class ShownIndex {
  private readonly run: RunFiles;
  private readonly places = new Map<string, Place>();
  private readonly readTo = new Map<string, { inode: number; offset: number }>();
  private readonly remembered = new Map<string, ShownRecord>();
  /** Words of all titles. */
  readonly titleWords = new Set<string>();
  private scannedAt = -Infinity;
  private scanning: Promise<void> | undefined;

  constructor(run: RunFiles) {
    this.run = run;
  }

  /** What is shown of items, in order; of those that nothing is known of, their ids. */
  async hits(ids: readonly string[], relevant: ReadonlySet<string>): Promise<ShownHit[]> {
    const records = await this.read(ids.map((id) => `item ${id}`));
    return ids.map((id, i) => {
      const item = records[i] as ShownItem | undefined;
      return { id, title: item?.title ?? null, picture: item?.picture ?? null, isRelevant: relevant.has(id) };
    });
  }

  /** Examples by id. */
  async examples(ids: readonly string[]): Promise<(ShownExample | undefined)[]> {
    return (await this.read(ids.map((id) => `example ${id}`))) as (ShownExample | undefined)[];
  }

  /** Looks through what was written since. */
  async refresh(): Promise<void> {
    if (performance.now() - this.scannedAt < freshMs) return;
    this.scanning ??= this.scan().finally(() => (this.scanning = undefined));
    await this.scanning;
  }

  private async scan(): Promise<void> {
    for (const name of await listRunFolder(this.run, "shown")) {
      if (!name.endsWith(".jsonl")) continue;
      const file = await openRunFile(this.run, "shown", name);
      if (!file) continue;
      try {
        await this.scanFile(name, file);
      } finally {
        await file.close();
      }
    }
    this.scannedAt = performance.now();
  }

  private async scanFile(name: string, file: FileHandle): Promise<void> {
    const { ino, size } = await file.stat();
    const before = this.readTo.get(name);
    const state = before?.inode === ino && before.offset <= size ? before : { inode: ino, offset: 0 };
    this.readTo.set(name, state);
    for await (const { offset, bytes } of readLines(file, state.offset)) {
      state.offset = offset + bytes.length + 1;
      const record = parseLine<ShownRecord>(bytes);
      if (typeof record?.id !== "string") continue;
      const key = `${record.kind} ${record.id}`;
      this.places.set(key, { file: name, offset, length: bytes.length });
      this.remembered.delete(key);
      if (record.kind === "item" && record.title)
        for (const word of splitWords(record.title)) this.titleWords.add(word);
    }
  }

  private async read(keys: readonly string[]): Promise<(ShownRecord | undefined)[]> {
    await this.refresh();
    const missing = new Map<string, Place>();
    for (const key of keys) {
      const place = this.places.get(key);
      if (place && !this.remembered.has(key)) missing.set(key, place);
    }
    const byFile = groupBy([...missing], ([, { file }]) => file);
    const found = new Map<string, ShownRecord>();
    for (const [name, wanted] of byFile) {
      const file = await openRunFile(this.run, "shown", name);
      if (!file) continue;
      try {
        for (const [key, { offset, length }] of wanted) {
          const { buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
          const record = parseLine<ShownRecord>(buffer);
          if (record) found.set(key, record);
        }
      } finally {
        await file.close();
      }
    }
    const records = keys.map((key) => found.get(key) ?? this.remembered.get(key));
    for (const [key, record] of found) this.remember(key, record);
    return records;
  }

  private remember(key: string, record: ShownRecord): void {
    this.remembered.set(key, record);
    if (this.remembered.size <= maxRemembered) return;
    const [oldest] = this.remembered.keys();
    if (oldest !== undefined) this.remembered.delete(oldest);
  }
}
