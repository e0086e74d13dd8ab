/** The icons of the demo, for a run that is over in a minute: enough for weights that differ from the base model's. */
import { defineTask, loadIcons, type IconExample } from "rec-r1";
import { fromFunction } from "rec-r1/recommenders/function";

export const recommender = () => fromFunction(async (queries) => queries.map(() => []));

export const config = {
  doctor: false,
  warmupSteps: 12,
  warmupBatch: 16,
  warmupLearningRate: 2e-3,
  maxTokens: 8,
  evalEvery: 0,
};

export default async () => {
  const { train } = await loadIcons();
  return defineTask<IconExample>({
    name: "export-check",
    data: { train: train.slice(0, 200) },
    prompt: ({ query }) => [
      { role: "system", content: "icon search" },
      { role: "user", content: query },
    ],
    reward: () => 0,
    topK: 1,
    warmup: {
      examples: ({ train: examples, task }) =>
        examples.map(({ example }) => ({
          messages: task.prompt(example),
          completion: example.relevant[0]?.replaceAll("-", " ") ?? "",
        })),
    },
  });
};
