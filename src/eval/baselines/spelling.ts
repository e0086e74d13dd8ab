/**
 * Spelling repair from the catalogue's own words: a word that no item has becomes, or is joined by, the most frequent
 * word within a small edit distance. Candidates are found by deletions (Garbe 2012, "SymSpell").
 */
import type { Collection } from "./collection.ts";

export interface SpellingParameters {
  /** Edits (insertion, deletion, substitution, transposition) that are repaired: 1, or 2 in words of 8 letters or more. */
  maxEdits: number;
  /** `replace` the word, or `add` the repaired one behind it. */
  mode: "replace" | "add";
}

/** Words shorter than this are left alone: any of them is near any other. */
const shortestWord = 4;
const shortestForTwo = 8;

export class SpellingRepair {
  private readonly collection: Collection;
  /** Words of the catalogue by what is left of them after up to two deletions. */
  private readonly byDeletion = new Map<string, string[]>();

  constructor(collection: Collection) {
    this.collection = collection;
    for (const word of collection.vocabulary.keys()) {
      if (word.length < shortestWord || !/^\p{L}+$/u.test(word)) continue;
      for (const rest of deletionsOf(word, editsFor(word, 2))) {
        const words = this.byDeletion.get(rest);
        if (words) words.push(word);
        else this.byDeletion.set(rest, [word]);
      }
    }
  }

  /** A query with its unknown words repaired; everything else is left as it is. */
  repair(query: string, { maxEdits, mode }: SpellingParameters): string {
    return query.replace(/\p{L}+/gu, (written) => {
      const better = this.nearest(written.toLowerCase(), maxEdits);
      if (better === undefined) return written;
      return mode === "replace" ? better : `${written} ${better}`;
    });
  }

  /** The nearest catalogue word of one that the catalogue lacks; nearer ones first, then more frequent ones. */
  nearest(word: string, maxEdits: number): string | undefined {
    if (word.length < shortestWord || this.collection.documentsWith(word) > 0) return undefined;
    const limit = editsFor(word, maxEdits);
    const candidates = new Set<string>();
    for (const rest of deletionsOf(word, limit)) {
      for (const candidate of this.byDeletion.get(rest) ?? []) candidates.add(candidate);
    }
    let best: { word: string; edits: number; items: number } | undefined;
    for (const candidate of candidates) {
      const edits = editDistance(word, candidate);
      if (edits > limit) continue;
      const items = this.collection.documentsWith(candidate);
      const isBetter =
        !best ||
        edits < best.edits ||
        (edits === best.edits && (items > best.items || (items === best.items && candidate < best.word)));
      if (isBetter) best = { word: candidate, edits, items };
    }
    return best?.word;
  }
}

function editsFor(word: string, maxEdits: number): number {
  return word.length >= shortestForTwo ? maxEdits : Math.min(1, maxEdits);
}

/** A word, and what is left of it after up to `count` deletions. */
function deletionsOf(word: string, count: number): Set<string> {
  const all = new Set([word]);
  let last = [word];
  for (let depth = 0; depth < count; depth++) {
    const next: string[] = [];
    for (const text of last) {
      for (let i = 0; i < text.length; i++) {
        const rest = text.slice(0, i) + text.slice(i + 1);
        if (all.has(rest)) continue;
        all.add(rest);
        next.push(rest);
      }
    }
    last = next;
  }
  return all;
}

/** Optimal string alignment distance: Levenshtein's with transpositions of neighbours (Damerau 1964). */
export function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const above = rows[i - 1] as number[];
      const change = (above[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let least = Math.min(change, (above[j] as number) + 1, (row[j - 1] as number) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, ((rows[i - 2] as number[])[j - 2] as number) + 1);
      }
      row.push(least);
    }
    rows.push(row);
  }
  return (rows[a.length] as number[])[b.length] as number;
}
