/** What breaks a search baseline quietly: how the recommender answers whole queries. */
import { countWords } from "../../core/words.ts";
import type { Hit } from "../../recommenders/recommender.ts";
import type { SearchOutcome } from "../../rl/search.ts";
import { fault, fine, skipped } from "./diagnosis.ts";
import type { CheckOutcome } from "./diagnosis.ts";
import { hitsOf, percent, quote, relevantOf } from "./patient.ts";
import type { Patient } from "./patient.ts";

const idsOf = (hits: readonly Hit[] | undefined): string => JSON.stringify((hits ?? []).map(({ id }) => id));

/** Words of the sample's examples, searched for as they are. */
export type RawAnswers = ReadonlyMap<string, SearchOutcome>;

/** Queries that the recommender fails on. */
export function checkFailures(raw: RawAnswers): CheckOutcome {
  const check = "search-fails";
  const failures = [...raw].flatMap(([query, outcome]) =>
    "failure" in outcome ? [`${quote(query)}: ${outcome.failure}`] : [],
  );
  if (raw.size === 0) return skipped(check, "There are no words to search for.");
  if (failures.length === 0) return fine(check, `${raw.size} queries were answered.`);
  return fault(failures.length > 0.2 * raw.size ? "error" : "warning", check, {
    message: `The recommender failed on ${failures.length} of ${raw.size} queries.`,
    evidence: failures,
    advice: "Repair it first: failed queries are left out of every mean.",
  });
}

/** Answers that aren't what they must be: too many hits, scores that rise or aren't numbers. */
export async function checkAnswers<E extends object>(
  patient: Patient<E>,
  queries: readonly string[],
): Promise<CheckOutcome> {
  const check = "bad-answers";
  const { task, askOnce } = patient;
  const asked = queries.slice(0, 10);
  const answers = await askOnce(asked);
  if (!answers) return skipped(check, "The recommender failed.");
  const evidence = asked.flatMap((query, i) => {
    const hits = answers[i] ?? [];
    const scores = hits.map(({ score }) => score);
    const problems = [
      hits.length > task.topK ? `${hits.length} hits where ${task.topK} were asked for` : "",
      scores.some((score) => !Number.isFinite(score)) ? "a score that is no finite number" : "",
      scores.some((score, rank) => rank > 0 && score > (scores[rank - 1] as number)) ? "scores that rise" : "",
      new Set(hits.map(({ id }) => id)).size < hits.length ? "an id twice" : "",
    ].filter((problem) => problem !== "");
    return problems.length > 0 ? [`${quote(query)}: ${problems.join(", ")}`] : [];
  });
  if (evidence.length === 0) return fine(check, "Hits come best first, each once, no more than asked for.");
  return fault("error", check, {
    message: `${evidence.length} of ${asked.length} answers are malformed.`,
    evidence,
    advice: "Mend the recommender's adapter: metrics take the order of hits as it comes.",
  });
}

/**
 * Raw queries that find nothing; one-word queries apart, since a lost word leaves them nothing. That a word is lost, and
 * not just unknown to the catalogue, shows in queries of several words that find something: none of theirs does alone.
 */
export async function checkEmpty<E extends object>(patient: Patient<E>, raw: RawAnswers): Promise<CheckOutcome> {
  const check = "empty-results";
  const answered = [...raw].filter(([, outcome]) => "hits" in outcome);
  const empty = answered.filter(([, outcome]) => hitsOf(outcome).length === 0).map(([query]) => query);
  const single = answered.map(([query]) => query).filter((query) => countWords(query) === 1);
  const emptySingle = single.filter((query) => empty.includes(query));
  if (answered.length === 0) return skipped(check, "No query was answered.");
  if (empty.length === 0) return fine(check, `All ${answered.length} raw queries find something.`);
  const found = answered.map(([query]) => query).filter((query) => !empty.includes(query));
  const lostSingles =
    single.length >= 3 &&
    emptySingle.length === single.length &&
    found.length > 0 &&
    !(await findsAlone(patient, found));
  return fault(lostSingles || empty.length > 0.5 * answered.length ? "error" : "warning", check, {
    message: lostSingles
      ? `All ${single.length} one-word queries find nothing, and others do find something: a word gets lost.`
      : `${empty.length} of ${answered.length} raw queries (${percent(empty.length, answered.length)}) find nothing.`,
    evidence: empty.map(quote),
    advice: "Look at how the text becomes a query: analyzer, language, fields, operators.",
  });
}

/** Whether a word of some query finds something alone. */
async function findsAlone<E extends object>({ askOnce }: Patient<E>, queries: readonly string[]): Promise<boolean> {
  const words = queries.slice(0, 10).flatMap((query) => query.split(/\s+/).filter((word) => word !== ""));
  const answers = await askOnce([...new Set(words)], 1);
  return answers?.some((hits) => hits.length > 0) ?? false;
}

/** The same question must have the same answer, and an answer must belong to its question. */
export async function checkRepeatable<E extends object>(
  { askOnce }: Patient<E>,
  queries: readonly string[],
): Promise<CheckOutcome[]> {
  const asked = queries.slice(0, 8);
  if (asked.length < 2)
    return [skipped("not-repeatable", "Too few queries."), skipped("batch-order", "Too few queries.")];
  const [first, again] = [await askOnce(asked), await askOnce(asked)];
  const alone: (Hit[] | undefined)[] = [];
  for (const query of asked) alone.push((await askOnce([query]))?.[0]);
  if (!first || !again || alone.includes(undefined)) {
    return [skipped("not-repeatable", "The recommender failed."), skipped("batch-order", "The recommender failed.")];
  }
  const changed = asked.filter((_, i) => idsOf(first[i]) !== idsOf(again[i]));
  const mixed = asked.filter((_, i) => idsOf(first[i]) !== idsOf(alone[i]));
  return [
    changed.length === 0
      ? fine("not-repeatable", "The same queries have the same answers.")
      : fault("error", "not-repeatable", {
          message: `${changed.length} of ${asked.length} queries had another answer the second time.`,
          evidence: changed.map(quote),
          advice:
            "Fix the index's snapshot, its replicas and the order of ties; a reward must not depend on when it is asked for.",
        }),
    mixed.length === 0 || changed.length > 0
      ? fine("batch-order", "A query has the same answer alone and among others.")
      : fault("error", "batch-order", {
          message: `${mixed.length} of ${asked.length} queries have another answer alone than in a batch.`,
          evidence: mixed.map(quote),
          advice: "Return answers in the order of the queries.",
        }),
  ];
}

/** A metric's cut-off beyond what the recommender returns. */
export async function checkCutOff<E extends object>(patient: Patient<E>): Promise<CheckOutcome> {
  const check = "cut-off";
  const { task, plainWords, ask } = patient;
  const cuts = task.metrics.flatMap(({ name }) => {
    const k = Number(/@(\d+)/.exec(name)?.[1]);
    return Number.isFinite(k) ? [{ name, k }] : [];
  });
  const beyond = cuts.filter(({ k }) => k > task.topK);
  if (beyond.length > 0) {
    return fault("error", check, {
      message: `${beyond.map(({ name }) => name).join(", ")} look further than topK = ${task.topK}, the hits that are asked for.`,
      advice: "Raise the task's topK to the largest cut-off, or lower the cut-off.",
    });
  }
  const words = plainWords.slice(0, 24);
  if (words.length < 4) return skipped(check, "The catalogue shows too few words to write broad queries.");
  const alone = await ask(words);
  const reachable = new Set([...alone.values()].flatMap((outcome) => hitsOf(outcome).map(({ id }) => id))).size;
  const together = words.join(" ");
  const found = hitsOf((await ask([together])).get(together)).length;
  const wanted = Math.min(task.topK, reachable);
  const most = Math.max(found, ...[...alone.values()].map((outcome) => hitsOf(outcome).length));
  // A query that must match all its words finds little without any limit, so single words speak, too.
  const largest = Math.max(task.topK, ...cuts.map(({ k }) => k));
  if (most >= wanted || most >= largest || most === 0)
    return fine(check, `Up to ${most} hits come back for topK = ${task.topK}.`);
  const atLimit = [...alone.values(), { hits: Array<Hit>(found) }].filter((outcome) => hitsOf(outcome).length === most);
  if (atLimit.length < 2) return fine(check, `Up to ${most} hits come back for topK = ${task.topK}.`);
  const hurt = cuts.filter(({ k }) => k > most);
  return fault(hurt.length > 0 ? "error" : "warning", check, {
    message: `No query gets more than ${most} hits, though topK is ${task.topK} and ${reachable} items were found in all${hurt.length > 0 ? `: ${hurt.map(({ name }) => name).join(", ")} can't see what they are named for` : ""}.`,
    evidence: [`${quote(together)} finds ${found}`],
    advice: "Raise the engine's own limit, or lower topK and the cut-offs.",
  });
}

/** Whether raw words ever find what is relevant: ids of another kind in the index and in the judgments never meet. */
export function checkEverRelevant<E extends object>({ task, sample }: Patient<E>, raw: RawAnswers): CheckOutcome {
  const check = "relevant-never-found";
  let judged = 0;
  let found = 0;
  const evidence: string[] = [];
  for (const { example } of sample) {
    const words = task.raw(example);
    const relevant = new Set(relevantOf(example));
    const hits = words === null ? [] : hitsOf(raw.get(words));
    if (relevant.size === 0 || hits.length === 0) continue;
    judged++;
    if (hits.some(({ id }) => relevant.has(id))) found++;
    else
      evidence.push(
        `${quote(words as string)} finds ${quote(hits[0]?.id as string)} …, relevant is ${quote([...relevant][0] as string)}`,
      );
  }
  if (judged < 10) return skipped(check, "Fewer than ten judged queries find anything.");
  if (found > 0)
    return fine(check, `${found} of ${judged} raw queries find something relevant in the first ${task.topK}.`);
  return fault("error", check, {
    message: `None of ${judged} raw queries finds anything relevant in the first ${task.topK} hits.`,
    evidence,
    advice: "Check that hits and judgments use the same ids, and that the right fields are searched.",
  });
}

/** Texts that a policy writes sooner or later. */
export async function checkOddQueries<E extends object>({ ask, plainWords }: Patient<E>): Promise<CheckOutcome> {
  const check = "odd-queries";
  const word = plainWords[0] ?? "word";
  const odd: Record<string, string> = {
    "2,000 characters": `${word} `.repeat(Math.ceil(2000 / (word.length + 1))).slice(0, 2000),
    "300 different words": Array.from({ length: 300 }, (_, i) => `${word}${i}`).join(" "),
    emoji: "🖨️📎",
    "another script": "печать 打印",
    "punctuation only": "?!… --",
    "a line break": `${word}\n${word}`,
  };
  const outcomes = await ask(Object.values(odd));
  const failures = Object.entries(odd).flatMap(([name, query]) => {
    const outcome = outcomes.get(query);
    return outcome && "failure" in outcome ? [`${name}: ${outcome.failure}`] : [];
  });
  if (failures.length === 0) return fine(check, "Long, foreign and empty-looking texts are answered.");
  return fault("warning", check, {
    message: `The recommender fails on ${failures.length} of ${outcomes.size} texts that a policy may write.`,
    evidence: failures,
    advice: "Escape or cut the text in the adapter: each failure drops a rollout.",
  });
}
