/** `rec-r1 engine serve`: this machine's local engine as a Tinker server, for rec-r1 and other clients of that API. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { InvalidArgumentError, Option } from "commander";
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { Closing } from "./closing.ts";
import { fetchModel } from "./fetch-model.ts";
import { Reporter } from "./progress.ts";
import { readKey } from "./remote-engine.ts";

interface ServeFlags {
  model: string;
  port: number;
  dir: string;
  maxModels: number;
  threads?: number;
  apiKeyEnv: string;
}

const wholeNumber =
  (min: number, max: number) =>
  (text: string): number => {
    const number = Number(text);
    if (Number.isInteger(number) && number >= min && number <= max) return number;
    throw new InvalidArgumentError(`Expected a whole number from ${min} to ${max}.`);
  };

export function define(command: Command): void {
  command
    .command("serve")
    .description("serve the local engine over the Tinker API, on this machine's loopback address")
    .option(
      "--model <text>",
      "Hugging Face folder, .gguf file or known name (see: rec-r1 model list)",
      "smollm2-135m-instruct",
    )
    .addOption(new Option("--port <number>", "0: any free one").argParser(wholeNumber(0, 65_535)).default(8321))
    .option("--dir <folder>", "saved states are kept here; the same folder again finds them", ".rec-r1/engine")
    .addOption(new Option("--max-models <number>", "models held at once").argParser(wholeNumber(1, 1000)).default(4))
    .addOption(
      new Option("--threads <number>", "CPU threads (default: all physical cores)").argParser(wholeNumber(1, 1024)),
    )
    .option(
      "--api-key-env <name>",
      "environment variable with the key that clients must give, where it is set",
      "REC_R1_ENGINE_KEY",
    )
    .action(serve);
}

async function serve({ model, port, dir, maxModels, threads, apiKeyEnv }: ServeFlags): Promise<void> {
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const closing = new Closing();
  try {
    const apiKey = readKey(apiKeyEnv)?.trim();
    if (!existsSync(model)) await fetchModel(model, reporter, interrupt.signal);
    reporter.status(`loading ${model}`);
    const [{ loadModel }, { LocalEngine }, { listenTinker }] = await Promise.all([
      import("../models/load.ts"),
      import("../engines/local/index.ts"),
      import("../server/tinker/listen.ts"),
    ]);
    const loaded = await loadModel(model, { signal: interrupt.signal });
    const server = closing.add(
      await listenTinker({
        modelName: loaded.name,
        contextLength: loaded.config.contextLength,
        // Adapters are each model's own; the base weights are there once.
        openPolicy: async ({ loraRank, seed }) =>
          new LocalEngine(loaded, { loraRank, seed, ...(threads === undefined ? {} : { threads }) }),
        dir: resolve(dir),
        maxModels,
        port,
        onError: (error) => reporter.line(`error: ${error instanceof Error ? error.message : String(error)}`),
        ...(apiKey ? { apiKey } : {}),
      }),
    );
    reporter.clear();
    process.stdout.write(`${loaded.name} is served at ${server.url}\n`);
    process.stdout.write(`Train on it: rec-r1 train TASK --engine ${server.url}\n`);
    await new Promise<void>((done) => {
      if (interrupt.signal.aborted) done();
      interrupt.signal.addEventListener("abort", () => done(), { once: true });
    });
  } finally {
    reporter.clear();
    await closing.close();
    interrupt.dispose();
  }
}
