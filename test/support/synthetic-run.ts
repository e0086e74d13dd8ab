/**
 * A run folder as training would write it, without a model: icons that are looked for by their aliases, a policy that
 * gets better with each step, and some of everything that goes wrong. Written by the real writer of run folders.
 */
import { readFile } from "node:fs/promises";
import { randomStream, type Random } from "../../src/core/random.ts";
import { iconSvg, loadIcons, type IconExample } from "../../src/datasets/icons.ts";
import { ndcg } from "../../src/ranking/index.ts";
import { standardErrorsOf } from "../../src/rl/evaluation.ts";
import { stepName } from "../../src/runs/checkpoints.ts";
import type {
  EvaluationFile,
  EvaluationRecord,
  MetricsRecord,
  RolloutRecord,
  RunManifest,
  ShownRecord,
  TimingRecord,
} from "../../src/runs/records.ts";
import { runFormat } from "../../src/runs/records.ts";
import { RunFolder, addEvaluation, readBest, writeShownOfSplit } from "../../src/runs/run-folder.ts";

export interface SyntheticRunOptions {
  /** Steps in the configuration. */
  steps: number;
  /** Steps that were taken. Default: all. */
  taken?: number;
  promptsPerStep: number;
  groupSize: number;
  seed?: number;
  evalEvery?: number;
  /** Whether there is an evaluation before the first step. Default true. */
  evalFirst?: boolean;
  /** Examples of the validation and test splits. Default 100. */
  evaluated?: number;
  recordTokensEvery?: number;
  /** Other settings in the manifest's config. */
  config?: Record<string, unknown>;
  /** Whether pictures are recorded with the items. Default true. */
  pictures?: boolean;
  /** Titles that replace those of the first items, such as hostile ones. */
  titles?: readonly string[];
  onStep?: (step: number) => void;
}

interface World {
  examples: readonly IconExample[];
  test: readonly IconExample[];
  /** Ids of items that are found. */
  items: readonly string[];
  titles: ReadonlyMap<string, string>;
}

async function openWorld({ evaluated = 100, titles = [] }: SyntheticRunOptions): Promise<World> {
  const { catalogue, train, test } = await loadIcons();
  const examples = train.slice(0, 400);
  const tested = test.slice(0, evaluated);
  const wanted = [...examples, ...tested].flatMap(({ relevant }) => relevant);
  const items = [...new Set([...wanted, ...catalogue.slice(0, 600).map(({ id }) => id)])];
  return {
    examples,
    test: tested,
    items,
    titles: new Map(items.map((id, i) => [id, titles[i] ?? id.replaceAll("-", " ")])),
  };
}

/** What the policy writes and finds for an example; `skill` from 0 to 1. */
function answer(world: World, example: IconExample, skill: number, random: Random) {
  const [first = ""] = example.relevant;
  const name = first.split("-");
  const pick = <T>(all: readonly T[]): T => all[random.nextInt(all.length)] as T;
  const isGood = random.next() < 0.15 + 0.75 * skill;
  const added = isGood ? pick(name) : pick(world.items).split("-")[0];
  const completion =
    random.next() < 0.03 ? `${added} `.repeat(12).trim() : `${added} ${isGood ? pick(name) : ""}`.trim();
  const isUnparsed = random.next() < 0.04 * (1 - skill);
  const query = isUnparsed ? null : `${example.query} ${completion}`;
  const hits = Array.from({ length: 10 }, () => pick(world.items));
  if (isGood && !isUnparsed) hits[Math.min(9, Math.floor(random.next() ** 2 * 6))] = first;
  const found = [...new Set(hits)];
  const score = ndcg(
    found.map((id) => ({ id })),
    example.relevant,
    { k: 10 },
  );
  return { completion, query, hits: query === null ? null : found, score: query === null ? 0 : score };
}

/** Skill after a step: rises and levels off. */
const skillAt = (step: number, steps: number): number => 1 - Math.exp((-3 * step) / steps);

function evaluate(
  world: World,
  split: readonly IconExample[],
  policy: string,
  name: string,
  skill: number,
  seed: number,
): EvaluationFile {
  const records = split.map((example, i): EvaluationRecord => {
    const random = randomStream(seed, "evaluation", name, Math.round(skill * 1e6), i);
    const isRaw = policy === "raw";
    const { completion, query, hits, score } = answer(world, example, isRaw ? 0.1 : skill, random);
    return {
      example: example.id,
      sample: 0,
      completion: isRaw ? null : completion,
      query: isRaw ? example.query : query,
      hits,
      scores: { "ndcg@10": score },
    };
  });
  const mean = records.reduce((sum, { scores }) => sum + (scores?.["ndcg@10"] ?? 0), 0) / records.length;
  return {
    policy,
    split: name,
    metric: "ndcg@10",
    means: { "ndcg@10": mean },
    counts: { queries: records.length, failed: 0, unparsed: 0, empty: 0 },
    records,
  };
}

/** Pieces of a completion, a token each: words, the longer ones in two. */
function tokensOf(completion: string): string[] {
  return [...(completion.match(/\s*\S{1,5}/g) ?? []), ""];
}

/** Writes a run that is not being trained. @returns rollouts written */
export async function writeSyntheticRun(dir: string, options: SyntheticRunOptions): Promise<number> {
  const world = await openWorld(options);
  const { folder } = await RunFolder.open(dir, { resume: false });
  try {
    await beginRun(folder, options, world);
    let rollouts = 0;
    for (let step = 1; step <= (options.taken ?? options.steps); step++) {
      rollouts += await takeStep(folder, options, world, step);
      options.onStep?.(step);
    }
    await compareSplit(dir, options, world);
    return rollouts;
  } finally {
    await folder.close();
  }
}

/** A run that a test goes on with step by step, as if it were trained. */
export async function openSyntheticRun(dir: string, options: SyntheticRunOptions) {
  const world = await openWorld(options);
  const { folder } = await RunFolder.open(dir, { resume: false });
  await beginRun(folder, options, world);
  let step = 0;
  return {
    step: async (): Promise<void> => void (await takeStep(folder, options, world, ++step)),
    close: () => folder.close(),
  };
}

async function beginRun(folder: RunFolder, options: SyntheticRunOptions, world: World): Promise<void> {
  const { steps, promptsPerStep, groupSize, seed = 0, recordTokensEvery = 10, evalEvery = 10 } = options;
  const { version } = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  const manifest: RunManifest = {
    format: runFormat,
    createdAt: new Date(Date.UTC(2026, 0, 5, 9, seed)).toISOString(),
    task: "icons",
    config: {
      seed,
      steps,
      warmupSteps: 0,
      promptsPerStep,
      groupSize,
      evalEvery,
      recordTokensEvery,
      learningRate: 1e-4,
      loss: "grpo",
      ...options.config,
    },
    engine: { kind: "synthetic" },
    recommender: { name: "synthetic", fingerprint: "0" },
    data: { train: { examples: world.examples.length, sha256: "0".repeat(64) } },
    versions: { "rec-r1": version, node: process.versions.node },
    launch: {},
  };
  await folder.writeManifest(manifest);
  await folder.appendShown(await showWorld(world, options.pictures ?? true));
  if (options.evalFirst ?? true) await writeValidation(folder, options, world, 0);
}

async function showWorld({ examples, test, items, titles }: World, pictures: boolean): Promise<ShownRecord[]> {
  const shown: ShownRecord[] = [...examples, ...test].map(({ id, query, relevant }) => ({
    kind: "example",
    id,
    text: query,
    relevant: [...relevant],
  }));
  for (const id of items) {
    const picture = pictures ? { picture: { path: await iconSvg(id) } } : {};
    shown.push({ kind: "item", id, title: titles.get(id) ?? id, ...picture });
  }
  return shown;
}

async function writeValidation(
  folder: RunFolder,
  options: SyntheticRunOptions,
  world: World,
  step: number,
): Promise<number> {
  const { steps, seed = 0 } = options;
  const evaluation = evaluate(world, world.examples.slice(0, 60), stepName(step), "valid", skillAt(step, steps), seed);
  const value = evaluation.means["ndcg@10"] as number;
  await folder.writeEvaluation(`valid-${stepName(step)}`, evaluation);
  const summary: MetricsRecord = {
    kind: "evaluation",
    step,
    split: "valid",
    values: evaluation.means,
    standardErrors: standardErrorsOf(evaluation),
    counts: evaluation.counts,
  };
  await folder.appendMetrics(summary);
  const best = await readBest(folder.dir);
  if (!best || value > best.value) {
    await folder.writeBest({ step, metric: "ndcg@10", value, checkpoint: step === 0 ? null : stepName(step) });
  }
  return value;
}

async function takeStep(folder: RunFolder, options: SyntheticRunOptions, world: World, step: number): Promise<number> {
  const { steps, promptsPerStep, groupSize, seed = 0, recordTokensEvery = 10, evalEvery = 10 } = options;
  const random = randomStream(seed, "step", step);
  const skill = skillAt(step, steps);
  const records: RolloutRecord[] = [];
  for (let p = 0; p < promptsPerStep; p++) {
    const example = world.examples[(step * promptsPerStep + p) % world.examples.length] as IconExample;
    const answers = Array.from({ length: groupSize }, () => answer(world, example, skill, random));
    const mean = answers.reduce((sum, { score }) => sum + score, 0) / groupSize;
    const deviation = Math.sqrt(answers.reduce((sum, { score }) => sum + (score - mean) ** 2, 0) / groupSize);
    answers.forEach(({ completion, query, hits, score }, sample) => {
      const tokenTexts = tokensOf(completion);
      const tokenLogprobs = tokenTexts.map(() => Math.round(-3000 * random.next() ** 3) / 1000);
      records.push({
        step,
        example: example.id,
        sample,
        completion,
        query,
        hits,
        reward: score,
        advantage: deviation < 1e-9 ? 0 : (score - mean) / deviation,
        tokens: tokenTexts.length,
        logprob: tokenLogprobs.reduce((a, b) => a + b, 0),
        stop: "stop",
        ...(step === 1 || step % recordTokensEvery === 0 ? { tokenTexts, tokenLogprobs } : {}),
      });
    });
  }
  await folder.writeRollouts(step, records);
  const mean = (pick: (record: RolloutRecord) => number): number =>
    records.reduce((sum, record) => sum + pick(record), 0) / records.length;
  const noise = (): number => 0.9 + 0.2 * random.next();
  await folder.appendMetrics({
    kind: "step",
    step,
    phase: "rl",
    values: {
      reward: mean(({ reward }) => reward ?? 0),
      rewardBest: Math.min(1, mean(({ reward }) => reward ?? 0) * 1.5),
      rewardStd: 0.2,
      learningGroups: Math.min(1, 0.95 - 0.4 * skill * noise()),
      rollouts: records.length,
      failed: 0,
      unparsed: mean(({ query }) => Number(query === null)),
      empty: 0,
      truncated: 0,
      differentQueries: 0.9 - 0.3 * skill * noise(),
      completionTokens: mean(({ tokens }) => tokens),
      loss: 0.01 * noise(),
      gradNorm: 0.4 * noise(),
      entropy: (2.4 - 1.3 * skill) * noise(),
      clipFraction: 0.04 * noise(),
      approxKl: 0.002 * noise(),
      klToReference: 0.4 * skill * noise(),
      samplerDifference: 2e-6 * noise(),
      learningRate: 1e-4,
    },
  });
  const total = 4 * noise();
  const timing: TimingRecord = {
    step,
    endedAt: new Date(Date.UTC(2026, 0, 5, 9, 0, step * 5)).toISOString(),
    seconds: { sample: 0.6 * total, search: 0.05 * total, learn: 0.3 * total, total },
    cache: { queries: records.length, asked: Math.round(records.length / 2), hitRate: 0.5 },
    recommender: {
      calls: 3,
      queries: Math.round(records.length / 2),
      errors: random.next() < 0.03 ? 1 : 0,
      p50Ms: 8 * noise(),
      p95Ms: 19 * noise(),
    },
  };
  await folder.appendTiming(timing);
  if (step % evalEvery === 0) await writeValidation(folder, options, world, step);
  return records.length;
}

/** What `rec-r1 eval` would write. */
async function compareSplit(
  dir: string,
  { steps, taken = steps, seed = 0, pictures = true }: SyntheticRunOptions,
  world: World,
): Promise<void> {
  const skills = { raw: 0.1, untrained: 0.05, tuned: skillAt(taken, steps) };
  for (const [policy, skill] of Object.entries(skills)) {
    await addEvaluation(dir, `test-${policy}`, evaluate(world, world.test, policy, "test", skill, seed));
  }
  await writeShownOfSplit(dir, "test", await showWorld({ ...world, items: [] }, pictures));
}
