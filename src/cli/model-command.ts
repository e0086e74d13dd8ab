/** `rec-r1 model pull | list`: models that can be asked for by name. */
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { fetchModel } from "./fetch-model.ts";
import { Reporter } from "./progress.ts";

export function define(command: Command): void {
  command
    .command("pull")
    .description("fetch a model into the cache")
    .argument("<name>", "known name or hub repository (see: rec-r1 model list)")
    .option("--json", "print the result as one JSON object on the last line")
    .action(pullModel);
  command
    .command("list")
    .description("list the known models and which of them are in the cache")
    .option("--json", "print the result as one JSON object on the last line")
    .action(listModels);
  command
    .command("export")
    .description("write a model as a Hugging Face folder in float32, for programs that read nothing else")
    .argument("<model>", "Hugging Face folder, .gguf file or known name")
    .argument("<folder>", "where to; empty or absent")
    .action(exportToFolder);
}

async function exportToFolder(model: string, folder: string): Promise<void> {
  const { exportModel } = await import("../models/export-folder.ts");
  await exportModel(model, folder);
  process.stdout.write(`${model} is in ${folder}\n`);
}

async function pullModel(name: string, { json }: { json?: boolean }): Promise<void> {
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; what was fetched so far is kept"));
  try {
    const { path, fromCache } = await fetchModel(name, reporter, interrupt.signal);
    reporter.clear();
    const text = fromCache ? `${name} is in the cache already: ${path}` : `${name} is ready: ${path}`;
    process.stdout.write(json ? `${JSON.stringify({ name, path, fromCache })}\n` : `${text}\n`);
  } finally {
    reporter.clear();
    interrupt.dispose();
  }
}

async function listModels({ json }: { json?: boolean }): Promise<void> {
  const { knownModels } = await import("../models/known-models.ts");
  const { findCachedModel, modelCacheDir } = await import("../models/model-cache.ts");
  const models = await Promise.all(
    knownModels.map(async ({ name, repo }) => {
      const cached = await findCachedModel(modelCacheDir(), name);
      return { name, repo, path: cached?.path ?? null };
    }),
  );
  const width = Math.max(...models.map(({ name }) => name.length));
  const lines = models.map(({ name, repo, path }) => `${name.padEnd(width)}  ${path ?? `not fetched (${repo})`}`);
  process.stdout.write(json ? `${JSON.stringify({ models })}\n` : `${lines.join("\n")}\n`);
}
