/** The engine on a server, as a run's settings ask for it. */
import { existsSync } from "node:fs";
import { ConfigError } from "../core/errors.ts";
import type { Engine } from "../engines/engine.ts";
import { type EngineConfig, templateVariablesOf } from "./launch-config.ts";
import { fetchModel } from "./fetch-model.ts";
import type { Reporter } from "./progress.ts";

/** Options that only the local engine has, and that change nothing of what is learnt to speak of. */
const localOptions = ["loraAlpha", "loraTargets", "threads", "maxRows", "memoryGb"];

/**
 * Connects to the Tinker server at `config.engine`. The key comes from the environment and goes nowhere else.
 * @throws ConfigError, ModelError, EngineError, AbortError
 */
export async function openRemoteEngine(
  config: EngineConfig,
  { seed, reporter, signal }: { seed: number; reporter: Reporter; signal: AbortSignal },
): Promise<Engine> {
  const { engine: url, model, baseModel, loraRank, apiKeyEnv, maxOpenRequests } = config;
  if (config.full) {
    throw new ConfigError("LOCAL_OPTION", "full: an engine on a server trains an adapter. Give --no-full.");
  }
  const ignored = localOptions.filter((name) => (config as Record<string, unknown>)[name] !== undefined);
  if (ignored.length > 0) reporter.line(`Only the local engine reads ${ignored.join(", ")}; the server has its own.`);
  // Only the tokenizer is needed here, and it comes with the model.
  if (!existsSync(model)) await fetchModel(model, reporter, signal);
  reporter.status("connecting to the engine's server");
  const { TinkerEngine } = await import("../engines/tinker/index.ts");
  const apiKey = readKey(apiKeyEnv);
  // Requests that are open together fail together: one of them speaks for all until it is sent again.
  let toldUntil = 0;
  return TinkerEngine.connect(
    {
      url,
      model,
      loraRank,
      seed,
      maxOpenRequests,
      ...templateVariablesOf(config),
      keyHint: `the environment variable ${apiKeyEnv}`,
      onWarning: (message) => reporter.line(message),
      onRetry: ({ error, delayMs }) => {
        if (performance.now() < toldUntil) return;
        toldUntil = performance.now() + delayMs;
        reporter.line(`${error.message} Trying again in ${Math.ceil(delayMs / 1000)} s.`);
      },
      ...(baseModel === undefined ? {} : { baseModel }),
      ...(apiKey ? { apiKey } : {}),
    },
    signal,
  );
}

/**
 * The key in the environment variable `name`.
 * @throws ConfigError `KEY_NAME` where that can't be a variable's name, without repeating what may be the key itself
 */
export function readKey(name: string): string | undefined {
  if (/^[A-Za-z_]\w*$/.test(name)) return process.env[name];
  throw new ConfigError(
    "KEY_NAME",
    "apiKeyEnv is not the name of an environment variable. Put the key into a variable and give that variable's name, not the key.",
  );
}
