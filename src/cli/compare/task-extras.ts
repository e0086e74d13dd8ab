/** What a task file may export for comparisons, besides its task and its recommender. */
import { TaskError } from "../../core/errors.ts";
import type { Engine } from "../../engines/engine.ts";
import { classicalNames } from "../../eval/baselines/classical.ts";
import type { RecommenderVariant } from "../../eval/baselines/classical.ts";
import type { Prices } from "../../eval/comparison/system.ts";
import type { Recommender } from "../../recommenders/recommender.ts";
import type { TaskContext } from "../../rl/task.ts";
import type { LoadedTask } from "../load-task.ts";

/** Another recommender as a baseline, such as SASRec: asked by a text of its own for each example. */
export interface RecommenderBaseline {
  /** Name in tables. Default: its key. */
  name?: string;
  recommender: Recommender;
  /** What it is asked for an example; null finds nothing. */
  query: (example: object) => string | null;
}

/** A model as a baseline: prompted like the policy, never trained. */
export interface ModelBaseline {
  name?: string;
  engine: Engine;
  prices?: Prices;
}

export interface TaskExtras {
  variants: readonly RecommenderVariant[];
  baselines: Readonly<Record<string, () => Promise<RecommenderBaseline>>>;
  models: Readonly<Record<string, () => Promise<ModelBaseline>>>;
  slices: Readonly<Record<string, (example: object) => boolean>>;
}

/** What `--baselines` has a meaning for, and ids of systems that are no baselines. */
const takenNames = ["raw", ...classicalNames, "prompting", "classical", "all", "none", "sft", "tuned"];

/**
 * Reads the exports `variants` (a list of `{ name, open }`), `baselines`, `models` (functions of the context, by name)
 * and `slices` (functions of the example, by name).
 * @throws TaskError `BAD_TASK_FILE` where one has another shape, or a baseline or model a name that is taken
 */
export function readExtras({ exports, path }: LoadedTask, context: TaskContext): TaskExtras {
  const bad = (what: string): TaskError => new TaskError("BAD_TASK_FILE", `${path}: ${what}`, { details: { path } });
  const { variants = [], baselines, models, slices } = exports;
  const isVariant = (value: unknown): boolean =>
    typeof (value as RecommenderVariant | null)?.name === "string" &&
    typeof (value as RecommenderVariant).open === "function";
  const listed: unknown =
    typeof variants === "function" ? (variants as (context: TaskContext) => unknown)(context) : variants;
  if (!Array.isArray(listed) || !listed.every(isVariant)) {
    throw bad(
      "the export `variants` must be a list of { name, open }, open being a function that gives a Recommender.",
    );
  }
  const functions = <T>(name: string, value: unknown): Record<string, (argument: T) => unknown> => {
    const isRecord = typeof value === "object" && value !== null;
    if (value === undefined) return {};
    if (isRecord && Object.values(value).every((entry) => typeof entry === "function")) {
      return value as Record<string, (argument: T) => unknown>;
    }
    throw bad(`the export \`${name}\` must be an object of functions by name.`);
  };
  const opening = <T>(
    name: string,
    value: unknown,
    isGood: (opened: Partial<T> | null) => boolean,
    expected: string,
  ): Record<string, () => Promise<T>> =>
    Object.fromEntries(
      Object.entries(functions<TaskContext>(name, value)).map(([key, open]) => [
        key,
        async () => {
          const opened: unknown = await open(context);
          if (isGood(opened as Partial<T> | null)) return opened as T;
          throw bad(`\`${name}.${key}\` did not return ${expected}.`);
        },
      ]),
    );
  // Systems are found by their names, so that two with one name would have each other's figures.
  const names = [baselines, models].flatMap((value) => Object.keys(value ?? {}));
  const taken = names.find((name, i) => takenNames.includes(name) || names.indexOf(name) < i);
  if (taken !== undefined) throw bad(`the name "${taken}" of a baseline or model is taken; choose another one.`);
  return {
    variants: listed as RecommenderVariant[],
    baselines: opening<RecommenderBaseline>(
      "baselines",
      baselines,
      (opened) => typeof opened?.query === "function" && typeof opened.recommender?.search === "function",
      "{ recommender, query }",
    ),
    models: opening<ModelBaseline>(
      "models",
      models,
      (opened) => typeof opened?.engine?.sample === "function",
      "{ engine, prices? }",
    ),
    slices: Object.fromEntries(
      Object.entries(functions<object>("slices", slices)).map(([name, test]) => [
        name,
        (example: object) => Boolean(test(example)),
      ]),
    ),
  };
}
