/** Tries a run's policies on what somebody types: the dashboard's playground, built as `rec-r1 eval` builds its systems. */
import { RecommenderError } from "../core/errors.ts";
import type { Engine } from "../engines/engine.ts";
import type { Hit, Recommender } from "../recommenders/recommender.ts";
import { answerExamples, askingOf, searchAnswers, type FoundAnswer } from "../rl/evaluation.ts";
import { showItem } from "../rl/shown.ts";
import { loadSplit, splitNames, type LoadedExample } from "../rl/task.ts";
import { HttpError } from "../server/http/http-error.ts";
import { creditTerms } from "../server/dashboard/term-credit.ts";
import type { Playground } from "../server/dashboard/playground.ts";
import type { PolicyName, ShownHit, TermCredit, TryEvent } from "../server/dashboard/wire.ts";
import { Closing } from "./closing.ts";
import { loadPolicy, namePolicy } from "./load-policy.ts";
import { openRun, type OpenedRun, type RunPlaces } from "./open-run.ts";
import type { Reporter } from "./progress.ts";

/** Hits shown of a query. */
const shownHits = 10;

export interface PlaygroundOptions extends RunPlaces {
  reporter: Reporter;
  signal: AbortSignal;
  /** CPU threads of the model; default: the run's own. */
  threads?: number;
}

/** Who writes. */
interface Policy {
  engine: Engine;
  weights: "policy" | "reference";
}

/** The policies of a run, opened when they are first asked. */
interface Policies {
  untrained: Policy;
  /** Holds the tuned policy, when one was loaded. */
  engine: Engine;
  tuned: (Policy & { step: number }) | null;
  /** Which one `tuned` is, see {@link namePolicy}. */
  tunedName: string | null;
}

export class RunPlayground implements Playground {
  private readonly run: OpenedRun;
  private readonly recommender: Recommender;
  private readonly options: PlaygroundOptions;
  private readonly closing: Closing;
  private policies: Policies | undefined;
  private readonly splits = new Map<string, LoadedExample<object>[]>();

  private constructor(run: OpenedRun, recommender: Recommender, closing: Closing, options: PlaygroundOptions) {
    this.run = run;
    this.recommender = recommender;
    this.closing = closing;
    this.options = options;
  }

  /** Opens a run's task and recommender; the model waits until it is asked. @throws what these throw */
  static async open(dir: string, options: PlaygroundOptions): Promise<RunPlayground> {
    const { reporter, signal } = options;
    const run = await openRun(dir, options);
    const closing = new Closing();
    const onWarning = (message: string): void => reporter.line(`warning: ${message}`);
    const recommender = closing.add(await run.openRecommender({ signal, onWarning }));
    return new RunPlayground(run, recommender, closing, options);
  }

  async *ask(text: string, signal: AbortSignal): AsyncGenerator<TryEvent> {
    const { task, config } = this.run;
    const typed: LoadedExample<object> = { id: "typed", example: { id: "typed", query: text, relevant: [] } };
    const started = performance.now();
    const raw = { example: typed, sample: 0, completion: null, query: task.raw(typed.example) };
    yield await this.search("raw", null, raw, started, signal);
    if (!this.policies) yield { kind: "status", message: "Loading the model" };
    const policies = (this.policies ??= await this.openPolicies());
    const common = { task, recommender: this.recommender, ...askingOf(config), signal };
    const write = async ({ engine, weights }: Policy): Promise<Omit<FoundAnswer<object>, "hits">> => {
      const [answer] = await answerExamples([typed], { ...common, engine, weights });
      return answer as Omit<FoundAnswer<object>, "hits">;
    };
    yield { kind: "status", message: "The untrained policy writes" };
    const beforeUntrained = performance.now();
    yield await this.search("untrained", 0, await write(policies.untrained), beforeUntrained, signal);
    const tuned = await this.findTuned(policies);
    if (!tuned) {
      yield { kind: "status", message: "This run has no checkpoint yet" };
      return;
    }
    yield { kind: "status", message: "The tuned policy writes" };
    const beforeTuned = performance.now();
    yield await this.search("tuned", tuned.step, await write(tuned), beforeTuned, signal);
  }

  async credit(
    { split, example: id, query }: { split: string; example: string; query: string },
    signal: AbortSignal,
  ): Promise<TermCredit> {
    const { task } = this.run;
    const found = (await this.examplesOf(split)).find((example) => example.id === id);
    if (!found) {
      throw new HttpError(404, "NO_EXAMPLE", `The run's task has no example "${id}" in its split "${split}".`);
    }
    const metric = task.metrics[0] as (typeof task.metrics)[number];
    const options = { topK: task.topK, signal };
    return creditTerms({
      query,
      metric: metric.name,
      search: (queries) =>
        this.recommender.search(
          queries.map((text) => ({ text })),
          options,
        ),
      score: (hits) => metric.score({ example: found.example, hits }),
    });
  }

  async close(): Promise<void> {
    await this.closing.close();
  }

  private async examplesOf(name: string): Promise<LoadedExample<object>[]> {
    const split = splitNames.find((known) => known === name);
    const known = this.splits.get(name);
    if (known) return known;
    const examples = split ? await loadSplit(this.run.task, split) : undefined;
    this.splits.set(name, examples ?? []);
    return examples ?? [];
  }

  private async openPolicies(): Promise<Policies> {
    const { reporter, signal, threads } = this.options;
    const { run } = this;
    const open = async (): Promise<Engine> =>
      this.closing.add(await run.openEngine({ reporter, signal, ...(threads === undefined ? {} : { threads }) }));
    const engine = await open();
    // An adapter can be left out; where all weights were trained, the model as it was has to be there beside them.
    const isFull = run.engineConfig.full;
    const untrained: Policy = isFull ? { engine: await open(), weights: "policy" } : { engine, weights: "reference" };
    return { untrained, engine, tuned: null, tunedName: null };
  }

  /** The tuned policy as the run has it now, which may be in training; null where it has no checkpoint yet. */
  private async findTuned(policies: Policies): Promise<Policies["tuned"]> {
    const { dir } = this.run;
    const name = await namePolicy(dir);
    if (name === policies.tunedName) return policies.tuned;
    // Where loading fails, the engine may be anything: the next question loads again.
    Object.assign(policies, { tuned: null, tunedName: null });
    if (name === null) return null;
    const { engine, untrained } = policies;
    const step = await loadPolicy(engine, dir, "best", this.options.reporter);
    // Step 0 loads nothing, and the engine may have a later one, of before the run was taken up again.
    policies.tuned = step === 0 ? { ...untrained, step } : { engine, weights: "policy", step };
    policies.tunedName = name;
    return policies.tuned;
  }

  /** Searches for an answer's query and shows what comes. */
  private async search(
    policy: PolicyName,
    step: number | null,
    answer: Omit<FoundAnswer<object>, "hits">,
    started: number,
    signal: AbortSignal,
  ): Promise<TryEvent> {
    const { task } = this.run;
    const [found] = await searchAnswers([answer], { recommender: this.recommender, task, signal });
    if (found?.failure !== undefined) {
      throw new RecommenderError("SEARCH_FAILED", `The recommender failed: ${found.failure}`, { retryable: true });
    }
    const hits = found?.hits ? await Promise.all(found.hits.slice(0, shownHits).map((hit) => this.show(hit))) : null;
    const { completion, query } = answer;
    return { kind: "answer", policy, step, completion, query, hits, seconds: (performance.now() - started) / 1000 };
  }

  private async show(hit: Hit): Promise<ShownHit> {
    const { title, picture } = await showItem(this.run.task, hit);
    return { id: hit.id, title: title ?? null, picture: picture ?? null, isRelevant: false };
  }
}
