/** Parts of a split that are looked at apart: a mean hides who gains and who pays. */
import { countWords } from "../../core/words.ts";
import { gainsOf } from "../../ranking/judgments.ts";
import type { Relevance } from "../../ranking/judgments.ts";
import type { FoundAnswer } from "../../rl/evaluation.ts";
import type { LoadedExample, Task } from "../../rl/task.ts";

export interface Slice {
  name: string;
  /** What it holds, in words. */
  description: string;
  /** Ids of its examples. */
  examples: string[];
}

export interface SliceOptions<E extends object> {
  task: Task<E>;
  examples: readonly LoadedExample<E>[];
  /** What tells popular items from others; without it there is no head and no tail. */
  train?: readonly LoadedExample<E>[];
  /** Answers to the raw words, for the examples that find nothing. */
  raw?: readonly FoundAnswer<E>[];
  /** Words from which a query is long. Default 8. */
  longFrom?: number;
  /** Further slices, by name. */
  own?: Readonly<Record<string, (example: E) => boolean>>;
}

/** Gains of an example's judged items; empty where it has no judgments. */
export function judgedOf(example: object): ReadonlyMap<string, number> {
  const { relevant } = example as { relevant?: Relevance };
  return relevant === undefined || relevant === null ? new Map() : gainsOf(relevant);
}

const relevantOf = (example: object): string[] =>
  [...judgedOf(example)].filter(([, gain]) => gain > 0).map(([id]) => id);

/** The slices of a split that have any examples. */
export function makeSlices<E extends object>(options: SliceOptions<E>): Slice[] {
  const { task, examples, train = [], raw = [], longFrom = 8, own = {} } = options;
  const where = (test: (example: LoadedExample<E>) => boolean): string[] => examples.filter(test).map(({ id }) => id);
  const wordsOf = ({ example }: LoadedExample<E>): number => countWords(task.raw(example) ?? "");
  const empty = new Set(
    raw.filter(({ hits, failure }) => failure === undefined && !hits?.length).map((a) => a.example.id),
  );
  const head = popularItems(train);
  const isHead = ({ example }: LoadedExample<E>): boolean => relevantOf(example).some((id) => head.has(id));
  const slices: Slice[] = [
    { name: "one-word", description: "raw words: one", examples: where((example) => wordsOf(example) === 1) },
    {
      name: "long",
      description: `raw words: ${longFrom} or more`,
      examples: where((example) => wordsOf(example) >= longFrom),
    },
    { name: "zero-hit", description: "the raw words find nothing", examples: where(({ id }) => empty.has(id)) },
  ];
  if (head.size > 0) {
    slices.push(
      {
        name: "head",
        description: "a relevant item is among the fifth most often relevant in training",
        examples: where(isHead),
      },
      { name: "tail", description: "no relevant item is", examples: where((example) => !isHead(example)) },
    );
  }
  for (const [name, test] of Object.entries(own)) {
    slices.push({ name, description: "the task's own", examples: where(({ example }) => test(example)) });
  }
  return slices.filter((slice) => slice.examples.length > 0);
}

/** The fifth of the items relevant in training that are so most often, if more than once; ties belong to it. */
function popularItems<E extends object>(train: readonly LoadedExample<E>[]): Set<string> {
  const counts = new Map<string, number>();
  for (const { example } of train) for (const id of relevantOf(example)) counts.set(id, (counts.get(id) ?? 0) + 1);
  const sorted = [...counts.values()].sort((a, b) => b - a);
  const least = Math.max(2, sorted[Math.max(0, Math.ceil(sorted.length / 5) - 1)] ?? 2);
  return new Set([...counts].filter(([, count]) => count >= least).map(([id]) => id));
}
