/** Finding one of eight items by a word that the user never says: learnable from reward alone in a few dozen steps. */
import { ndcg } from "../../src/ranking/index.ts";
import { defineTask } from "../../src/rl/task.ts";
import type { Task, TaskDefinition } from "../../src/rl/task.ts";
import type { Example } from "../../src/datasets/examples.ts";
import { TabularEngine } from "./tabular-engine.ts";
import { WordSearch } from "./word-search.ts";

const items = ["anchor", "beacon", "castle", "dragon", "ember", "forest", "glacier", "harbor"];

export const examples: Example[] = items.map((item, i) => ({ id: `q${i}`, query: `thing ${i}`, relevant: [item] }));

export function makeTask(extra: Partial<TaskDefinition> = {}): Task {
  return defineTask({
    name: "words",
    data: { train: examples, valid: examples },
    prompt: (example) => `Find ${example.query}`,
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : -0.5),
    topK: 10,
    ...extra,
  });
}

export function makeParts(): { engine: TabularEngine; recommender: WordSearch } {
  return {
    engine: new TabularEngine(items),
    recommender: new WordSearch(Object.fromEntries(items.map((item) => [item, item]))),
  };
}

/** Options under which the task is learnt in seconds. */
export const quick = {
  steps: 30,
  promptsPerStep: 8,
  groupSize: 8,
  maxTokens: 2,
  learningRate: 0.3,
  evalEvery: 10,
  checkpointEvery: 5,
} as const;
