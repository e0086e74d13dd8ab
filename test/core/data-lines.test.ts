import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readJsonl, readLines } from "../../src/core/data-lines.ts";
import { DataError } from "../../src/core/errors.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-lines-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function fileOf(content: string | Buffer, name = "data.jsonl"): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

const nested = (levels: number): string => `${"[".repeat(levels)}${"]".repeat(levels)}`;

describe("readJsonl", () => {
  it("reads objects with line numbers, whatever the line ends, with a byte order mark and blank lines", async () => {
    const path = await fileOf('\ufeff{"a":1}\r\n\r\n   \n{"a":"é😀"}\n{"a":3}');
    expect(await collect(readJsonl(path))).toEqual([
      { line: 1, value: { a: 1 } },
      { line: 4, value: { a: "é😀" } },
      { line: 5, value: { a: 3 } },
    ]);
    expect(await collect(readJsonl(await fileOf("")))).toEqual([]);
  });

  it("names file and line of what isn't JSON or no object", async () => {
    const cases: [string, RegExp][] = [
      ['{"a":1}\n{"a":', /data\.jsonl line 2: not JSON: \{"a":\nWrite one JSON object per line/],
      ['[\n{"a":1}]', /line 1: not JSON: \[\nThe file looks like one JSON array/],
      ['{"a":1}\n[1]', /line 2: expected a JSON object .* got an array: \[1\]/],
      ["null", /line 1: expected a JSON object .* got null/],
      ["17", /got a number: 17/],
      [`{"a":1}\n${"x".repeat(5000)}`, /line 2: not JSON: x{77}\.\.\.\n/],
      [`{"a":1}\n{"a":${nested(100_000)}}`, /line 2: more than 500 arrays and objects within each other/],
    ];
    for (const [content, message] of cases) {
      await expect(collect(readJsonl(await fileOf(content)))).rejects.toThrowError(message);
      await expect(collect(readJsonl(await fileOf(content)))).rejects.toBeInstanceOf(DataError);
    }
  });

  it("takes values as deep as 500 levels", async () => {
    const deep = `{"a":${nested(499)},"b":"${"x".repeat(2000)}"}`;
    expect((await collect(readJsonl(await fileOf(deep)))).length).toBe(1);
    await expect(collect(readJsonl(await fileOf(deep.replace("[", "[[").replace("]", "]]"))))).rejects.toMatchObject({
      code: "DATA_TOO_DEEP",
    });
  });

  it("refuses text that isn't UTF-8, and says what it seems to be", async () => {
    const utf16 = Buffer.from('\ufeff{"a":1}\n', "utf16le");
    const cases: [Buffer, RegExp][] = [
      [
        Buffer.concat([Buffer.from('{"a":1}\n{"a":"'), Buffer.from([0xe9]), Buffer.from('"}\n')]),
        /line 2: not valid UTF-8/,
      ],
      [utf16, /is UTF-16; expected UTF-8/],
      [Buffer.from([0x1f, 0x8b, 8, 0]), /is gzip-compressed/],
      [Buffer.from("PAR1...."), /is a parquet file/],
    ];
    for (const [content, message] of cases) {
      await expect(collect(readJsonl(await fileOf(content)))).rejects.toMatchObject({
        code: "DATA_NOT_UTF8",
        message: expect.stringMatching(message) as string,
      });
    }
  });

  it("says that a file is missing, a folder, or not readable", async () => {
    const missing = join(folder, "nowhere.jsonl");
    await expect(collect(readJsonl(missing))).rejects.toThrowError(/Could not read .*nowhere\.jsonl: no such file/);
    await expect(collect(readJsonl(missing))).rejects.toBeInstanceOf(DataError);
    await mkdir(join(folder, "folder"), { recursive: true });
    await expect(collect(readJsonl(join(folder, "folder")))).rejects.toMatchObject({ code: "IS_A_FOLDER" });
  });

  it.skipIf(process.getuid?.() === 0)("says that permission is missing (root may read everything)", async () => {
    const path = await fileOf("{}", "secret.jsonl");
    await chmod(path, 0o000);
    await expect(collect(readJsonl(path))).rejects.toMatchObject({ code: "NO_PERMISSION" });
  });

  it("reads a line of many megabytes, and refuses one beyond the limit without reading on", async () => {
    const path = await fileOf(`{"a":"${"é".repeat(3_000_000)}"}\n{"a":1}\n`);
    const rows = await collect(readJsonl(path));
    expect((rows[0]?.value["a"] as string).length).toBe(3_000_000);
    expect(rows[1]).toEqual({ line: 2, value: { a: 1 } });
    await expect(collect(readJsonl(path, { maxLineBytes: 1_000_000 }))).rejects.toThrowError(
      /line 1: longer than 1000000 bytes/,
    );
  });

  it("stops on request and tells how far it is", async () => {
    const path = await fileOf('{"a":1}\n'.repeat(400_000));
    const controller = new AbortController();
    const seen: number[] = [];
    const options = {
      signal: controller.signal,
      onProgress: (read: number, total: number) => {
        seen.push(read / total);
        controller.abort();
      },
    };
    await expect(collect(readJsonl(path, options))).rejects.toMatchObject({ code: "ABORTED" });
    expect(seen).toHaveLength(1);
    expect(seen[0]).toBeGreaterThan(0);
    expect(seen[0]).toBeLessThan(1);
  });
});

describe("readLines", () => {
  it("gives back the lines of any text", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: "grapheme", maxLength: 20 }), { maxLength: 20 }), async (raw) => {
        const lines = raw.map((text) => text.replace(/[\r\n]/g, "").replace(/^\ufeff/, ""));
        const path = await fileOf(lines.map((text) => `${text}\n`).join(""), "any.txt");
        const read = await collect(readLines(path));
        expect(read.map(({ text }) => text)).toEqual(lines);
        expect(read.map(({ line }) => line)).toEqual(lines.map((_, i) => i + 1));
      }),
      { numRuns: 50 },
    );
  });
});
