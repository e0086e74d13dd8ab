/** A Tinker server on the local engine with a tiny random model, and clients of it; all of it ends with the test. */
import { onTestFinished } from "vitest";
import type { Engine } from "../../../src/engines/engine.ts";
import { LocalEngine } from "../../../src/engines/local/index.ts";
import { TinkerEngine, type TinkerEngineOptions } from "../../../src/engines/tinker/index.ts";
import type { LoadedModel } from "../../../src/models/model.ts";
import { listenTinker, type TinkerServer } from "../../../src/server/tinker/listen.ts";
import type { TinkerApiOptions } from "../../../src/server/tinker/api.ts";
import { letters, makeTinyModel, temporaryFolder } from "../../engines/local/tiny-models.ts";

export interface Served {
  server: TinkerServer;
  model: LoadedModel;
  dir: string;
  connect: (options?: Partial<TinkerEngineOptions>) => Promise<TinkerEngine>;
  /** The same policy in this process. */
  local: (options?: { loraRank?: number; seed?: number }) => LocalEngine;
}

export async function serveTiny(options: Partial<TinkerApiOptions & { port: number }> = {}): Promise<Served> {
  const model = await makeTinyModel();
  const dir = options.dir ?? (await temporaryFolder());
  const openPolicy = async ({ loraRank, seed }: { loraRank: number; seed: number }): Promise<Engine> =>
    new LocalEngine(model, { loraRank, seed, threads: 1 });
  const server = await listenTinker({
    modelName: "tiny",
    contextLength: model.config.contextLength,
    openPolicy,
    dir,
    port: 0,
    ...options,
  });
  onTestFinished(() => server.close());
  return {
    server,
    model,
    dir,
    connect: async (more = {}) => {
      const engine = await TinkerEngine.connect({
        url: server.url,
        tokenizer: letters,
        loraRank: 3,
        attempts: 2,
        maxDelayMs: 50,
        ...(options.apiKey ? { apiKey: options.apiKey } : {}),
        ...more,
      });
      onTestFinished(() => engine.close());
      return engine;
    },
    local: (more = {}) => {
      const engine = new LocalEngine(model, { loraRank: 3, threads: 1, ...more });
      onTestFinished(() => engine.close());
      return engine;
    },
  };
}
