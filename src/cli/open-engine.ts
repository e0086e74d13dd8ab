/** The engine that a run's settings ask for; a known model that isn't there yet is fetched first. */
import { existsSync } from "node:fs";
import type { Engine } from "../engines/engine.ts";
import type { EngineConfig } from "./launch-config.ts";
import type { Reporter } from "./progress.ts";

/** @throws ModelError, EngineError, AbortError */
export async function openEngine(
  config: EngineConfig,
  {
    seed,
    reporter,
    signal,
    keepReference = false,
  }: { seed: number; reporter: Reporter; signal: AbortSignal; keepReference?: boolean },
): Promise<Engine> {
  if (config.engine !== "local") {
    const { openRemoteEngine } = await import("./remote-engine.ts");
    return openRemoteEngine(config, { seed, reporter, signal });
  }
  const { model, loraRank, loraAlpha, full, threads } = config;
  if (!existsSync(model)) await fetchModel(model, reporter, signal);
  reporter.status(`loading ${model}`);
  const { LocalEngine } = await import("../engines/local/index.ts");
  return LocalEngine.load(model, {
    seed,
    full,
    ...(full ? { keepReference } : { loraRank }),
    ...(full || loraAlpha === undefined ? {} : { loraAlpha }),
    ...(threads === undefined ? {} : { threads }),
  });
}

/** Puts a known model into the cache, with progress. @throws ModelError, AbortError */
export async function fetchModel(
  name: string,
  reporter: Reporter,
  signal: AbortSignal,
): Promise<{ path: string; fromCache: boolean }> {
  const { pullModel } = await import("../models/pull.ts");
  return pullModel(name, {
    signal,
    onProgress: ({ source, bytesDone, totalBytes }) => {
      const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);
      const amount =
        totalBytes > 0 ? `${megabytes(bytesDone)} of ${megabytes(totalBytes)} MB` : `${megabytes(bytesDone)} MB`;
      reporter.status(`fetching ${name} from ${source}: ${amount}`);
    },
  });
}
