/**
 * Amazon Reviews in the layouts of 2014, 2018 (McAuley et al. 2015; Ni et al. 2019) and 2023 (Hou et al. 2024) as
 * purchases, and the splits that recommenders are compared on. Splits follow the dataset's own scripts.
 */
import type { ReadLinesOptions } from "../core/data-lines.ts";
import { DataError } from "../core/errors.ts";
import { idOf, numberOf, RowFault } from "./fields.ts";
import { reportOf, RowCounter, passReport, type DropOptions } from "./load-report.ts";
import { makeHistoryExample } from "./paper-files.ts";
import { readLenientJsonl, recogniseFile, type FileKind } from "./recognise.ts";
import { readCsv } from "./csv.ts";
import { readRows } from "./rows.ts";
import type { HistoryExample } from "./task-examples.ts";

export interface Purchase {
  user: string;
  item: string;
  /** Milliseconds since 1970. */
  timeMs: number;
}

/** Kinds of files that hold purchases, one a row. */
export const purchaseKinds: readonly FileKind[] = ["amazon-2018", "amazon-2023", "ratings"];

/** Where validation and test begin in the dataset's own split by time: 8 : 1 : 1 over all reviews of 2023. */
export const amazon2023Times = { validFromMs: 1628643414042, testFromMs: 1658002729837 } as const;

const asin = /^(B[0-9A-Z]{9}|\d{9}[\dX])$/;

/**
 * Purchases of a file: reviews (JSON Lines, or as Python prints them), or ratings in CSV with a header (2023) or without
 * one (2014: user first; 2018: item first; told apart by what looks like an item's id).
 * @throws DataError when the file can't be read, has another layout, or too many rows can't be used. @throws AbortError
 */
export async function readPurchases(path: string, options: DropOptions & ReadLinesOptions = {}): Promise<Purchase[]> {
  const { kind, format, about } = await recogniseFile(path);
  if (!purchaseKinds.includes(kind)) {
    throw new DataError("DATA_WRONG_LAYOUT", `${path}: is ${about}; expected purchases of Amazon Reviews.`, {
      details: { path, kind },
    });
  }
  const counter = new RowCounter(path);
  const purchases: Purchase[] = [];
  const rows =
    kind === "ratings"
      ? readCsv(path, { ...options, header: ["first", "second", "rating", "time"] })
      : format === "jsonl"
        ? readLenientJsonl(path)
        : readRows(path, options);
  let isItemFirst: boolean | undefined;
  for await (const { line, value } of rows) {
    counter.read();
    try {
      if (kind === "amazon-2023") {
        const timeMs = numberOf(value, "timestamp");
        purchases.push({ user: idOf(value, "user_id"), item: idOf(value, "parent_asin"), timeMs });
      } else if (kind === "amazon-2018") {
        const timeMs = numberOf(value, "unixReviewTime") * 1000;
        purchases.push({ user: idOf(value, "reviewerID"), item: idOf(value, "asin"), timeMs });
      } else {
        const [first, second] = [idOf(value, "first"), idOf(value, "second")];
        isItemFirst ??= asin.test(first) && !asin.test(second);
        const timeMs = numberOf(value, "time") * 1000;
        purchases.push({ user: isItemFirst ? second : first, item: isItemFirst ? first : second, timeMs });
      }
    } catch (error) {
      if (!(error instanceof RowFault)) throw error;
      counter.drop(error.message, line);
    }
  }
  return counter.finish(purchases, options);
}

export interface SplitPurchasesOptions {
  /**
   * `last-out`: of each user the last purchase is for the test, the one before for validation. `time`: purchases from
   * two moments on. Default `last-out`.
   */
  split?: "last-out" | "time";
  /** For `time`: where validation and test begin. Default: after 80 % and 90 % of all purchases. */
  validFromMs?: number;
  testFromMs?: number;
  /** Titles by item id. */
  titles?: ReadonlyMap<string, string>;
  /** Items of a history that are shown, the newest. Default 10. */
  maxHistory?: number;
  /** Whether only the first purchase of an item by a user counts, as in the dataset's scripts. Default true. */
  dropRepeats?: boolean;
}

export interface HistorySplits {
  train: HistoryExample[];
  valid: HistoryExample[];
  test: HistoryExample[];
}

/** Purchases as examples, one for each that has a history, in three parts; users in the order of their first purchase. */
export function splitPurchases(purchases: readonly Purchase[], options: SplitPurchasesOptions = {}): HistorySplits {
  const { split = "last-out", dropRepeats = true } = options;
  const byUser = new Map<string, Purchase[]>();
  for (const purchase of purchases) {
    const list = byUser.get(purchase.user);
    if (list) list.push(purchase);
    else byUser.set(purchase.user, [purchase]);
  }
  const times = split === "time" ? splitTimes(purchases, options) : undefined;
  const parts: HistorySplits = { train: [], valid: [], test: [] };
  for (const [user, unordered] of byUser) {
    const ordered = inOrder(unordered, dropRepeats);
    const items = ordered.map(({ item }) => item);
    for (let i = 1; i < ordered.length; i++) {
      const { item: target, timeMs } = ordered[i] as Purchase;
      const left = ordered.length - i;
      const part = times
        ? timeMs >= times.testFromMs
          ? "test"
          : timeMs >= times.validFromMs
            ? "valid"
            : "train"
        : left === 1
          ? "test"
          : left === 2
            ? "valid"
            : "train";
      const example = { id: `${user}-${i}`, user, history: items.slice(0, i), target };
      parts[part].push(makeHistoryExample(example, options));
    }
  }
  if (reportOf(purchases)) for (const part of Object.values(parts)) passReport(purchases, part);
  return parts;
}

/** By time, purchases of the same moment in the file's order. */
function inOrder(purchases: readonly Purchase[], dropRepeats: boolean): Purchase[] {
  const ordered = [...purchases].sort((a, b) => a.timeMs - b.timeMs);
  if (!dropRepeats) return ordered;
  const seen = new Set<string>();
  return ordered.filter(({ item }) => !seen.has(item) && seen.add(item));
}

function splitTimes(
  purchases: readonly Purchase[],
  { validFromMs, testFromMs }: SplitPurchasesOptions,
): { validFromMs: number; testFromMs: number } {
  const times = Float64Array.from(purchases, ({ timeMs }) => timeMs).sort();
  const after = (share: number): number =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] as number;
  return { validFromMs: validFromMs ?? after(0.8), testFromMs: testFromMs ?? after(0.9) };
}

/** Whether held-out examples are about items seen in training. */
export type ItemSetting = "transductive" | "inductive";

/**
 * Held-out examples of one setting, as the paper's authors draw them: `transductive` where history and target were all
 * seen in training, `inductive` where none of them was.
 */
export function selectSetting(
  examples: readonly HistoryExample[],
  train: readonly HistoryExample[],
  setting: ItemSetting,
): HistoryExample[] {
  const itemsOf = ({ bought, history, target }: HistoryExample): string[] => [...(bought ?? history), target];
  const seen = new Set(train.flatMap(itemsOf));
  return examples.filter((example) =>
    itemsOf(example).every((item) => seen.has(item) === (setting === "transductive")),
  );
}
