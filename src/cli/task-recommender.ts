/** The recommender of a run: the task's own or one that settings name, with its answers kept on disk if asked. */
import { resolve } from "node:path";
import { z } from "zod";
import { AnswerLog } from "../recommenders/answer-log.ts";
import { cached } from "../recommenders/cached.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import { openRecommenderFile } from "./recommender-settings.ts";

/** Options of the command line that decide who is asked. */
export const searchShape = {
  recommender: z
    .string()
    .optional()
    .describe("JSON file of the recommender to use (see docs/recommenders.md); default: the task's own"),
  cacheDir: z
    .string()
    .optional()
    .describe("folder that keeps the recommender's answers from run to run; default: none"),
};

export const searchConfigSchema = z.object(searchShape);
export type SearchConfig = z.output<typeof searchConfigSchema>;

/** The same with absolute paths, as a run folder keeps it. */
export function absoluteSearchConfig({ recommender, cacheDir }: SearchConfig): SearchConfig {
  return {
    ...(recommender === undefined ? {} : { recommender: resolve(recommender) }),
    ...(cacheDir === undefined ? {} : { cacheDir: resolve(cacheDir) }),
  };
}

/** Opens it without a memory of its answers, for those who look whether it repeats itself. */
export async function openUncached(
  openOwn: () => Promise<Recommender>,
  file: string | undefined,
  signal: AbortSignal,
): Promise<Recommender> {
  return file === undefined ? openOwn() : openRecommenderFile(file, signal);
}

/**
 * Opens it behind a memory of its answers.
 * @param openOwn Opens the one that the task file exports.
 * @throws ConfigError, RecR1Error where the cache's folder can't be used; what opening the recommender throws
 */
export async function openTaskRecommender(
  openOwn: () => Promise<Recommender>,
  { recommender: file, cacheDir }: SearchConfig,
  { signal, onWarning }: { signal: AbortSignal; onWarning: (message: string) => void },
): Promise<Recommender> {
  const recommender = await openUncached(openOwn, file, signal);
  if (cacheDir === undefined) return cached(recommender);
  try {
    return cached(recommender, { log: await AnswerLog.open(cacheDir, { onWarning }) });
  } catch (error) {
    await recommender.close();
    throw error;
  }
}
