/** SHA-256 of files and of values. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";

/** SHA-256 of a file's bytes, in lower-case hexadecimal. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** {@link sha256OfFile} together with the number of lines that hold more than white space. */
export async function digestLines(path: string): Promise<{ sha256: string; lines: number }> {
  const hash = createHash("sha256");
  let lines = 0;
  let isBlank = true;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer);
    for (const byte of chunk as Buffer) {
      if (byte === 10) isBlank = true;
      else if (isBlank && byte > 32) {
        isBlank = false;
        lines++;
      }
    }
  }
  return { sha256: hash.digest("hex"), lines };
}

/** SHA-256 of values' JSON, one after the other, in lower-case hexadecimal. */
export function sha256OfJson(values: Iterable<unknown>): string {
  const hash = createHash("sha256");
  for (const value of values) hash.update(`${JSON.stringify(value)}\n`);
  return hash.digest("hex");
}
