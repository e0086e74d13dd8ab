// How near the loop comes to the ideal schedule, with sampling, search and training of given latencies on an imagined
// server: for each k, steps that rollouts may be ahead. Options: --steps N (30), --sample-ms N (400), --search-ms N (100),
// --train-ms N (400), --prompts N (32), --group-size N (12), --max-ahead N (2).
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { train } from "../dist/index.js";
import { numberOption } from "./parts/statistics.mjs";
import { simulatedEngine, simulatedRecommender, simulatedTask } from "./parts/simulated.mjs";

/**
 * Milliseconds of `steps` steps at best: rollouts of a step begin when the weights of k steps before are there, an update
 * when its rollouts and the update before it are done.
 */
export function idealMs({ steps, sampleMs, searchMs, trainMs }, ahead) {
  const updated = [0];
  for (let step = 1; step <= steps; step++) {
    const rollouts = updated[Math.max(0, step - 1 - ahead)] + sampleMs + searchMs;
    updated.push(Math.max(updated[step - 1], rollouts) + trainMs);
  }
  return updated[steps];
}

async function measure(work, ahead) {
  const root = await mkdtemp(join(tmpdir(), "rec-r1-overlap-"));
  const engine = simulatedEngine(work);
  try {
    await train({
      task: simulatedTask(),
      engine,
      recommender: simulatedRecommender(work),
      runDir: join(root, "run"),
      steps: work.steps,
      promptsPerStep: work.prompts,
      groupSize: work.groupSize,
      overlapSteps: ahead,
      evalEvery: 0,
      checkpointEvery: work.steps + 1,
    });
  } finally {
    await rm(root, { recursive: true, force: true });
  }
  return engine.marks.lastUpdate - engine.marks.firstSample;
}

export async function run(args, say) {
  const work = {
    steps: numberOption(args, "steps", 30),
    sampleMs: numberOption(args, "sample-ms", 400),
    searchMs: numberOption(args, "search-ms", 100),
    trainMs: numberOption(args, "train-ms", 400),
    prompts: numberOption(args, "prompts", 32),
    groupSize: numberOption(args, "group-size", 12),
  };
  const results = {};
  // The first run compiles the code of the others.
  await measure({ ...work, steps: 2, sampleMs: 1, searchMs: 1, trainMs: 1 }, 1);
  for (let ahead = 0; ahead <= numberOption(args, "max-ahead", 2); ahead++) {
    const ms = await measure(work, ahead);
    const ideal = idealMs(work, ahead);
    results[`ahead_${ahead}`] = { seconds: ms / 1000, ideal_seconds: ideal / 1000, share_of_ideal: ideal / ms };
    say(`${ahead} steps ahead: ${(ms / 1000).toFixed(2)} s, ideally ${(ideal / 1000).toFixed(2)} s`);
  }
  return { ...work, ...results };
}
