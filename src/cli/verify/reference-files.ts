/** Reads fixtures as other programs wrote them, with errors that name the file and what is wrong in it. */
import { readFile, stat } from "node:fs/promises";
import { z } from "zod";
import { describeFileError } from "../../core/atomic-write.ts";
import { DataError } from "../../core/errors.ts";

/** Whether something is at `path`. */
export function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** A JSON file that must fit `schema`. @throws DataError */
export async function readReference<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  const text = await readText(path);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new DataError("DATA_BAD_FIXTURE", `${path}: not JSON: ${(cause as Error).message}`, { cause });
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new DataError("DATA_BAD_FIXTURE", `${path}: ${z.prettifyError(parsed.error).replaceAll("\n", " ")}`);
}

/** The lines of a text file, without empty ones. @throws DataError */
export async function readTextLines(path: string): Promise<string[]> {
  return (await readText(path)).split(/\r?\n/).filter((line) => line !== "");
}

async function readText(path: string): Promise<string> {
  return readFile(path, "utf8").catch((error: unknown) => {
    throw describeFileError(error, "read", path);
  });
}
