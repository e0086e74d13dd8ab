/** Words of a text, the one way in which this package counts and compares them (an engine's analyzer may differ). */

/** Runs of letters and digits in lower case, in order, repetitions kept. */
export function splitWords(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

/** Words of `minLength` characters or more, each once, in the order of their first use. @param minLength default 1 */
export function distinctWords(text: string, minLength = 1): string[] {
  return [...new Set(splitWords(text))].filter((word) => word.length >= minLength);
}

/** How many words a text has, repetitions counted: the length of a query. */
export function countWords(text: string): number {
  return splitWords(text).length;
}
