/** The engine that a run's settings ask for; a known model that isn't there yet is fetched first. */
import { existsSync } from "node:fs";
import type { Engine } from "../engines/engine.ts";
import type { ProjectionName } from "../engines/local/index.ts";
import { fetchModel } from "./fetch-model.ts";
import { type EngineConfig, templateVariablesOf } from "./launch-config.ts";
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
  const { model, loraRank, loraAlpha, loraTargets, full, threads, maxRows, memoryGb } = config;
  if (!existsSync(model)) await fetchModel(model, reporter, signal);
  reporter.status(`loading ${model}`);
  const { LocalEngine } = await import("../engines/local/index.ts");
  return LocalEngine.load(model, {
    seed,
    full,
    ...templateVariablesOf(config),
    ...(full ? { keepReference } : { loraRank }),
    ...(full || loraAlpha === undefined ? {} : { loraAlpha }),
    ...(full || loraTargets === undefined ? {} : { loraTargets: parseTargets(loraTargets) }),
    ...(threads === undefined ? {} : { threads }),
    ...(maxRows === undefined ? {} : { maxRows }),
    ...(memoryGb === undefined ? {} : { memoryGb }),
  });
}

/** Names as the engine knows them, which refuses others. */
function parseTargets(text: string): ProjectionName[] {
  return text.split(",").map((name) => name.trim() as ProjectionName);
}
