/**
 * Rec-R1's training loop, whole: GRPO (Shao et al. 2024) whose reward is what a fixed recommender makes of the query
 * that the policy wrote (Lin et al. 2025, arXiv 2503.24289).
 *
 * A step: draw prompts; sample a group of completions for each; parse the queries, search for all of them at once, score
 * the answers; turn each group's rewards into advantages; one or more optimizer steps on the clipped policy loss. In
 * between: evaluation on the validation split (`validation.ts`), checkpoints, the best one kept.
 *
 * Where it departs from the textbook:
 * - Groups whose rewards are all equal, and single completions without advantage, have no gradient and are left out of
 *   the backward pass; the loss still divides by their tokens. A batch without any difference leaves the weights and
 *   the optimizer alone.
 * - Where top-p, top-k or min-p cut the distribution, a token's term is weighted by the probability that was left, which
 *   makes up for the cut among the tokens that could be drawn.
 * - A rollout on which the recommender failed is dropped: it is in no baseline and in no loss.
 * - The reference of the KL term is the untrained policy, never refreshed.
 * - Optional and off by default: a supervised warm-up before the first step (`warmup.ts`; on text of the task's own, or
 *   on the best queries that were found without the policy: `hindsight.ts`), cross-entropy on each group's best
 *   completion, negative advantages scaled down, groups without variance replaced by new ones.
 *
 * With `overlapSteps` = k above 0 (asynchronous training), rollouts of the next k steps are collected while a step trains:
 * their old log-probs are those of the weights that sampled, so the loss's ratios correct for the difference.
 *
 * Every random number is addressed by (seed, purpose, step …) and all state is in the checkpoint, so a resumed run is
 * the run that was never interrupted (but for rollouts that were being collected ahead: they are drawn anew). Knows
 * nothing of files (`runs/`), models or search engines.
 *
 * Axis suffixes: `_P` prompts of the step, `_G` completions of a group.
 */
import { ConfigError, EngineError } from "../core/errors.ts";
import { randomStream, shuffle } from "../core/random.ts";
import { type Datum, type Engine, isCut, type Loss } from "../engines/engine.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import type { BestRecord, StepRecord } from "../runs/records.ts";
import { computeAdvantages, hasVariance } from "./advantage.ts";
import type { EndReason, OnTrainEvent } from "./events.ts";
import { learningRateAt } from "./learning-rate.ts";
import { withLengthCost } from "./length-cost.ts";
import { findLongestStep } from "./longest-step.ts";
import type { Loop, StepOutcome } from "./loop.ts";
import { recommenderInMode, taskInMode } from "./modes.ts";
import { PromptOrder } from "./prompt-order.ts";
import { checkUnchanged, measureCache, shareOfShortAnswers, withMemory } from "./recommender-watch.ts";
import { checkFailureShare, collectRollouts, toRolloutRecords } from "./rollout.ts";
import type { Group, Rollout } from "./rollout.ts";
import { RolloutsAhead } from "./rollouts-ahead.ts";
import { openSession } from "./run-session.ts";
import type { TrainState } from "./run-session.ts";
import { openShownLog } from "./shown.ts";
import { findBestRewrite, measureRollouts, UpdateMetrics } from "./step-metrics.ts";
import type { LoadedExample, Task } from "./task.ts";
import { resolveTrainConfig } from "./train-config.ts";
import type { TrainConfig, TrainConfigInput } from "./train-config.ts";
import { adamParams, applyGradients, crossEntropy } from "./update.ts";
import { evaluateInBetween, isEvaluationDue } from "./validation.ts";
import { orderWarmup, takeWarmupStep } from "./warmup.ts";

export interface TrainOptions<E extends object> extends TrainConfigInput {
  task: Task<E>;
  recommender: Recommender;
  engine: Engine;
  /** Folder of the run; absent or empty unless `resume`. */
  runDir: string;
  /** Goes on from the newest checkpoint in `runDir`; starts there when it has none. Default false. */
  resume?: boolean;
  /** Stops training: the step in progress is dropped, and the promise rejects with `AbortError`. */
  signal?: AbortSignal;
  onEvent?: OnTrainEvent;
  /** Kept in the run folder, for programs that build task, recommender and engine again. */
  launch?: Record<string, unknown>;
}

export interface TrainResult {
  runDir: string;
  /** Steps done, warm-up included. */
  step: number;
  reason: EndReason;
  /** Best on validation; null when nothing was evaluated. */
  best: BestRecord | null;
}

/** The rollouts of a step. */
interface StepRollouts<E> {
  groups: Group<E>[];
  spare: Group<E>[];
  cursor: number;
  seconds: Record<string, number>;
}

/**
 * Trains the engine's policy on a task, and leaves everything about it in the run folder.
 * @throws ConfigError, DataError, CheckpointError before the first step; TaskError, RecommenderError
 *   (`TOO_MANY_FAILURES`), EngineError or AbortError in the middle: the run can then be resumed.
 */
export async function train<E extends object>(options: TrainOptions<E>): Promise<TrainResult> {
  const {
    task: ownTask,
    recommender: ownRecommender,
    engine,
    runDir,
    resume = false,
    signal,
    onEvent = () => {},
    launch = {},
    ...given
  } = options;
  const config = resolveTrainConfig([
    { source: `task "${ownTask.name}"`, values: ownTask.config },
    { source: "train()", values: given },
  ]);
  if (config.overlapSteps > 0 && !engine.samplesWhileTraining) {
    throw new ConfigError(
      "CANNOT_OVERLAP",
      `overlapSteps is ${config.overlapSteps}, but this engine can't sample while it trains. Set it to 0, or use an engine on a server.`,
    );
  }
  if (isCut(config) && config.correctTruncation && !engine.givesKeptMass) {
    throw new ConfigError(
      "CANNOT_CORRECT_TRUNCATION",
      "This engine doesn't say how much of the distribution topP, topK and minP leave, so correctTruncation can't make up for it. Switch these off (1, 0, 0), or set correctTruncation to false.",
    );
  }
  const { lengthCost: perWord, lengthFreeWords: freeWords } = config;
  const task = withLengthCost(taskInMode(ownTask, config.mode), { perWord, freeWords });
  const recommender = withMemory(recommenderInMode(ownRecommender, config.mode));
  const session = await openSession({ task, recommender, engine, runDir, config, resume, launch, onEvent });
  const startedAt = performance.now();
  try {
    const order = new PromptOrder(session.train, config.seed, "prompts");
    const totalSteps = config.warmupSteps + config.steps;
    onEvent({ kind: "start", runDir, config, totalSteps, resumedAt: session.resumedAt });
    const warmupOrder =
      session.state.step < config.warmupSteps
        ? await orderWarmup({ task, recommender, engine, config, signal, onEvent }, session)
        : undefined;
    const loop: Loop<E> = {
      ...session,
      task,
      recommender,
      engine,
      config,
      signal,
      onEvent,
      order,
      warmupOrder,
      shown: await openShownLog({ task, folder: session.folder, recordHits: config.recordHits }),
      spent: { startedAt, steps: 0, stepSeconds: 0, evaluationSeconds: 0 },
      weightsInMidStep: false,
    };
    if (session.state.step < totalSteps) {
      await engine.tryStep?.({
        ...findLongestStep({ engine, task, train: session.train, config }),
        sampling: { ...samplingParams(loop, 0, 0), onProgress: () => {}, ...(signal ? { signal } : {}) },
        loss: policyLoss(config, []),
      });
    }
    const reason = await runLoop(loop, totalSteps);
    onEvent({ kind: "end", reason, step: loop.state.step, best: loop.state.best });
    return { runDir, step: loop.state.step, reason, best: loop.state.best };
  } finally {
    await session.folder.close();
  }
}

/** Collects rollouts of up to `overlapSteps` steps ahead. */
function openAhead<E extends object>(loop: Loop<E>, lastStep: number): RolloutsAhead<StepRollouts<E>> {
  const { config, order, signal } = loop;
  const { overlapSteps: steps, promptsPerStep, resampleRounds } = config;
  return new RolloutsAhead({
    collect: (options) => collectGroups(loop, options),
    steps,
    lastStep,
    foresee: (cursor) => (resampleRounds === 0 ? order.draw(cursor, promptsPerStep).cursor : undefined),
    signal,
  });
}

async function runLoop<E extends object>(loop: Loop<E>, totalSteps: number): Promise<EndReason> {
  const { config, state } = loop;
  const ahead = openAhead(loop, totalSteps);
  const { startedAt } = loop.spent;
  let savedAt = loop.resumedAt ?? 0;
  let stepSeconds = 0;
  const endReason = (): EndReason | undefined => {
    const { earlyStop, maxMinutes } = config;
    if (state.step >= totalSteps) return "steps";
    if (earlyStop > 0 && state.evaluationsSinceBest >= earlyStop) return "early_stop";
    const seconds = (performance.now() - startedAt) / 1000;
    // Another step and the evaluation that ends the run have to fit.
    const next = stepSeconds + loop.spent.evaluationSeconds;
    return maxMinutes > 0 && seconds + next > maxMinutes * 60 ? "time" : undefined;
  };
  try {
    for (;;) {
      let ended = endReason();
      const evaluates = isEvaluationDue(loop, ended !== undefined);
      if (evaluates) {
        const start = performance.now();
        await evaluateInBetween(loop);
        loop.spent.evaluationSeconds = (performance.now() - start) / 1000;
        ended ??= endReason();
      }
      if (
        state.step > 0 &&
        (evaluates || (savedAt < state.step && (ended || state.step % config.checkpointEvery === 0)))
      ) {
        await saveCheckpoint(loop);
        savedAt = state.step;
      }
      if (ended) return ended;
      const stepStart = performance.now();
      await takeStep(loop, totalSteps, ahead);
      const seconds = (performance.now() - stepStart) / 1000;
      stepSeconds = stepSeconds === 0 ? seconds : 0.7 * stepSeconds + 0.3 * seconds;
    }
  } catch (error) {
    await loop.engine.zeroGrad().catch(() => undefined);
    // Between two steps the weights are whole: what was learnt since the last checkpoint need not be lost.
    if (!loop.weightsInMidStep && state.step > savedAt) await saveCheckpoint(loop).catch(() => undefined);
    throw error;
  } finally {
    await ahead.close();
  }
}

/** One step of either phase, recorded. */
async function takeStep<E extends object>(
  loop: Loop<E>,
  totalSteps: number,
  ahead: RolloutsAhead<StepRollouts<E>>,
): Promise<void> {
  const { config, state, folder } = loop;
  const step = state.step + 1;
  const phase = step <= config.warmupSteps ? "warmup" : "rl";
  const start = performance.now();
  const outcome = phase === "warmup" ? await takeWarmupStep(loop, step) : await takePolicyStep(loop, step, ahead);
  const total = (performance.now() - start) / 1000;
  const record: StepRecord = { kind: "step", step, phase, values: outcome.values };
  await folder.appendMetrics(record);
  const { seconds, cache, rewrite } = outcome;
  const calls = loop.recommender.calls.take();
  await folder.appendTiming({
    step,
    endedAt: new Date().toISOString(),
    seconds: { ...seconds, total },
    ...(cache ? { cache } : {}),
    ...(calls ? { recommender: calls } : {}),
  });
  state.step = step;
  state.cursor = outcome.cursor;
  state.skippedInRow = outcome.skipped ? state.skippedInRow + 1 : 0;
  loop.weightsInMidStep = false;
  loop.spent.steps++;
  loop.spent.stepSeconds += total;
  const etaSeconds = estimateSeconds(loop, totalSteps);
  loop.onEvent({ kind: "step", record, totalSteps, seconds: total, etaSeconds, ...(rewrite ? { rewrite } : {}) });
  if (state.skippedInRow > config.maxSkippedSteps) {
    throw new EngineError(
      "NOT_FINITE",
      `Gradients were not finite in ${state.skippedInRow} steps in a row (up to step ${step}). Lower the learning rate; the last batch is in skipped-batch.json in the run folder.`,
      { details: { step } },
    );
  }
}

/** Seconds until the last step and its evaluation are done, from what steps took so far and the last evaluation. */
function estimateSeconds<E extends object>(loop: Loop<E>, totalSteps: number): number {
  const { config, state, spent, valid } = loop;
  const steps = totalSteps - state.step;
  const isEvaluated = valid.length > 0 && config.evalEvery > 0;
  const evaluations = isEvaluated ? Math.ceil(steps / config.evalEvery) : 0;
  const needed = (steps * spent.stepSeconds) / spent.steps + evaluations * spent.evaluationSeconds;
  if (config.maxMinutes === 0) return needed;
  return Math.min(needed, Math.max(0, config.maxMinutes * 60 - (performance.now() - spent.startedAt) / 1000));
}

/** One step of reinforcement learning. */
async function takePolicyStep<E extends object>(
  loop: Loop<E>,
  step: number,
  ahead: RolloutsAhead<StepRollouts<E>>,
): Promise<StepOutcome> {
  const { config, recommender } = loop;

  const missesBefore = recommender.stats.misses;
  const { rollouts, staleness, waitSeconds } = await ahead.take(step, loop.state.cursor);
  const { groups, spare, cursor, seconds } = rollouts;
  if (config.overlapSteps > 0) seconds.wait = waitSeconds;
  const batch_P = groups.map((group) => toBatchGroup(group, config));
  setAdvantages(batch_P, config);

  // Rollouts are written while the engine learns from them, those that stop the run as well: they say why.
  const [learnt, recorded] = await Promise.allSettled([
    learnFrom(loop, step, { groups, spare, batch_P, staleness }),
    recordRollouts(loop, step, { spare, batch_P }),
  ]);
  if (learnt.status === "rejected") throw learnt.reason;
  if (recorded.status === "rejected") throw recorded.reason;

  const { metrics, learningRate } = learnt.value;
  const all = [...groups, ...spare];
  const values = {
    ...measureRollouts(all),
    shortAnswers: shareOfShortAnswers(all, loop.task.topK),
    ...metrics.summarise(),
    learningRate,
    ...(config.overlapSteps > 0 ? { staleness } : {}),
  };
  const cache = measureCache(recommender, missesBefore, all);
  const rewrite = findBestRewrite(groups, loop.task);
  Object.assign(seconds, learnt.value.seconds);
  return { values, seconds, cursor, skipped: metrics.skipped > 0, cache, ...(rewrite ? { rewrite } : {}) };
}

/** A step's rollouts on their way to the loss. */
interface Batch<E> {
  groups: readonly Group<E>[];
  spare: readonly Group<E>[];
  batch_P: readonly BatchGroup<E>[];
  /** Updates since the weights that sampled. */
  staleness: number;
}

/** Writes a step's rollouts to the run folder. */
async function recordRollouts<E extends object>(
  { config, engine, folder, shown }: Loop<E>,
  step: number,
  { spare, batch_P }: Pick<Batch<E>, "spare" | "batch_P">,
): Promise<void> {
  // The engine has its request before this thread is busy with records.
  await new Promise((resolve) => setImmediate(resolve));
  const every = config.recordTokensEvery;
  const tokenizer = every > 0 && (step === config.warmupSteps + 1 || step % every === 0) ? engine.tokenizer : undefined;
  const records = [...batch_P, ...spare.map((group) => toBatchGroup(group, config))].flatMap(
    ({ group, scored_G, advantages_G }) => {
      const advantageOf = new Map(scored_G.map((rollout, g) => [rollout, advantages_G[g] as number]));
      const all_G = group.rollouts.map((rollout) => advantageOf.get(rollout) ?? null);
      return toRolloutRecords(group, { step, advantages_G: all_G, recordHits: config.recordHits, tokenizer });
    },
  );
  await folder.writeRollouts(step, records);
  for (const { group } of batch_P) {
    await shown.add(group.rollouts.map(({ hits }) => ({ example: group.example, hits })));
  }
}

/** The update, or the updates, of a step. */
async function learnFrom<E extends object>(
  loop: Loop<E>,
  step: number,
  { groups, spare, batch_P, staleness }: Batch<E>,
): Promise<{ metrics: UpdateMetrics; learningRate: number; seconds: Record<string, number> }> {
  const { config, engine, recommender, signal } = loop;
  const seconds: Record<string, number> = {};
  checkFailureShare([...groups, ...spare], config.maxFailureShare);
  if (config.recommenderCheckEvery > 0 && step % config.recommenderCheckEvery === 0) {
    await checkUnchanged(recommender, loop.fingerprint);
  }

  // Data of the groups that carry a gradient, with the reference's log-probs where the loss needs them.
  for (const group of batch_P) if (group.learns) group.data_G = toData(group, config);
  if (config.klCoef > 0) {
    const start = performance.now();
    const data = batch_P.flatMap(({ data_G }) => data_G);
    const options = { weights: "reference" as const, temperature: config.temperature, ...(signal ? { signal } : {}) };
    const refLogprobs = await engine.logprobs(data, options);
    data.forEach((datum, i) => (datum.refLogprobs = refLogprobs[i] as Float32Array));
    seconds.reference = (performance.now() - start) / 1000;
  }

  // Updates.
  const metrics = new UpdateMetrics();
  const adam = adamParams(config, learningRateAt(step - config.warmupSteps, config));
  const start = performance.now();
  for (let epoch = 0; epoch < config.epochsPerBatch; epoch++) {
    const shuffled_P =
      config.minibatches > 1 ? shuffle(batch_P, randomStream(config.seed, "minibatches", step, epoch)) : batch_P;
    for (let part = 0; part < config.minibatches; part++) {
      const [first, end] = [part, part + 1].map((i) => Math.floor((i * shuffled_P.length) / config.minibatches));
      const minibatch = shuffled_P.slice(first, end);
      const data = minibatch.flatMap(({ data_G }) => data_G);
      if (data.length === 0) continue;
      const isFirst = epoch === 0 && metrics.isEmpty && staleness === 0;
      const result = await engine.forwardBackward(data, policyLoss(config, minibatch), signal ? { signal } : {});
      metrics.addForwardBackward(data, result, isFirst);
      if (config.distillCoef > 0) await distillBest(loop, minibatch);
      await applyGradients(loop, { step, adam, result, data, metrics });
      loop.onEvent({
        kind: "progress",
        activity: "learning",
        step,
        done: end as number,
        total: batch_P.length,
      });
    }
  }
  seconds.learn = (performance.now() - start) / 1000;

  return { metrics, learningRate: adam.learningRate, seconds };
}

/** A group on its way to the loss. */
interface BatchGroup<E> {
  group: Group<E>;
  /** Rollouts that were not dropped. */
  scored_G: Rollout[];
  /** Of `scored_G`. */
  advantages_G: number[];
  /** Whether it has a gradient. */
  learns: boolean;
  data_G: Datum[];
}

function toBatchGroup<E>(group: Group<E>, config: TrainConfig): BatchGroup<E> {
  const scored_G = group.rollouts.filter(({ reward }) => reward !== null);
  const differs = hasVariance(scored_G.map(({ reward }) => reward as number));
  const learns = differs || (config.klCoef > 0 && config.klOnEqualGroups);
  return { group, scored_G, advantages_G: scored_G.map(() => 0), learns, data_G: [] };
}

function setAdvantages(batch_P: readonly BatchGroup<unknown>[], config: TrainConfig): void {
  const norm = config.advantageNorm === "auto" ? (config.loss === "dr_grpo" ? "none" : "group") : config.advantageNorm;
  const rewards_P_G = batch_P.map(({ scored_G }) => scored_G.map(({ reward }) => reward as number));
  const advantages_P_G = computeAdvantages(rewards_P_G, { norm, baseline: config.advantageBaseline });
  batch_P.forEach((group, p) => {
    const advantages_G = advantages_P_G[p] as number[];
    group.advantages_G = advantages_G.map((a) => (a < 0 ? a * config.negativeScale : a));
  });
}

/**
 * Every completion of a rollout (of an episode, its turns) has the rollout's advantage. Without one, and without a KL
 * term, it has no gradient and is left out.
 */
function toData({ scored_G, advantages_G }: BatchGroup<unknown>, config: TrainConfig): Datum[] {
  return scored_G.flatMap(({ turns }, g) => {
    const advantage = advantages_G[g] as number;
    if (advantage === 0 && config.klCoef === 0) return [];
    return turns.map(({ promptIds, sample }) => ({
      prompt: promptIds,
      completion: sample.ids,
      oldLogprobs: sample.logprobs,
      advantage,
      ...(config.correctTruncation && sample.keptMass ? { weights: sample.keptMass } : {}),
    }));
  });
}

/** The loss of a minibatch, divided by all of its completions, those without a gradient included. */
function policyLoss(config: TrainConfig, minibatch: readonly BatchGroup<unknown>[]): Loss {
  const { loss: name, clipLow, clipHigh, klCoef, klEstimator, aggregation, temperature, maxTokens } = config;
  const samples = minibatch.flatMap(({ scored_G }) =>
    scored_G.flatMap(({ turns }) => turns.map(({ sample }) => sample)),
  );
  return {
    name,
    klCoef,
    klEstimator,
    temperature,
    maxTokens,
    ...(clipLow === undefined ? {} : { clipLow }),
    ...(clipHigh === undefined ? {} : { clipHigh }),
    ...(aggregation === undefined ? {} : { aggregation }),
    batch: { tokens: samples.reduce((sum, { ids }) => sum + ids.length, 0), completions: samples.length },
  };
}

/** Adds cross-entropy on the best completion of each group whose rewards differ. */
async function distillBest<E extends object>(loop: Loop<E>, minibatch: readonly BatchGroup<E>[]): Promise<void> {
  const { engine, config, signal } = loop;
  const data = minibatch
    .filter(({ scored_G }) => hasVariance(scored_G.map(({ reward }) => reward as number)))
    .map(({ scored_G }): Datum => {
      const best = scored_G.reduce((a, b) => ((b.reward as number) > (a.reward as number) ? b : a));
      return { prompt: best.promptIds, completion: best.sample.ids, weight: config.distillCoef };
    });
  if (data.length > 0) await engine.forwardBackward(data, crossEntropy(data), signal ? { signal } : {});
}

/**
 * The step's groups. With `resampleRounds`, prompts whose groups are all equal are replaced by new ones as often as it
 * says (DAPO's dynamic sampling, Yu et al. 2025); groups that were replaced are `spare`.
 */
async function collectGroups<E extends object>(
  loop: Loop<E>,
  { step, cursor: from, signal }: { step: number; cursor: number; signal: AbortSignal },
): Promise<StepRollouts<E>> {
  const { config, order, train } = loop;
  const used = new Set<LoadedExample<E>>();
  const learning: Group<E>[] = [];
  const equal: Group<E>[] = [];
  const seconds: Record<string, number> = { sample: 0, search: 0 };
  let cursor = from;
  for (let round = 0; round <= config.resampleRounds; round++) {
    const wanted = config.promptsPerStep - learning.length;
    if (wanted === 0 || (round > 0 && used.size + wanted > train.length)) break;
    const draw = order.draw(cursor, wanted, used);
    cursor = draw.cursor;
    draw.items.forEach((item) => used.add(item));
    const collected = await collectRollouts(draw.items, {
      engine: loop.engine,
      recommender: loop.recommender,
      task: loop.task,
      sampling: { ...samplingParams(loop, step, round), signal },
      maxFailureShare: config.maxFailureShare,
      maxPromptTokens: config.maxPromptTokens,
      overlongShare: config.overlongShare,
    });
    for (const group of collected.groups)
      (toBatchGroup(group, { ...config, klCoef: 0 }).learns ? learning : equal).push(group);
    seconds.sample = (seconds.sample as number) + collected.seconds.sample;
    seconds.search = (seconds.search as number) + collected.seconds.search;
  }
  const missing = config.promptsPerStep - learning.length;
  return { groups: [...learning, ...equal.slice(0, missing)], spare: equal.slice(missing), cursor, seconds };
}

function samplingParams<E extends object>(loop: Loop<E>, step: number, round: number): Parameters<Engine["sample"]>[1] {
  const { config, onEvent } = loop;
  const total = config.promptsPerStep * config.groupSize;
  return {
    n: config.groupSize,
    maxTokens: config.maxTokens,
    temperature: config.temperature,
    topP: config.topP,
    topK: config.topK,
    minP: config.minP,
    seed: randomStream(config.seed, "sample", step, round).nextInt(2 ** 31),
    onProgress: (done) => onEvent({ kind: "progress", activity: "sampling", step, done, total }),
  };
}

async function saveCheckpoint<E extends object>(loop: Loop<E>): Promise<void> {
  const { folder, engine, state, config } = loop;
  const snapshot: TrainState = structuredClone(state);
  await folder.saveCheckpoint(state.step, snapshot, (dir) => engine.saveState(dir));
  if (state.best) await folder.writeBest(state.best);
  await folder.pruneCheckpoints({
    keepLast: config.keepCheckpoints,
    keepSteps: state.best ? [state.best.step] : [],
    dropEngine: (dir) => engine.dropState?.(dir) ?? Promise.resolve(),
  });
  loop.onEvent({ kind: "checkpoint", step: state.step });
}
