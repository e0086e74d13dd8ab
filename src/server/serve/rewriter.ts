/** Queries from the policy: prompts of requests that come together are sampled together, and answers are remembered. */
import type { ChatMessage, Engine, Sample, SamplingParams, TokenIds } from "../../engines/engine.ts";
import { raceAbort } from "../../recommenders/race-abort.ts";
import type { Recommender } from "../../recommenders/recommender.ts";
import { lastSearch, playEpisodes } from "../../rl/episode.ts";
import { encodeExample } from "../../rl/prompt.ts";
import type { Task } from "../../rl/task.ts";
import type { Batcher } from "./batcher.ts";
import { RecentMap } from "./recent-map.ts";

/** What the policy wrote for an example. */
export interface Rewrite {
  /** Null: its completion held no query. */
  query: string | null;
  completion: string;
  /** Mean log-probability of the completion's tokens: how sure the policy was. */
  meanLogprob: number;
  tokens: number;
}

export interface RewriterOptions {
  engine: Engine;
  task: Task<object>;
  /** Asked by tasks whose policy sees what its searches found. */
  recommender: Recommender;
  batcher: Batcher;
  /** Longest completion, in tokens. */
  maxTokens: number;
  /** Longest prompt, in tokens; 0: what the context allows. */
  maxPromptTokens: number;
  /** Rewrites remembered; 0: none. */
  cacheEntries: number;
}

/** A rewrite under way. */
interface Pending {
  rewrite: Promise<Rewrite>;
  /** Requests that still want it; when none does, it is left out unless it was begun. */
  waiting: number;
  controller: AbortController;
}

interface Opening {
  example: object;
  messages: readonly ChatMessage[];
  ids: TokenIds;
}

export class Rewriter {
  private readonly options: RewriterOptions;
  private readonly known: RecentMap<Rewrite>;
  /** Rewrites under way, so that equal requests at the same time cost one. */
  private readonly pending = new Map<string, Pending>();

  constructor(options: RewriterOptions) {
    this.options = options;
    this.known = new RecentMap(options.cacheEntries);
  }

  /**
   * The policy's greedy query for an example.
   * @param signal once it has fired, the work is left out unless it was begun
   * @throws TaskError where the task can't make a prompt of the example; EngineError; AbortError
   */
  async rewrite(example: object, signal?: AbortSignal): Promise<Rewrite & { cached: boolean }> {
    const { engine, task, maxTokens, maxPromptTokens } = this.options;
    const { ids, messages } = encodeExample(engine, task, example, { maxTokens, maxPromptTokens });
    const key = `${JSON.stringify(ids)} ${JSON.stringify(example)}`;
    const found = this.known.get(key);
    if (found) return { ...found, cached: true };
    const underWay = this.pending.get(key);
    // One that everybody gave up may be left out by now.
    const pending =
      underWay?.controller.signal.aborted === false ? underWay : this.begin(key, { example, messages, ids });
    pending.waiting++;
    try {
      return { ...(await raceAbort(pending.rewrite, signal)), cached: false };
    } finally {
      if (--pending.waiting === 0) pending.controller.abort();
    }
  }

  private begin(key: string, opening: Opening): Pending {
    const controller = new AbortController();
    const run = (openings: Opening[], stop: AbortSignal): Promise<Rewrite[]> => this.rewriteAll(openings, stop);
    const rewrite = this.options.batcher.add("rewrite", opening, run, controller.signal);
    const pending: Pending = { rewrite, waiting: 0, controller };
    this.pending.set(key, pending);
    // Of a rewrite that nobody waits for any more the next request has the use; its failure concerns nobody.
    void rewrite
      .then((result) => this.known.set(key, result))
      .catch(() => undefined)
      .finally(() => {
        if (this.pending.get(key) === pending) this.pending.delete(key);
      });
    return pending;
  }

  private async rewriteAll(openings: readonly Opening[], signal: AbortSignal): Promise<Rewrite[]> {
    const { engine, task, recommender, maxTokens } = this.options;
    const sampling: SamplingParams = { n: 1, maxTokens, temperature: 0, seed: 0, signal };
    if (task.episode) {
      const { turns_P_G } = await playEpisodes(openings, { engine, task, recommender, sampling });
      return turns_P_G.map(([turns = []]) => {
        const { sample, query } = lastSearch(turns);
        return toRewrite(sample, query);
      });
    }
    const samples = await engine.sample(
      openings.map(({ ids }) => ids),
      sampling,
    );
    return samples.map(([sample], i) => {
      const { text } = sample as Sample;
      return toRewrite(sample as Sample, task.parse(text, (openings[i] as Opening).example));
    });
  }
}

function toRewrite({ text, ids, logprobs }: Sample, query: string | null): Rewrite {
  const sum = logprobs.reduce((total, logprob) => total + logprob, 0);
  return { query, completion: text, meanLogprob: sum / Math.max(1, ids.length), tokens: ids.length };
}
