/** What tells several runs apart: in tables, and in the ids that figures and kept answers are found by. */
import { resolve, sep } from "node:path";
import { ConfigError } from "../core/errors.ts";

/**
 * A label for each run folder: the last part of its path, or as many of its last parts as no other folder ends with.
 * @param options what the folders were given by, such as `--run`
 * @throws ConfigError where a folder is given twice
 */
export function labelRuns(options: string, folders: readonly string[]): string[] {
  const paths = folders.map((folder) => resolve(folder));
  const again = paths.findIndex((path, i) => paths.indexOf(path) < i);
  if (again >= 0) {
    throw new ConfigError("BAD_OPTION", `${options}: the folder ${folders[again]} is given twice; give it once.`);
  }
  const parts = paths.map((path) => path.split(sep).filter((part) => part !== ""));
  const tail = (path: readonly string[], length: number): string => path.slice(-length).join("/");
  return parts.map((own) => {
    let length = 1;
    const isShared = (): boolean => parts.some((other) => other !== own && tail(other, length) === tail(own, length));
    while (length < own.length && isShared()) length++;
    return tail(own, length);
  });
}
