/** Written tensors are where their header says, whatever letters it holds. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readSafetensorsFile } from "../../src/models/read-tensors.ts";
import { writeSafetensors } from "../../src/models/safetensors-writer.ts";

test.each(["weight", "gewicht.ß", "重み.0", "вес.слой.12", "🧲"])("a tensor named %s", async (name) => {
  const folder = await mkdtemp(join(tmpdir(), "rec-r1-writer-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "x.safetensors");
  const data = Float32Array.of(1, -2, 3.5, 0);
  await writeSafetensors(path, [{ name, shape: [2, 2], data }], { note: "déjà vu" });
  const headerBytes = Number((await readFile(path)).readBigUInt64LE(0));
  expect(headerBytes % 8).toBe(0);
  expect((await readFile(path)).length).toBe(8 + headerBytes + data.byteLength);
  expect((await readSafetensorsFile(path)).get(name)).toEqual({ shape: [2, 2], data });
});
