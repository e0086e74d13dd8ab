/** From a catalogue and judgments to the files of a project: ids are looked up, queries split, texts written. */
import { existsSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { makeFolder, writeFileAtomic } from "../../core/atomic-write.ts";
import { createRowChecker, emptyCatalogueError } from "../../core/catalogue.ts";
import type { JsonObject, ReadLinesOptions } from "../../core/data-lines.ts";
import { ConfigError, DataError } from "../../core/errors.ts";
import { toExample, withoutIrrelevant } from "../../datasets/judgments/index.ts";
import type { JudgedQuery } from "../../datasets/judgments/index.ts";
import { readRows } from "../../datasets/rows.ts";
import { splitItems } from "../../datasets/split.ts";
import type { CatalogueLook } from "./look-at-catalogue.ts";

/** Files that a project is made of, besides a catalogue that had to be copied. */
export const projectFiles = ["task.ts", "README.md", "train.jsonl", "valid.jsonl", "test.jsonl"] as const;
const copiedCatalogue = "catalogue.jsonl";

/** Files of a project that are there already. */
export function findExisting(folder: string): string[] {
  return [...projectFiles, copiedCatalogue].filter((name) => existsSync(join(folder, name)));
}

export interface CheckedCatalogue {
  ids: ReadonlySet<string>;
  /** The catalogue as JSON Lines where it has to be written anew; undefined: it can be used as it lies there. */
  copy: string[] | undefined;
}

/**
 * Every row of a catalogue, checked: ids, texts. Catalogues in other formats than JSON Lines, and those in which some items
 * lack a text field, are made into one in which nothing is missing.
 * @throws DataError on rows without an id, ids used twice, texts that are none. @throws AbortError
 */
export async function checkCatalogue(
  { path, format }: CatalogueLook,
  { id, text }: { id: string; text: readonly string[] },
  options: ReadLinesOptions,
): Promise<CheckedCatalogue> {
  const checker = createRowChecker({ idField: id, textFields: text }, (line) => `${path} line ${line}`);
  const ids = new Set<string>();
  const lines: string[] = [];
  let isComplete = format === "jsonl";
  for await (const { line, value } of readRows(path, { ...options, format })) {
    const complete: JsonObject = { ...value };
    for (const field of text) {
      if (Object.hasOwn(value, field)) continue;
      complete[field] = null;
      isComplete = false;
    }
    ids.add(checker.check(complete, line).id);
    lines.push(`${JSON.stringify(complete)}\n`);
  }
  if (ids.size === 0) throw emptyCatalogueError(path);
  return { ids, copy: isComplete ? undefined : lines };
}

/** Largest share of judged ids that may be missing from the catalogue: more are ids of another kind. */
const mostMissing = 0.5;

/**
 * Judgments of items that the catalogue has; queries of which nothing is left are left out.
 * @throws DataError `DATA_RELEVANT_NOT_IN_CATALOGUE` when most are missing
 */
export function keepKnown(
  queries: readonly JudgedQuery[],
  ids: ReadonlySet<string>,
): { queries: JudgedQuery[]; missing: number; leftOut: number } {
  let [total, missing] = [0, 0];
  let example = "";
  const kept = queries.map(({ gains, ...rest }) => {
    const known = [...gains].filter(([item]) => {
      total++;
      if (ids.has(item)) return true;
      missing++;
      example ||= item;
      return false;
    });
    return { ...rest, gains: new Map(known) };
  });
  if (missing > mostMissing * total) {
    const sample = [...ids].slice(0, 3).join(", ");
    throw new DataError(
      "DATA_RELEVANT_NOT_IN_CATALOGUE",
      `${missing} of ${total} judged ids are not in the catalogue ("${example}", for one; the catalogue has ids such as ${sample}). Is it the same kind of id? Name the catalogue's field with --id.`,
    );
  }
  const usable = kept.filter(({ gains }) => [...gains.values()].some((gain) => gain > 0));
  return { queries: usable, missing, leftOut: queries.length - usable.length };
}

export interface QuerySplits {
  train: JudgedQuery[];
  valid: JudgedQuery[];
  test: JudgedQuery[];
}

/** Fewest queries that can be split into something to learn from and something to measure on. */
const fewestQueries = 10;

/**
 * Queries in three parts, about 70, 10 and 20 in a hundred, at most 300 and 1,000 in the last two. Queries of the same words
 * stay together.
 * @throws DataError `DATA_TOO_FEW`
 */
export function splitQueries(queries: readonly JudgedQuery[], seed: number): QuerySplits {
  if (queries.length < fewestQueries) {
    throw new DataError(
      "DATA_TOO_FEW",
      `There are ${queries.length} queries with something relevant; ${fewestQueries} are needed to learn from some and measure on others, and a few hundred to learn anything.`,
    );
  }
  const valid = Math.max(2, Math.min(300, Math.round(queries.length * 0.1)));
  const test = Math.max(2, Math.min(1000, Math.round(queries.length * 0.2)));
  const keysOf = ({ query }: JudgedQuery): string[] => [
    [...new Set(query.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [query])].sort().join(" "),
  ];
  return splitItems(queries, { test, valid, train: "rest" }, { seed, keysOf });
}

/** Writes the splits, and the catalogue where it has to be copied. @returns the catalogue's path as the task file has it */
export async function writeData(
  folder: string,
  { catalogue, copy, splits }: { catalogue: string; copy: string[] | undefined; splits: QuerySplits },
): Promise<string> {
  await makeFolder(folder);
  for (const name of ["train", "valid", "test"] as const) {
    const lines = splits[name].map((query) => `${JSON.stringify(toExample(withoutIrrelevant(query)))}\n`);
    await writeFileAtomic(join(folder, `${name}.jsonl`), lines.join(""));
  }
  if (copy) {
    await writeFileAtomic(join(folder, copiedCatalogue), copy.join(""));
    return copiedCatalogue;
  }
  return relative(resolve(folder), resolve(catalogue)).split(sep).join("/");
}

/** Keeps what is about to be written over beside it, as `NAME.bak`. */
export async function keepBackups(folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) await copyFile(join(folder, name), join(folder, `${name}.bak`));
}

/** @throws ConfigError `FILE_EXISTS` naming them */
export function refuseExisting(folder: string, existing: readonly string[]): never {
  throw new ConfigError(
    "FILE_EXISTS",
    `${folder} has ${existing.join(", ")} already. Choose another folder, or write over them with --force; what was there is kept as NAME.bak.`,
  );
}

/** A name for a task from the folder it lies in. */
export function nameOfFolder(folder: string): string {
  const path = resolve(folder);
  return (
    path
      .slice(dirname(path).length)
      .replace(/^[/\\]+/, "")
      .replace(/[^\w.-]+/g, "-") || "search"
  );
}
