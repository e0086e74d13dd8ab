/**
 * Icon search: the catalogue of Material Design Icons (`@mdi/svg`, Apache-2.0), in which only names are indexed, and
 * the aliases that people use for them as queries. A real vocabulary gap that comes with npm.
 */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { DataError } from "../core/errors.ts";
import type { Example } from "./examples.ts";
import { splitItems } from "./split.ts";

export interface IconRow {
  /** The icon's name, such as `account-box`. */
  id: string;
  /** The name as words: `account box`. */
  title: string;
}

/** An alias as words, and the names of all icons that have it. */
export interface IconExample extends Example {
  relevant: readonly string[];
}

export interface IconDataset {
  catalogue: IconRow[];
  train: IconExample[];
  valid: IconExample[];
  test: IconExample[];
}

export interface LoadIconsOptions {
  /** Seed of the split. Default 0. */
  seed?: number;
  /** Aliases held out for the test. Default 700. */
  testSize?: number;
  /** Aliases for validation. Default 300. */
  validSize?: number;
}

interface IconMeta {
  name: string;
  aliases: string[];
}

const require = createRequire(import.meta.url);

function resolveIconFile(path: string): string {
  try {
    return require.resolve(`@mdi/svg/${path}`);
  } catch (cause) {
    throw new DataError("DATA_ICONS_MISSING", `@mdi/svg/${path} isn't installed. Run: npm install @mdi/svg`, { cause });
  }
}

function toWords(name: string): string {
  return name.replaceAll("-", " ").trim();
}

/**
 * The icon catalogue and its aliases, split by a fixed seed. An alias that several icons have is one example with all
 * of them relevant; icons that share an alias, directly or over others, land in one part, so no icon is in two.
 * An alias equal to the name of an icon that has it is left out (10 of 7,017: nothing is missing there but the word
 * itself); an alias that is the name of *another* icon stays, because people do use it so.
 * @throws DataError when `@mdi/svg` isn't installed.
 */
export async function loadIcons(options: LoadIconsOptions = {}): Promise<IconDataset> {
  const meta = JSON.parse(await readFile(resolveIconFile("meta.json"), "utf8")) as IconMeta[];
  const iconsByAlias = new Map<string, Set<string>>();
  for (const { name, aliases } of meta) {
    for (const alias of aliases) {
      const words = toWords(alias);
      if (words === "" || words === toWords(name)) continue;
      const icons = iconsByAlias.get(words) ?? new Set();
      iconsByAlias.set(words, icons.add(name));
    }
  }
  const examples: IconExample[] = [...iconsByAlias]
    .map(([query, icons]) => ({ id: query.replaceAll(" ", "-"), query, relevant: [...icons] }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const parts = splitItems(
    examples,
    { test: options.testSize ?? 700, valid: options.validSize ?? 300, train: "rest" },
    { seed: options.seed ?? 0, keysOf: ({ relevant }) => relevant },
  );
  return { catalogue: meta.map(({ name }) => ({ id: name, title: toWords(name) })), ...parts };
}

/**
 * The SVG path (the `d` attribute, on a 24 × 24 canvas) of an icon.
 * @throws DataError when there is no icon of that name.
 */
export async function iconSvg(name: string): Promise<string> {
  const unknown = (cause?: unknown): DataError =>
    new DataError("DATA_UNKNOWN_ICON", `No icon is called "${name}". Names look like "account-box".`, { cause });
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name)) throw unknown();
  let path: string;
  try {
    path = require.resolve(`@mdi/svg/svg/${name}.svg`);
  } catch (cause) {
    throw unknown(cause);
  }
  const [, d] = /<path[^>]*\sd="([^"]+)"/.exec(await readFile(path, "utf8")) ?? [];
  if (d === undefined) throw new DataError("DATA_BAD_ICON", `${path}: has no <path d="...">; reinstall @mdi/svg.`);
  return d;
}
