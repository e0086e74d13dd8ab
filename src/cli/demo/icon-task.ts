/**
 * The demo's task: find an icon by the words that people use for it, when only icon names are indexed. The policy reads
 * the user's words and writes words that the icon's name may have, or words of the user's that matter most; both are
 * searched for together.
 */
import { distinctWords, splitWords } from "../../core/words.ts";
import { iconSvg, loadIcons } from "../../datasets/icons.ts";
import type { IconDataset, IconExample } from "../../datasets/icons.ts";
import { ndcg } from "../../ranking/index.ts";
import type { Recommender } from "../../recommenders/recommender.ts";
import { expandQuery } from "../../rl/expand-query.ts";
import { hindsightWarmup } from "../../rl/hindsight.ts";
import { defineTask, type Task } from "../../rl/task.ts";
import type { LoadedTask } from "../load-task.ts";

/** Short: the warm-up says better than instructions what is asked for, and every word costs time in each prompt. */
const systemPrompt = "icon search";

/** The icon task; its reward is NDCG@10. */
export function iconTask({ catalogue, train, valid, test }: IconDataset): Task<IconExample> {
  return defineTask<IconExample>({
    name: "icons",
    data: { train, valid, test },
    prompt: ({ query }) => [
      { role: "system", content: systemPrompt },
      { role: "user", content: query },
    ],
    parse: (completion, { query }) => expandQuery(query, completion, { repeat: true }),
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : 0),
    topK: 10,
    show: async ({ id }) => ({ title: id.replaceAll("-", " "), picture: { path: await iconSvg(id) } }),
    warmup: hindsightWarmup({
      probes: () => catalogue.flatMap(({ title }) => splitWords(title)),
      alsoTry: ({ query }) => distinctWords(query),
      minExamples: 1,
    }),
  });
}

/** The demo's task and recommender, as a task file would give them; its settings are in the run folder. */
export async function loadIconTask(): Promise<LoadedTask> {
  const icons = await loadIcons();
  return {
    task: iconTask(icons) as unknown as Task<object>,
    openRecommender: () => openIconSearch(icons),
    config: {},
    exports: {},
    path: "rec-r1 demo",
  };
}

/** Full-text search over the icons' names, in this process. @throws AbortError */
export async function openIconSearch({ catalogue }: IconDataset, signal?: AbortSignal): Promise<Recommender> {
  const { LanceDbRecommender } = await import("../../recommenders/lancedb/index.ts");
  return LanceDbRecommender.fromRows(
    catalogue.map((row) => ({ ...row })),
    { text: ["title"], ...(signal ? { signal } : {}) },
  );
}
