/**
 * Task files: TypeScript or JavaScript modules that import this package by its name wherever they lie, installed or
 * not. The module's default export is a task, or a function that makes one.
 */
import { existsSync, readdirSync } from "node:fs";
import { dirname, extname, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { createJiti } from "jiti";
import { ConfigError, RecR1Error, TaskError } from "../core/errors.ts";
import { suggestion } from "../core/suggest.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import { isTask } from "../rl/task.ts";
import { openRecommender } from "./recommender-settings.ts";
import { openPreset, presetOf } from "./preset-tasks.ts";
import type { Task, TaskContext } from "../rl/task.ts";

/** What a task file may export. */
interface TaskModule {
  default?: unknown;
  recommender?: unknown;
  config?: unknown;
}

export interface LoadedTask {
  task: Task<object>;
  /** Opens the recommender that the task file exports. */
  openRecommender: () => Promise<Recommender>;
  /** The file's own settings. */
  config: Readonly<Record<string, unknown>>;
  /** Everything that the file exports. */
  exports: Readonly<Record<string, unknown>>;
  /** Absolute path of the file, or the preset with its options. */
  path: string;
}

/**
 * Loads a task file, or a preset by its name.
 * @throws ConfigError `TASK_FILE_MISSING`; TaskError `TASK_FILE_FAILED`, `BAD_TASK_FILE`
 */
export async function loadTask(file: string, context: TaskContext): Promise<LoadedTask> {
  const path = resolve(file);
  if (presetOf(file) && !existsSync(path)) {
    return { ...(await openPreset(file, context.data)), config: {}, exports: {}, path: file };
  }
  if (!existsSync(path)) throw missingFile(file, path);
  const module = await importTaskFile(path);
  const bad = (what: string): TaskError => new TaskError("BAD_TASK_FILE", `${path}: ${what}`, { details: { path } });
  const task: unknown = await callExport(path, "default", module.default, context);
  if (!isTask(task)) {
    throw bad("the default export must be defineTask({ ... }), or a function that returns it.");
  }
  const { recommender, config = {} } = module;
  if (typeof config !== "object" || config === null) throw bad("the export `config` must be an object of options.");
  return {
    task,
    path,
    config: config as Record<string, unknown>,
    exports: { ...module },
    openRecommender: async () => {
      if (typeof recommender === "object" && recommender !== null) {
        return openRecommender(recommender, { source: path, folder: dirname(path) });
      }
      if (typeof recommender !== "function") {
        throw bad(
          'it must export `recommender`, a function that opens the search engine, such as: export const recommender = () => LanceDbRecommender.fromJsonl("catalogue.jsonl", { text: ["title"] });',
        );
      }
      const opened: unknown = await callExport(path, "recommender", recommender, context);
      if (!isRecommender(opened)) throw bad("`recommender` did not return a Recommender (search, fingerprint, close).");
      return opened;
    },
  };
}

/** Modules of this package by the names that task files import them by. */
async function packageModules(): Promise<Record<string, unknown>> {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  const extension = extname(fileURLToPath(import.meta.url));
  const modules: Record<string, unknown> = { "rec-r1": await import("../index.ts") };
  for (const folder of ["engines", "recommenders"]) {
    for (const entry of readdirSync(resolve(root, folder), { withFileTypes: true })) {
      const path = resolve(root, folder, entry.name, `index${extension}`);
      if (!entry.isDirectory() || !existsSync(path)) continue;
      modules[`rec-r1/${folder}/${entry.name}`] = await import(pathToFileURL(path).href);
    }
  }
  return modules;
}

async function importTaskFile(path: string): Promise<TaskModule> {
  const virtualModules = await packageModules();
  const jiti = createJiti(pathToFileURL(path).href, { virtualModules, fsCache: false, interopDefault: false });
  try {
    return await jiti.import<TaskModule>(path);
  } catch (error) {
    if (error instanceof RecR1Error) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new TaskError("TASK_FILE_FAILED", `${path} could not be loaded: ${reason}`, {
      cause: error,
      details: { path },
    });
  }
}

async function callExport(path: string, name: string, value: unknown, context: TaskContext): Promise<unknown> {
  if (typeof value !== "function") return value;
  try {
    return await (value as (context: TaskContext) => unknown)(context);
  } catch (error) {
    if (error instanceof RecR1Error) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new TaskError("TASK_THREW", `${path}: the export \`${name}\` threw: ${reason}`, {
      cause: error,
      details: { path },
    });
  }
}

function isRecommender(value: unknown): value is Recommender {
  return ["search", "fingerprint", "close"].every(
    (key) => typeof (value as Record<string, unknown> | null)?.[key] === "function",
  );
}

function missingFile(file: string, path: string): ConfigError {
  const folder = dirname(path);
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => /\.[cm]?[jt]s$/.test(name)) : [];
  const known = existsSync(folder) ? suggestion(file.slice(file.lastIndexOf("/") + 1), names) : "";
  return new ConfigError("TASK_FILE_MISSING", `There is no task file ${path}.${known}`, { details: { path } });
}
