/**
 * The classical baselines, each with its parameters searched on the validation split: feedback (RM3, Rocchio), spelling
 * repair, variants of the recommender (k1 and b, where it has them), fusion of all of these. The tuned policy has to
 * beat the best of them, not only the raw words.
 */
import { performance } from "node:perf_hooks";
import { throwIfAborted } from "../../core/errors.ts";
import type { Hit, Recommender } from "../../recommenders/recommender.ts";
import { scoreFound, searchAnswers } from "../../rl/evaluation.ts";
import type { FoundAnswer } from "../../rl/evaluation.ts";
import type { LoadedExample, Task } from "../../rl/task.ts";
import { answerWithQueries, noUsage, rawSystem } from "../comparison/system.ts";
import type { ComparedSystem, SystemAnswers } from "../comparison/system.ts";
import type { Collection } from "./collection.ts";
import { expandByRm3, expandByRocchio } from "./feedback.ts";
import type { FeedbackParameters } from "./feedback.ts";
import { fuseRankings } from "./fusion.ts";
import { SpellingRepair } from "./spelling.ts";
import type { SpellingParameters } from "./spelling.ts";

export const classicalNames = ["variants", "rm3", "rocchio", "spelling", "fusion"] as const;
export type ClassicalName = (typeof classicalNames)[number];

/** The same search engine with other settings, such as k1 and b. */
export interface RecommenderVariant {
  /** Its settings in words, such as `k1=0.9 b=0.4`. */
  name: string;
  open: () => Recommender | Promise<Recommender>;
}

export interface ClassicalOptions<E extends object> {
  task: Task<E>;
  recommender: Recommender;
  collection: Collection;
  /** Examples that parameters are chosen on. */
  valid: readonly LoadedExample<E>[];
  /** Default: all of them. */
  names?: readonly ClassicalName[];
  /** For `variants`; opened one after the other, the best one stays open until `close`. */
  variants?: readonly RecommenderVariant[];
  signal?: AbortSignal;
  onProgress?: (text: string) => void;
}

export interface ClassicalBaselines<E extends object> {
  systems: ComparedSystem<E>[];
  /** What was left out, and why. */
  notes: string[];
  /** Closes recommenders that were opened for variants. */
  close: () => Promise<void>;
}

const feedbackGrid: readonly FeedbackParameters[] = [3, 5, 10, 20].flatMap((feedbackItems) =>
  [5, 10, 20].flatMap((feedbackWords) =>
    [0.3, 0.5, 0.7, 0.9].map((ownWeight) => ({ feedbackItems, feedbackWords, ownWeight })),
  ),
);

const spellingGrid: readonly SpellingParameters[] = [1, 2].flatMap((maxEdits) =>
  (["replace", "add"] as const).map((mode) => ({ maxEdits, mode })),
);

const fusionGrid = [10, 30, 60, 100].map((k) => ({ k }));

/** How examples are answered under given parameters. */
type Answerer<E extends object, P> = (
  examples: readonly LoadedExample<E>[],
  parameters: P,
  signal?: AbortSignal,
) => Promise<SystemAnswers<E>>;

/** The classical baselines, tuned. @throws AbortError; what the recommender throws that is no `RecommenderError` */
export async function prepareClassical<E extends object>(options: ClassicalOptions<E>): Promise<ClassicalBaselines<E>> {
  const { task, recommender, collection, valid, names = classicalNames, variants = [], signal } = options;
  const systems: ComparedSystem<E>[] = [];
  const notes: string[] = [];
  let variant: Recommender | undefined;
  const raw = rawSystem({ task, recommender });
  const firstAnswers = rememberAnswers(raw, collection);
  const has = (name: ClassicalName): boolean => names.includes(name);
  const add = async <P extends object>(
    id: string,
    name: string,
    grid: readonly P[],
    answer: Answerer<E, P>,
  ): Promise<void> => {
    options.onProgress?.(`choosing settings of ${name} on ${valid.length} validation examples`);
    systems.push(await tune({ id, name, grid, answer, task, valid, signal }));
  };

  // What the first answers show of the catalogue is learnt before anything is counted in it.
  await firstAnswers(valid, signal);
  if (has("variants")) {
    if (variants.length === 0) {
      notes.push(
        `variants: ${recommender.name} offers no other settings (k1, b). A task file can: export const variants = [{ name, open }].`,
      );
    } else {
      const chosen = await chooseVariant(options, variants);
      variant = chosen.recommender;
      systems.push(chosen.system);
    }
  }
  const canReadItems = collection.size > 0;
  if (!canReadItems && (has("rm3") || has("rocchio") || has("spelling"))) {
    notes.push(
      "rm3, rocchio, spelling: hits show no texts of items. Give the catalogue (--catalogue FILE --text FIELD).",
    );
  }
  const expand =
    (method: typeof expandByRm3): Answerer<E, FeedbackParameters> =>
    async (examples, parameters, abort) => {
      const start = performance.now();
      const first = await firstAnswers(examples, abort);
      const expanded = first.map(({ hits, failure, ...answer }) => ({
        ...answer,
        query:
          answer.query === null || hits === null ? answer.query : method(answer.query, hits, collection, parameters),
      }));
      const found = await searchAnswers(expanded, { task, recommender, ...(abort ? { signal: abort } : {}) });
      return { found, usage: { ...noUsage, seconds: (performance.now() - start) / 1000 } };
    };
  if (canReadItems && has("rm3")) await add("rm3", "RM3 feedback", feedbackGrid, expand(expandByRm3));
  if (canReadItems && has("rocchio")) await add("rocchio", "Rocchio feedback", feedbackGrid, expand(expandByRocchio));
  if (canReadItems && has("spelling")) {
    if (!collection.isWhole) {
      notes.push(
        `spelling: repaired from the ${collection.size} items that hits have shown; give the whole catalogue for more.`,
      );
    }
    const repair = new SpellingRepair(collection);
    await add("spelling", "spelling repair", spellingGrid, (examples, parameters, abort) =>
      answerWithQueries(
        { task, recommender },
        examples,
        (example) => {
          const words = task.raw(example);
          return words === null ? null : repair.repair(words, parameters);
        },
        abort,
      ),
    );
  }
  if (has("fusion")) {
    const parts = [raw, ...systems];
    if (parts.length < 2) notes.push("fusion: there is only one ranking, that of the raw words.");
    else {
      const answerParts = parts.map((part) => rememberAnswers(part, collection));
      const name = `fusion of ${parts.map(({ id }) => id).join(", ")}`;
      await add("fusion", name, fusionGrid, async (examples, { k }, abort) => {
        const start = performance.now();
        const rankings: FoundAnswer<E>[][] = [];
        for (const answer of answerParts) rankings.push(await answer(examples, abort));
        const found = (rankings[0] as FoundAnswer<E>[]).map((first, i) =>
          fuseAnswers(first, rankings, i, k, task.topK),
        );
        return { found, usage: { ...noUsage, seconds: (performance.now() - start) / 1000 } };
      });
    }
  }
  return { systems, notes, close: async () => variant?.close() };
}

/** The answers to one example fused; one that failed makes the whole fail, since the others alone would be another system. */
function fuseAnswers<E>(
  first: FoundAnswer<E>,
  rankings: readonly (readonly FoundAnswer<E>[])[],
  index: number,
  k: number,
  topK: number,
): FoundAnswer<E> {
  const own = rankings.map((ranking) => ranking[index] as FoundAnswer<E>);
  const failed = own.find(({ failure }) => failure !== undefined);
  const lists = own.flatMap(({ hits }) => (hits ? [hits] : []));
  return {
    ...first,
    hits: failed ? null : lists.length > 0 ? fuseRankings(lists, { k, topK }) : null,
    ...(failed?.failure === undefined ? {} : { failure: failed.failure }),
  };
}

/** A system's answers, asked for once for each list of examples; what hits show is learnt. */
function rememberAnswers<E extends object>(
  system: ComparedSystem<E>,
  collection: Collection,
): (examples: readonly LoadedExample<E>[], signal?: AbortSignal) => Promise<FoundAnswer<E>[]> {
  const known = new WeakMap<readonly LoadedExample<E>[], FoundAnswer<E>[]>();
  return async (examples, signal) => {
    const before = known.get(examples);
    if (before) return before;
    const { found } = await system.answer(examples, signal);
    for (const { hits } of found) collection.learn((hits ?? []) as Hit[]);
    known.set(examples, found);
    return found;
  };
}

interface TuneOptions<E extends object, P extends object> {
  id: string;
  name: string;
  grid: readonly P[];
  answer: Answerer<E, P>;
  task: Task<E>;
  valid: readonly LoadedExample<E>[];
  signal: AbortSignal | undefined;
}

/** Tries every point of a grid on the validation examples; the first of the best is taken. */
async function tune<E extends object, P extends object>(options: TuneOptions<E, P>): Promise<ComparedSystem<E>> {
  const { id, name, grid, answer, task, valid, signal } = options;
  const start = performance.now();
  let best: { parameters: P; value: number } | undefined;
  for (const parameters of grid) {
    throwIfAborted(signal);
    const { found } = await answer(valid, parameters, signal);
    const { means, metric } = scoreFound(found, { task });
    const value = means[metric] as number;
    if (!best || value > best.value) best = { parameters, value };
  }
  const { parameters, value } = best as { parameters: P; value: number };
  return {
    id,
    name,
    family: "classical",
    settings: Object.fromEntries(Object.entries(parameters)),
    validation: value,
    preparation: { ...noUsage, seconds: (performance.now() - start) / 1000 },
    answer: (examples, abort) => answer(examples, parameters, abort),
  };
}

/** The variant of the recommender that answers the raw words of the validation examples best. */
async function chooseVariant<E extends object>(
  { task, valid, signal, onProgress }: ClassicalOptions<E>,
  variants: readonly RecommenderVariant[],
): Promise<{ system: ComparedSystem<E>; recommender: Recommender }> {
  const start = performance.now();
  let best: { recommender: Recommender; name: string; value: number } | undefined;
  for (const { name, open } of variants) {
    throwIfAborted(signal);
    onProgress?.(`trying ${name} on ${valid.length} validation examples`);
    const recommender = await open();
    const { found } = await rawSystem({ task, recommender }).answer(valid, signal);
    const { means, metric } = scoreFound(found, { task });
    const value = means[metric] as number;
    if (!best || value > best.value) {
      await best?.recommender.close();
      best = { recommender, name, value };
    } else await recommender.close();
  }
  const { recommender, name, value } = best as { recommender: Recommender; name: string; value: number };
  const system: ComparedSystem<E> = {
    id: "variants",
    name: "tuned engine",
    family: "classical",
    settings: { variant: name, tried: variants.length },
    validation: value,
    preparation: { ...noUsage, seconds: (performance.now() - start) / 1000 },
    answer: (examples, abort) => rawSystem({ task, recommender }).answer(examples, abort),
  };
  return { system, recommender };
}
