/**
 * From rows (tokens) to the padded slots in which attention happens, head by head, and back, as indices for gathers.
 */
import type { TensorData } from "../../graph/session.ts";

export interface HeadCounts {
  heads: number;
  kvHeads: number;
}

/** Slots of one level: the prefix, the rest of the prompts, or their completions. */
export interface SlotLevel {
  /** Prompts; 1 for the prefix. */
  outer: number;
  /** Completions of each, where the level has them. */
  members: number | undefined;
  /** Slots of each. */
  length: number;
  /** Row in each slot, −1 for padding, `[outer, members, length]`. */
  rows: Int32Array;
}

/** A level of nothing but padding. */
export function emptyLevel(outer: number, members: number | undefined, length: number): SlotLevel {
  return { outer, members, length, rows: new Int32Array(outer * (members ?? 1) * length).fill(-1) };
}

/**
 * The index inputs of attention.ts, by name: for each level `LEVELQueryRows` and `LEVELKeyRows`, and `rowQuerySlots`,
 * `rowKeySlots`.
 * @param rowCount rows, N
 * @param padding the row that padding reads; where it has no slot of its own, its slot is one of padding
 */
export function indexSlots(
  levels: Readonly<Record<string, SlotLevel>>,
  rowCount: number,
  padding: number,
  { heads, kvHeads }: HeadCounts,
): Record<string, TensorData<Int32Array>> {
  const names = Object.keys(levels);
  const queries = indexHeads(Object.values(levels), rowCount, padding, kvHeads, heads / kvHeads);
  const keys = indexHeads(Object.values(levels), rowCount, padding, kvHeads, 1);
  return {
    ...Object.fromEntries(names.map((name, i) => [`${name}QueryRows`, queries.levelRows[i] as TensorData<Int32Array>])),
    ...Object.fromEntries(names.map((name, i) => [`${name}KeyRows`, keys.levelRows[i] as TensorData<Int32Array>])),
    rowQuerySlots: queries.rowSlots,
    rowKeySlots: keys.rowSlots,
  };
}

/** Of `kvHeads · group` heads: where each slot finds its row's head, and where each row's heads find their slots. */
function indexHeads(
  levels: readonly SlotLevel[],
  rowCount: number,
  padding: number,
  kvHeads: number,
  group: number,
): { levelRows: TensorData<Int32Array>[]; rowSlots: TensorData<Int32Array> } {
  const heads = kvHeads * group;
  const rowSlots = new Int32Array(rowCount * heads).fill(-1);
  const paddingSlots = new Int32Array(heads);
  let first = 0;
  const levelRows = levels.map(({ outer, members, length, rows }) => {
    const data = new Int32Array(rows.length * heads);
    let slot = 0;
    for (let o = 0; o < outer; o++) {
      for (let kv = 0; kv < kvHeads; kv++) {
        for (let member = 0; member < (members ?? 1); member++) {
          for (let g = 0; g < group; g++) {
            const head = kv * group + g;
            const start = (o * (members ?? 1) + member) * length;
            for (let t = 0; t < length; t++, slot++) {
              const row = rows[start + t] as number;
              data[slot] = (row < 0 ? padding : row) * heads + head;
              if (row < 0) paddingSlots[head] = first + slot;
              else rowSlots[row * heads + head] = first + slot;
            }
          }
        }
      }
    }
    first += slot;
    return { shape: [outer, kvHeads, ...(members === undefined ? [] : [members]), group * length], data };
  });
  for (let head = 0; head < heads; head++) {
    const at = padding * heads + head;
    if (rowSlots[at] === -1) rowSlots[at] = paddingSlots[head] as number;
  }
  return { levelRows, rowSlots: { shape: [rowCount, heads], data: rowSlots } };
}
