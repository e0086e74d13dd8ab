/** What becomes of single words on their way into the engine: dropped, glued to syntax, lost by their place. */
import { fault, fine, skipped } from "./diagnosis.ts";
import type { CheckOutcome } from "./diagnosis.ts";
import { hitsOf, percent, quote } from "./patient.ts";
import type { Patient } from "./patient.ts";

/** Words asked for alone, and pairs of them. */
const wordLimit = 60;
const pairLimit = 12;

/** Writings of a word that must find what the word finds. */
const writings: readonly ((word: string) => string)[] = [
  (word) => `${word}:`,
  (word) => `"${word}`,
  (word) => `"${word}"`,
  (word) => `(${word}`,
  (word) => `${word})`,
  (word) => `-${word}`,
  (word) => `+${word}`,
  (word) => `${word},`,
  (word) => `${word}*`,
  (word) => `${word}~`,
  (word) => `${word}/`,
  (word) => `[${word}]`,
  (word) => `${word}!`,
  (word) => `${word} AND`,
  (word) => `NOT ${word}`,
];

/** All checks of single words. */
export async function checkWords<E extends object>(patient: Patient<E>): Promise<CheckOutcome[]> {
  const words = patient.plainWords.slice(0, wordLimit);
  const names = ["words-dropped", "words-glued", "letter-case", "first-word-lost"];
  if (words.length < 4) {
    return names.map((name) =>
      skipped(name, "Hits show no text of their items, so that no word is known to be in the catalogue."),
    );
  }
  const alone = await patient.ask(words);
  const found = words.filter((word) => hitsOf(alone.get(word)).length > 0);
  if (found.length >= 4) {
    return [
      checkDropped(words, found),
      await checkGlued(patient, found),
      await checkCase(patient, found),
      await checkPlaces(patient, found, (word) => word),
    ];
  }
  // A searcher that loses a word of every query finds nothing for one word, and finds it when it is written twice.
  const twice = (word: string): string => `${word} ${word}`;
  const doubled = await patient.ask(words.map(twice));
  const foundTwice = words.filter((word) => hitsOf(doubled.get(twice(word))).length > 0);
  const few = "Too few words find anything alone.";
  return [
    checkDropped(words, found),
    skipped("words-glued", few),
    skipped("letter-case", few),
    foundTwice.length < 4 ? skipped("first-word-lost", few) : await checkPlaces(patient, foundTwice, twice),
  ];
}

/** Words of found items that find nothing when asked for alone. */
function checkDropped(words: readonly string[], found: readonly string[]): CheckOutcome {
  const check = "words-dropped";
  const dropped = words.filter((word) => !found.includes(word));
  if (dropped.length === 0)
    return fine(check, `${words.length} words of the catalogue find something when asked for alone.`);
  return fault(dropped.length > 0.1 * words.length ? "error" : "warning", check, {
    message: `${dropped.length} of ${words.length} plain words that items have (${percent(dropped.length, words.length)}) find nothing alone.`,
    evidence: dropped.map(quote),
    advice:
      "Look at stop words, minimum word length, stemming and the language of the analyzer, for items and queries alike.",
  });
}

/** Punctuation that changes what a word finds. */
async function checkGlued<E extends object>({ ask }: Patient<E>, found: readonly string[]): Promise<CheckOutcome> {
  const check = "words-glued";
  const words = found.slice(0, 3);
  const alone = await ask(words);
  const evidence: string[] = [];
  let lost = 0;
  for (const write of writings) {
    const queries = words.map(write);
    const outcomes = await ask(queries);
    const losing = words.filter((word, i) => {
      const outcome = outcomes.get(queries[i] as string);
      const wanted = new Set(hitsOf(alone.get(word)).map(({ id }) => id));
      return !hitsOf(outcome).some(({ id }) => wanted.has(id));
    });
    if (losing.length < words.length) continue;
    lost++;
    const first = outcomes.get(queries[0] as string);
    evidence.push(
      `${quote(queries[0] as string)} ${first && "failure" in first ? `fails: ${first.failure}` : "loses the word"}`,
    );
  }
  if (lost === 0) return fine(check, `A word finds the same in ${writings.length} writings with punctuation.`);
  return fault("error", check, {
    message: `Punctuation is read as syntax: in ${lost} of ${writings.length} writings the word is lost.`,
    evidence,
    advice:
      "Escape the text, or use a query type that takes plain words. A policy learns to avoid or to abuse syntax instead of learning the catalogue's words.",
  });
}

async function checkCase<E extends object>({ ask }: Patient<E>, found: readonly string[]): Promise<CheckOutcome> {
  const check = "letter-case";
  const words = found.slice(0, 10);
  const upper = words.map((word) => word.toUpperCase());
  const outcomes = await ask(upper);
  const lost = upper.filter((word) => hitsOf(outcomes.get(word)).length === 0);
  if (lost.length === 0) return fine(check, "Capital letters find what small ones find.");
  return fault(lost.length === words.length ? "error" : "warning", check, {
    message: `${lost.length} of ${words.length} words find nothing in capital letters.`,
    evidence: lost.map(quote),
    advice: "Lower the case of items and queries alike.",
  });
}

/**
 * Words that are lost by their place: `first second` finds what `second` finds and nothing of `first`. A searcher that
 * sends `(contents:first second)` does that.
 *
 * @param write how a word is asked for so that it is found alone
 */
async function checkPlaces<E extends object>(
  { ask }: Patient<E>,
  found: readonly string[],
  write: (word: string) => string,
): Promise<CheckOutcome> {
  const check = "first-word-lost";
  const alone = await ask(found.map(write));
  const ids = (word: string): string[] => hitsOf(alone.get(write(word))).map(({ id }) => id);
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < found.length && pairs.length < pairLimit; i++) {
    for (let j = found.length - 1; j > i; j--) {
      const [a, b] = [found[i] as string, found[j] as string];
      const other = new Set(ids(b));
      if (ids(a).some((id) => other.has(id)) || pairs.some((pair) => pair.includes(b))) continue;
      pairs.push([a, b]);
      break;
    }
  }
  if (pairs.length < 3) return skipped(check, "Too few words find different items.");
  const outcomes = await ask(pairs.flatMap(([a, b]) => [`${a} ${b}`, `${b} ${a}`]));
  let [firstLost, lastLost, bothNeeded] = [0, 0, 0];
  const evidence: string[] = [];
  for (const [a, b] of pairs) {
    const [ab, ba] = [`${a} ${b}`, `${b} ${a}`].map((query) => hitsOf(outcomes.get(query)).map(({ id }) => id));
    const finds = (list: readonly string[] | undefined, word: string): boolean => {
      const wanted = new Set(ids(word));
      return (list ?? []).some((id) => wanted.has(id));
    };
    if (ab?.length === 0 && ba?.length === 0) bothNeeded++;
    else if (!finds(ab, a) && finds(ab, b) && finds(ba, a) && !finds(ba, b)) {
      firstLost++;
      evidence.push(`${quote(`${a} ${b}`)} finds what ${quote(b)} finds, ${quote(`${b} ${a}`)} what ${quote(a)} finds`);
    } else if (finds(ab, a) && !finds(ab, b) && !finds(ba, a) && finds(ba, b)) {
      lastLost++;
      evidence.push(`${quote(`${a} ${b}`)} finds nothing of ${quote(b)}`);
    }
  }
  const place = firstLost >= lastLost ? "first" : "last";
  const lost = Math.max(firstLost, lastLost);
  if (lost >= 0.5 * pairs.length) {
    return fault("error", check, {
      message: `The ${place} word of a query is lost (in ${lost} of ${pairs.length} pairs of words).`,
      evidence,
      advice:
        "Look at how the query is put together, such as `field:` before a text of several words. To measure such a searcher as it is, use --mode compatible.",
    });
  }
  if (bothNeeded >= 0.5 * pairs.length) {
    return fault("warning", check, {
      message: `Two words that find items alone find nothing together (in ${bothNeeded} of ${pairs.length} pairs): every word must match.`,
      evidence: pairs.map(([a, b]) => quote(`${a} ${b}`)),
      advice: "Long queries then find nothing. Let any word match, if the engine is to be asked in many words.",
    });
  }
  return fine(check, `Both words of a query count, whichever comes first (${pairs.length} pairs).`);
}
