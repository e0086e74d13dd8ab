// The loop's own limits, with an engine and a recommender that answer at once: rollouts a second, and memory over many
// steps. Options: --steps N (10000), --prompts N (8), --group-size N (4), --tokens N (16).
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { train } from "../dist/index.js";
import { numberOption } from "./parts/statistics.mjs";
import { simulatedEngine, simulatedRecommender, simulatedTask } from "./parts/simulated.mjs";

const megabytes = (bytes) => Math.round(bytes / 1e6);

/** Memory in use, in MB: the heap after a collection, where node was started so that it can be asked for one. */
function measureMemory() {
  globalThis.gc?.();
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  return { rss_mb: megabytes(rss), heap_mb: megabytes(heapUsed), array_buffers_mb: megabytes(arrayBuffers) };
}

export async function run(args, say) {
  const steps = numberOption(args, "steps", 10_000);
  const prompts = numberOption(args, "prompts", 8);
  const groupSize = numberOption(args, "group-size", 4);
  const completionTokens = numberOption(args, "tokens", 16);
  const root = await mkdtemp(join(tmpdir(), "rec-r1-coordinator-"));
  const memory = [];
  const every = Math.max(1, Math.floor(steps / 10));
  const start = performance.now();
  try {
    await train({
      task: simulatedTask(Math.max(500, prompts)),
      engine: simulatedEngine({ completionTokens, encodes: true }),
      recommender: simulatedRecommender({}),
      runDir: join(root, "run"),
      steps,
      promptsPerStep: prompts,
      groupSize,
      maxTokens: completionTokens,
      evalEvery: 0,
      checkpointEvery: every,
      onEvent: (event) => {
        if (event.kind !== "step" || event.record.step % every !== 0) return;
        memory.push({ step: event.record.step, ...measureMemory() });
        say(JSON.stringify(memory.at(-1)));
      },
    });
  } finally {
    await rm(root, { recursive: true, force: true });
  }
  const seconds = (performance.now() - start) / 1000;
  const rollouts = steps * prompts * groupSize;
  // The first tenth fills caches.
  const growth = memory.at(-1).heap_mb - memory[Math.min(1, memory.length - 1)].heap_mb;
  return {
    steps,
    rollouts,
    seconds,
    rollouts_per_second: rollouts / seconds,
    steps_per_second: steps / seconds,
    heap_growth_mb: growth,
    memory,
  };
}
