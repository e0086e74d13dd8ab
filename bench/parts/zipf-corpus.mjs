// A made-up corpus whose words are as unevenly frequent as those of a language, and queries of its words.
import { createWriteStream } from "node:fs";
import { once } from "node:events";
import { randomStream } from "../../dist/core/random.js";

const vocabulary = 200_000;
/** Words of a document. */
const [leastWords, mostWords] = [4, 40];

/**
 * Words of the queries that a trained policy wrote: 1,920 rollouts of the demo's last steps, as [words, queries].
 */
const queryLengths = [
  [3, 109], [4, 24], [5, 41], [6, 73], [7, 76], [8, 88], [9, 149], [10, 221], [11, 251], [12, 249], [13, 169],
  [14, 169], [15, 106], [16, 69], [17, 64], [18, 31], [19, 14], [20, 13], [21, 4],
]; // prettier-ignore

const consonants = "bcdfghjklmnprtvz";
const vowels = "aeiou";

/** A word that can be spoken, different for each rank, and none that a stemmer shortens. */
function wordOf(rank) {
  let word = "";
  for (let rest = rank + 80; rest > 0; rest = Math.floor(rest / 80)) {
    const syllable = rest % 80;
    word += consonants[Math.floor(syllable / 5)] + vowels[syllable % 5];
  }
  return `${word}k`;
}

/** Draws ranks with probability in proportion to 1 / (rank + 1). */
function createZipf() {
  const cumulative = new Float64Array(vocabulary);
  let sum = 0;
  for (let rank = 0; rank < vocabulary; rank++) cumulative[rank] = sum += 1 / (rank + 1);
  return (random) => {
    const wanted = random.next() * sum;
    let [low, high] = [0, vocabulary - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cumulative[middle] < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

/**
 * Writes `documents` lines of id, tab, text to `paths.tsv` and as JSON to `paths.jsonl`, and `queries` lines of words to
 * `paths.queries`. A query's words are half those of one document, half drawn like any.
 */
export async function writeCorpus(paths, { documents, queries }) {
  const draw = createZipf();
  const words = Array.from({ length: vocabulary }, (_, rank) => wordOf(rank));
  const tsv = createWriteStream(paths.tsv);
  const jsonl = createWriteStream(paths.jsonl);
  const kept = [];
  for (let i = 0; i < documents; i++) {
    const random = randomStream(1, "document", i);
    const length = leastWords + Math.floor((mostWords - leastWords) * random.next() ** 2);
    const text = Array.from({ length }, () => words[draw(random)]).join(" ");
    if (kept.length < queries && i % Math.max(1, Math.floor(documents / queries)) === 0) kept.push(text.split(" "));
    const isFull = !tsv.write(`d${i}\t${text}\n`);
    if (!jsonl.write(`{"id":"d${i}","text":"${text}"}\n`)) await once(jsonl, "drain");
    if (isFull && tsv.writableNeedDrain) await once(tsv, "drain");
  }
  const out = createWriteStream(paths.queries);
  const lengths = queryLengths.flatMap(([length, count]) => Array.from({ length: count }, () => length));
  for (let i = 0; i < queries; i++) {
    const random = randomStream(2, "query", i);
    const document = kept[i % kept.length];
    const length = lengths[random.nextInt(lengths.length)];
    const pick = () => (random.next() < 0.5 ? document[random.nextInt(document.length)] : words[draw(random)]);
    out.write(`${Array.from({ length }, pick).join(" ")}\n`);
  }
  for (const stream of [tsv, jsonl, out]) {
    stream.end();
    await once(stream, "finish");
  }
}
