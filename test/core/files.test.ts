import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isTemporaryName, makeFolder, temporaryName, writeFileAtomic } from "../../src/core/atomic-write.ts";
import { digestLines, sha256OfFile, sha256OfJson } from "../../src/core/checksum.ts";
import { appendJsonLines, cutTornLine, readJsonLog } from "../../src/core/json-lines.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "rec-r1-files-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

const readAll = async (path: string): Promise<unknown[]> => {
  const records: unknown[] = [];
  for await (const record of readJsonLog(path)) records.push(record);
  return records;
};

describe("writeFileAtomic", () => {
  it("replaces a file and leaves nothing beside it", async () => {
    const path = join(root, "a/b/file.json");
    await writeFileAtomic(path, "one");
    await writeFileAtomic(path, "two");
    expect(await readFile(path, "utf8")).toBe("two");
    expect(await readdir(join(root, "a/b"))).toEqual(["file.json"]);
  });

  it("leaves the old file and no leftovers when it fails", async () => {
    const path = join(root, "taken");
    await mkdir(join(path, "inside"), { recursive: true });
    await expect(writeFileAtomic(path, "x")).rejects.toThrow(path);
    expect(await readdir(root)).toEqual(["taken"]);
  });

  it("names the path and what to do", async () => {
    await writeFile(join(root, "file"), "");
    await expect(writeFileAtomic(join(root, "file/below"), "x")).rejects.toMatchObject({ code: "NOT_A_FOLDER" });
  });

  it.skipIf(process.getuid?.() === 0)(
    "says when permission is missing (not as root, who may do anything)",
    async () => {
      await chmod(root, 0o500);
      await expect(writeFileAtomic(join(root, "x"), "x")).rejects.toMatchObject({ code: "NO_PERMISSION" });
    },
  );

  it("recognises its own leftovers", () => {
    expect(isTemporaryName(temporaryName("/x/step-000010"))).toBe(true);
    expect(isTemporaryName("/x/step-000010")).toBe(false);
  });
});

describe("makeFolder", () => {
  it("makes what is missing, also at the same time as others, and takes what is there", async () => {
    const path = join(root, "a/b/c");
    await Promise.all(Array.from({ length: 8 }, () => makeFolder(path)));
    await makeFolder(path);
    expect(await readdir(join(root, "a/b"))).toEqual(["c"]);
  });

  it.skipIf(process.platform !== "linux")("ends where a folder that exists says that it doesn't", async () => {
    await expect(makeFolder("/proc/nowhere/below")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("JSON log", () => {
  it("reads what was appended and leaves out a torn last line", async () => {
    const path = join(root, "log.jsonl");
    await appendJsonLines(path, [{ a: 1 }, { a: Number.NaN }]);
    await appendJsonLines(path, [{ a: "ü\n" }]);
    await writeFile(path, `${await readFile(path, "utf8")}{"a": 3`);
    expect(await readAll(path)).toEqual([{ a: 1 }, { a: null }, { a: "ü\n" }]);
  });

  it("keeps records whole that are long, or hold what other programs take for ends of lines", async () => {
    const path = join(root, "log.jsonl");
    const records = [{ a: "one\u2028two\u2029three\r\u0085" }, { a: "ü".repeat(200_000) }, { a: "last" }];
    await appendJsonLines(path, records);
    expect(await readAll(path)).toEqual(records);
  });

  it("goes on behind a torn last line that is cut off", async () => {
    const path = join(root, "log.jsonl");
    expect(await cutTornLine(path)).toBe(0);
    const whole = '{"a":"ü"}\n';
    const size = Buffer.byteLength(whole);
    const long = "x".repeat(200_000);
    for (const [torn, kept] of [
      ["", ""],
      ['{"a": 3', ""],
      [`{"b":"${long}`, ""],
      [`{"b":"${long}"}\n{"a"`, `{"b":"${long}"}\n`],
      ['{"b":1}', '{"b":1}\n'],
      ["\0\0\0", ""],
    ] as const) {
      await writeFile(path, whole + torn);
      expect(await cutTornLine(path)).toBe(size + kept.length);
      expect(await readFile(path, "utf8")).toBe(whole + kept);
    }
    await writeFile(path, '{"a');
    expect(await cutTornLine(path)).toBe(0);
    expect(await readFile(path, "utf8")).toBe("");
    await expect(cutTornLine(root)).rejects.toThrow(root);
  });

  it("names the line of a fault in the middle", async () => {
    const path = join(root, "log.jsonl");
    await writeFile(path, '{"a":1}\n{"a":\n{"a":2}\n');
    await expect(readAll(path)).rejects.toThrow(/log.jsonl, line 2: not JSON/);
  });

  it("says that a file is missing", async () => {
    await expect(readAll(join(root, "none"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("checksums", () => {
  it("are those of the bytes", async () => {
    await writeFile(join(root, "abc"), "abc");
    const expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    expect(await sha256OfFile(join(root, "abc"))).toBe(expected);
    expect(await digestLines(join(root, "abc"))).toEqual({ sha256: expected, lines: 1 });
    await writeFile(join(root, "lines"), "a\n\n \r\nb c\nd");
    expect((await digestLines(join(root, "lines"))).lines).toBe(3);
    expect(sha256OfJson(["a", "b"])).not.toBe(sha256OfJson(["ab"]));
  });
});
