/**
 * Reranking: a recommender gives candidates for the user's words, and what the policy writes decides their order, by
 * naming it (`[3] > [1] > [2]`) or by describing what should come first. Candidates stay the same for all completions
 * of a prompt, so the reward tells orders apart.
 *
 * What is searched for is made by {@link toRerankQuery} from the user's words and the policy's answer. Any other text
 * is the user's words alone: candidates in the order that their recommender gives them, the baseline.
 */
import { sha256OfJson } from "../../core/checksum.ts";
import { ConfigError } from "../../core/errors.ts";
import { Lifetime } from "../lifetime.ts";
import type { Hit, Query, Recommender, SearchOptions } from "../recommender.ts";
import { validateAnswers } from "../validate.ts";
import { parseOrder, putFirst } from "./order.ts";

export { addCandidates, listCandidates, type AddCandidatesOptions } from "./candidates.ts";
export { parseOrder } from "./order.ts";

export interface RerankOptions {
  /** Gives the candidates. Closed with the reranker. */
  candidates: Recommender;
  /** `order`: answers name candidates by their numbers; `description`: they say what should come first. */
  by: "order" | "description";
  /** Candidates that are put in a new order; hits after them stay where they are. Default 20. */
  topCandidates?: number;
  /** With `description`: who is asked for it. Candidates come first in the order in which it finds them. Default: `candidates`. */
  describedBy?: Recommender;
  /** With `description`: hits of it that are looked through for candidates. Default 1,000. */
  depth?: number;
  /** Short name for logs and reports. Default `rerank`. */
  name?: string;
}

/** Begins the texts that {@link toRerankQuery} makes. */
const mark = "rec-r1:rerank:";

/**
 * The text to search for: the user's words and the policy's answer. For a task's `parse`:
 * `parse: (completion, example) => toRerankQuery(example.query, completion)`.
 */
export function toRerankQuery(words: string, answer: string): string {
  return mark + JSON.stringify([words, answer]);
}

/** Words and answer of a query; the answer is undefined where the text is the user's words alone. */
function readRerankQuery(text: string): { words: string; answer: string | undefined } {
  if (text.startsWith(mark)) {
    try {
      const [words, answer] = JSON.parse(text.slice(mark.length)) as unknown[];
      if (typeof words === "string" && typeof answer === "string") return { words, answer };
    } catch {
      // Words that only begin like one of ours are words.
    }
  }
  return { words: text, answer: undefined };
}

function checkCount(name: string, option: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw new ConfigError(
    "CONFIG_BAD_NUMBER",
    `${name}: ${option} is ${String(value)}; expected a whole number, 1 or more.`,
  );
}

/**
 * A recommender whose hits are another's, the first `topCandidates` of them in the policy's order.
 * @throws ConfigError
 */
export function rerank(options: RerankOptions): Recommender {
  const { candidates: source, by, describedBy, name = "rerank" } = options;
  const top = checkCount(name, "topCandidates", options.topCandidates ?? 20);
  const depth = checkCount(name, "depth", options.depth ?? 1000);
  if (by !== "order" && by !== "description") {
    throw new ConfigError("CONFIG_BAD_RERANK", `${name}: by is ${String(by)}; expected "order" or "description".`);
  }
  if (describedBy && by === "order") {
    throw new ConfigError("CONFIG_BAD_RERANK", `${name}: describedBy is of use with by: "description" only.`);
  }
  const finder = describedBy ?? source;
  const lifetime = new Lifetime(name);

  /** Places of candidates that an answer puts first. */
  const placesByDescription = async (
    queries: readonly { answer: string; candidates: readonly Hit[] }[],
    signal: AbortSignal | undefined,
  ): Promise<number[][]> => {
    const answers = await askEach(
      finder,
      queries.map(({ answer }) => answer),
      depth,
      signal,
    );
    return queries.map(({ candidates, answer }) => {
      const placeById = new Map(candidates.slice(0, top).map(({ id }, place) => [id, place]));
      return (answers.get(answer) as Hit[])
        .map(({ id }) => placeById.get(id))
        .filter((place): place is number => place !== undefined);
    });
  };

  const search = async (queries: readonly Query[], { topK, signal }: SearchOptions): Promise<Hit[][]> => {
    const parts = queries.map(({ text }) => readRerankQuery(text));
    const found = await askEach(
      source,
      parts.map(({ words }) => words),
      Math.max(topK, top),
      signal,
    );
    const asked = parts.map(({ words, answer }) => ({ answer, candidates: found.get(words) as Hit[] }));
    const answered = asked.filter((query): query is typeof query & { answer: string } => query.answer !== undefined);
    const places_Q =
      by === "order"
        ? answered.map(({ answer, candidates }) => parseOrder(answer, Math.min(top, candidates.length)) ?? [])
        : await placesByDescription(answered, signal);
    const placesOf = new Map(answered.map((query, q) => [query, places_Q[q] as number[]]));
    return asked.map((query) => {
      const places = placesOf.get(query as (typeof answered)[number]);
      const ordered = (places ? putFirst(query.candidates, places) : query.candidates).slice(0, topK);
      // The old scores belong to the old order.
      return ordered.map((hit, rank) => ({ ...hit, score: places ? ordered.length - rank : hit.score }));
    });
  };

  return {
    name,
    async search(queries, searchOptions) {
      lifetime.admit(searchOptions);
      if (queries.length === 0) return [];
      return validateAnswers(
        name,
        queries,
        await lifetime.track(search(queries, searchOptions)),
        searchOptions.topK,
      ).map((hits) => hits.slice());
    },
    async fingerprint() {
      const parts = [await source.fingerprint(), describedBy ? await describedBy.fingerprint() : null];
      return `${name}:${sha256OfJson([by, top, by === "order" ? null : depth, ...parts]).slice(0, 32)}`;
    },
    ...(source.has ? { has: (id: string) => (source.has as (id: string) => Promise<boolean>)(id) } : {}),
    close: () =>
      lifetime.end(async () => {
        await source.close();
        await describedBy?.close();
      }),
  };
}

/** Hits by text; equal texts are asked once. */
async function askEach(
  recommender: Recommender,
  texts: readonly string[],
  topK: number,
  signal: AbortSignal | undefined,
): Promise<Map<string, Hit[]>> {
  const unique = [...new Set(texts)];
  const queries = unique.map((text) => ({ text }));
  const answers =
    queries.length === 0 ? [] : await recommender.search(queries, { topK, ...(signal ? { signal } : {}) });
  const checked = validateAnswers(recommender.name, queries, answers, topK);
  return new Map(unique.map((text, i) => [text, checked[i] as Hit[]]));
}
