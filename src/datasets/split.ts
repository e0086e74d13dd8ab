/**
 * Splits by a fixed seed, in which things that belong together stay together. Knows nothing of what is split.
 */
import { ConfigError } from "../core/errors.ts";
import { randomStream, shuffle } from "../core/random.ts";

/**
 * Size of a part: a whole number of items, a share below 1 of all items, or `rest` for what the others leave. At most
 * one part may be `rest`.
 */
export type PartSize = number | "rest";

export interface SplitOptions<T> {
  seed: number;
  /** Items that share a key, directly or over others, land in the same part. Default: each item alone. */
  keysOf?: (item: T) => readonly string[];
}

/** Groups of items that share keys, directly or over others, in order of their first item (union-find). */
export function groupByKeys<T>(items: readonly T[], keysOf: (item: T) => readonly string[]): T[][] {
  const parents = items.map((_, index) => index);
  const rootOf = (index: number): number => {
    let root = index;
    while (parents[root] !== root) root = parents[root] as number;
    for (let at = index; at !== root;) {
      const next = parents[at] as number;
      parents[at] = root;
      at = next;
    }
    return root;
  };
  const ownerByKey = new Map<string, number>();
  items.forEach((item, index) => {
    for (const key of keysOf(item)) {
      const owner = ownerByKey.get(key);
      if (owner === undefined) ownerByKey.set(key, index);
      else {
        const [a, b] = [rootOf(owner), rootOf(index)];
        parents[Math.max(a, b)] = Math.min(a, b);
      }
    }
  });
  const groups = new Map<number, T[]>();
  items.forEach((item, index) => {
    const root = rootOf(index);
    const group = groups.get(root);
    if (group) group.push(item);
    else groups.set(root, [item]);
  });
  return [...groups.values()];
}

function countsOf(parts: Readonly<Record<string, PartSize>>, total: number): Map<string, number> {
  const counts = new Map<string, number>();
  const rests = Object.entries(parts).filter(([, size]) => size === "rest");
  if (rests.length > 1) {
    const names = rests.map(([name]) => name).join(", ");
    throw new ConfigError("CONFIG_BAD_SPLIT", `Split: ${names} are all "rest"; at most one part may be.`);
  }
  let sum = 0;
  for (const [name, size] of Object.entries(parts)) {
    if (size === "rest") continue;
    const isCount = Number.isInteger(size) && size >= 0;
    if (!isCount && !(size > 0 && size < 1)) {
      const expected = 'a whole number of items, a share between 0 and 1, or "rest"';
      throw new ConfigError("CONFIG_BAD_SPLIT", `Split: size of part "${name}" is ${size}; expected ${expected}.`);
    }
    const count = isCount ? size : Math.round(size * total);
    counts.set(name, count);
    sum += count;
  }
  if (sum > total) {
    const asked = [...counts].map(([name, count]) => `${name} ${count}`).join(", ");
    throw new ConfigError("CONFIG_BAD_SPLIT", `Split: parts ask for ${sum} items (${asked}); there are ${total}.`);
  }
  return counts;
}

/**
 * Items divided into named parts: groups are shuffled by the seed and each part takes, in the order written, groups
 * that still fit. So a part has exactly the size asked for while groups small enough are left, and never more. What no
 * part has room for goes to the `rest` part, or to none where there is no such part.
 * @throws ConfigError when sizes are unusable or ask for more than there is.
 */
export function splitItems<T, P extends string>(
  items: readonly T[],
  parts: Readonly<Record<P, PartSize>>,
  options: SplitOptions<T>,
): Record<P, T[]> {
  const counts = countsOf(parts, items.length);
  const groups = options.keysOf ? groupByKeys(items, options.keysOf) : items.map((item) => [item]);
  let left = shuffle(groups, randomStream("split", options.seed));
  const names = Object.keys(parts) as P[];
  const result = Object.fromEntries(names.map((name) => [name, [] as T[]])) as Record<P, T[]>;
  for (const name of names) {
    let room = counts.get(name) ?? 0;
    left = left.filter((group) => {
      if (group.length > room) return true;
      room -= group.length;
      for (const item of group) result[name].push(item);
      return false;
    });
  }
  const rest = names.find((name) => parts[name] === "rest");
  if (rest !== undefined) result[rest] = left.flat();
  return result;
}
