/** `rec-r1 serve`: a run's policy in front of its recommender, as an HTTP service. */
import { basename, dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import { listenForInterrupt } from "../core/abort.ts";
import { makeFolder } from "../core/atomic-write.ts";
import { resolveConfig } from "../core/config.ts";
import { ConfigError } from "../core/errors.ts";
import { cutTornLine } from "../core/json-lines.ts";
import type { GateFigures, RewriteGate } from "../eval/rewrite-gate.ts";
import { isCached } from "../recommenders/cached.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import { loadCheckedSplit } from "../rl/run-session.ts";
import { isLoopback } from "../server/http/guard.ts";
import type { RewriterOptions } from "../server/serve/rewriter.ts";
import type { ShadowLog } from "../server/serve/shadow-log.ts";
import { Closing } from "./closing.ts";
import { loadPolicy } from "./load-policy.ts";
import { openRun } from "./open-run.ts";
import type { OpenedRun } from "./open-run.ts";
import { addSchemaOptions, flagLayer } from "./options.ts";
import { Reporter } from "./progress.ts";

const serveSchema = z.object({
  checkpoint: z.string().default("best").describe("best (on validation), last, or the number of a step"),
  host: z.string().default("127.0.0.1").describe("address to listen on; another than this machine's own needs a token"),
  port: z.number().int().min(0).max(65_535).default(8330).describe("0: any free one"),
  tokenEnv: z
    .string()
    .default("REC_R1_SERVE_TOKEN")
    .describe("environment variable with the token that requests must bring, where it is set"),
  timeLimitMs: z
    .number()
    .min(1)
    .default(1000)
    .describe("milliseconds after which the user's own words are used, the policy's search included"),
  gate: z
    .boolean()
    .default(true)
    .describe("rewrite only where it is predicted to help, as calibrated on the validation split"),
  gateLimit: z.number().int().min(0).default(500).describe("validation examples that it is calibrated on; 0: all"),
  shadow: z.boolean().default(false).describe("answer with the user's own words, and log what the policy would change"),
  shadowLog: z.string().optional().describe("where to; default: serve/shadow.jsonl in the run folder"),
  maxTopK: z.number().int().min(1).default(100).describe("hits that a request may ask for"),
  maxInFlight: z.number().int().min(1).default(128).describe("requests answered at a time; beyond: 503"),
  maxQueue: z.number().int().min(1).default(64).describe("requests that may wait for the model; beyond: the raw query"),
  maxBatch: z.number().int().min(1).default(16).describe("requests that the model answers in one call"),
  cacheEntries: z.number().int().min(0).default(10_000).describe("rewrites remembered"),
  hitCacheSeconds: z
    .number()
    .min(1)
    .max(1_000_000)
    .default(60)
    .describe("how long the recommender's answers are remembered"),
  rate: z.number().min(1).default(200).describe("requests a second that one address may make for good"),
  threads: z.number().int().min(1).optional().describe("CPU threads; default: as the run says"),
  name: z.string().optional().describe("the model's name in the OpenAI API; default: the run folder's"),
});
type ServeConfig = z.output<typeof serveSchema>;

interface ServeFlags {
  allowHost: string[];
  allowOrigin: string[];
  task?: string;
  data?: string;
  calibrateOnly?: boolean;
}

export function define(command: Command): void {
  command
    .argument("<run>", "run folder")
    .option("--task <file>", "task file, if it has moved since the run")
    .option("--data <folder>", "folder of the data, if it has moved since the run")
    .option("--allow-host <name...>", "further names by which the service may be asked", [])
    .option("--allow-origin <origin...>", "pages of these origins may ask, such as https://shop.example", [])
    .option("--calibrate-only", "calibrate the gate, print what it does, and end")
    .addHelpText(
      "after",
      `
Examples:
  rec-r1 serve runs/first
  curl -s localhost:8330/search -H 'content-type: application/json' -d '{"query": "stapler", "topK": 5}'
  rec-r1 serve runs/first --shadow          answers as before, and logs what the policy would change
  rec-r1 serve runs/first --calibrate-only  harmed and helped validation queries, with and without the gate

POST /search, /rewrite, /v1/chat/completions; GET /v1/models, /health, /metrics, /openapi.json. See docs/serving.md.`,
    )
    .action(async (runDir: string, flags: ServeFlags) => runServe(runDir, flags, command));
  addSchemaOptions(command, serveSchema);
}

async function runServe(runDir: string, flags: ServeFlags, command: Command): Promise<void> {
  const config = resolveConfig(serveSchema, [flagLayer(command, serveSchema)]);
  const token = process.env[config.tokenEnv];
  if (!isLoopback(config.host) && !token) {
    throw new ConfigError(
      "TOKEN_NEEDED",
      `--host ${config.host}: other machines could ask. Set a token that they must bring: ${config.tokenEnv}=… rec-r1 serve …`,
    );
  }
  for (const origin of flags.allowOrigin) {
    if (URL.canParse(origin) && new URL(origin).origin === origin) continue;
    throw new ConfigError(
      "BAD_OPTION",
      `--allow-origin ${origin}: expected what browsers send, such as https://shop.example: no path, no slash at the end.`,
    );
  }
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const { signal } = interrupt;
  const closing = new Closing();
  const onWarning = (message: string): void => reporter.line(`warning: ${message}`);
  try {
    const run = await openRun(runDir, flags);
    // Answers on disk have no age, and a service has to follow a catalogue that changes.
    const recommender = closing.add(await run.openRecommender({ signal, onWarning, cacheDir: false }));
    const { threads } = config;
    const engine = closing.add(
      await run.openEngine({ reporter, signal, ...(threads === undefined ? {} : { threads }) }),
    );
    const step = await loadPolicy(engine, runDir, config.checkpoint, reporter);
    const { maxTokens, maxPromptTokens } = run.config;
    const parts = { engine, task: run.task, recommender, maxTokens, maxPromptTokens };
    const wantsGate = config.gate || flags.calibrateOnly === true;
    const gate = wantsGate ? await openGate(run, parts, { config, step, reporter, signal }) : undefined;
    if (gate) process.stdout.write(describeGate(gate));
    if (flags.calibrateOnly) return;
    reporter.status("warming up");
    // The first call builds the model's graphs; the first user shall not wait for that.
    await engine.sample([engine.tokenizer.encode("warm up")], { n: 1, maxTokens: 2, temperature: 0, seed: 0, signal });

    const shadow = config.shadow ? await openShadowLog(runDir, config, onWarning) : undefined;
    if (shadow) closing.add(shadow);
    forgetHits(recommender, config.hitCacheSeconds, closing);
    const { startService } = await import("../server/serve/serve.ts");
    const { host, port, timeLimitMs, maxTopK, maxInFlight, maxQueue, maxBatch, cacheEntries, rate } = config;
    const service = closing.add(
      await startService({
        ...parts,
        ...{ host, port, timeLimitMs, maxTopK, maxInFlight, maxQueue, maxBatch, cacheEntries, step },
        modelName: config.name ?? basename(resolve(runDir)),
        run: basename(resolve(runDir)),
        rate: { perSecond: rate, burst: 4 * rate },
        allowedHosts: flags.allowHost,
        allowedOrigins: flags.allowOrigin,
        ...(token ? { token } : {}),
        ...(gate ? { gate } : {}),
        ...(shadow ? { onShadow: shadow.add } : {}),
        onError: (error) => reporter.line(`error: ${error instanceof Error ? error.message : String(error)}`),
      }),
    );
    reporter.clear();
    process.stdout.write(`${runDir}, step ${step}, is served at ${service.url}${token ? " (with a token)" : ""}\n`);
    await new Promise<void>((done) => {
      if (signal.aborted) done();
      signal.addEventListener("abort", () => done(), { once: true });
    });
    await service.close();
    if (shadow) reporter.line(shadow.summarise());
  } finally {
    reporter.clear();
    await closing.close();
    interrupt.dispose();
  }
}

interface GateContext {
  config: ServeConfig;
  step: number;
  reporter: Reporter;
  signal: AbortSignal;
}

/** The gate for this policy and recommender, from the run folder or calibrated now; undefined without a validation split. */
async function openGate(
  run: OpenedRun,
  parts: Omit<RewriterOptions, "batcher" | "cacheEntries">,
  { config, step, reporter, signal }: GateContext,
): Promise<RewriteGate | undefined> {
  const { task, recommender } = parts;
  if (!task.data.valid) {
    reporter.line(`Task "${task.name}" has no "valid" split, so there is no gate: every rewrite is used.`);
    return undefined;
  }
  const [{ calibrateOn, gateKey, keptGate }, { Batcher }, { Rewriter }] = await Promise.all([
    import("../server/serve/calibrate.ts"),
    import("../server/serve/batcher.ts"),
    import("../server/serve/rewriter.ts"),
  ]);
  const all = await loadCheckedSplit(task, "valid", recommender, run.config.maxMissingShare);
  const examples = config.gateLimit > 0 ? all.slice(0, config.gateLimit) : all;
  const checkpoint = `${run.manifest.createdAt} step ${step}`;
  const key = gateKey({ checkpoint, fingerprint: await recommender.fingerprint(), examples });
  return keptGate(join(run.dir, "serve", "gate.json"), key, async () => {
    const batcher = new Batcher({ maxBatch: 32 });
    try {
      const rewriter = new Rewriter({ ...parts, batcher, cacheEntries: 0 });
      return await calibrateOn(examples, {
        task,
        recommender,
        rewriter,
        signal,
        onProgress: (done, total) => reporter.status(`calibrating the gate: ${done}/${total} validation queries`),
      });
    } finally {
      await batcher.close();
      reporter.clear();
    }
  });
}

function describeGate({ metric, examples, measured }: RewriteGate): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const row = (name: string, { mean, rewritten, helped, harmed }: GateFigures): string =>
    `  ${name.padEnd(16)} ${mean.toFixed(4)}  ${percent(rewritten).padStart(7)}  ${percent(helped).padStart(7)}  ${percent(harmed).padStart(7)}\n`;
  return (
    `the gate, on ${examples} validation queries that it was not fitted to:\n` +
    `  ${"".padEnd(16)} ${metric.padEnd(6)}  rewritten  helped   harmed\n` +
    row("raw words", { mean: measured.raw, rewritten: 0, helped: 0, harmed: 0 }) +
    row("always rewritten", measured.always) +
    row("with the gate", measured.gated)
  );
}

async function openShadowLog(
  runDir: string,
  { shadowLog }: ServeConfig,
  onWarning: (message: string) => void,
): Promise<ShadowLog> {
  const { ShadowLog } = await import("../server/serve/shadow-log.ts");
  const path = shadowLog ?? join(runDir, "serve", "shadow.jsonl");
  await makeFolder(dirname(path));
  await cutTornLine(path);
  return new ShadowLog(path, (error) => onWarning(`${path}: ${(error as Error).message}`));
}

/** Lets a catalogue that changes be seen: what was found before is forgotten at intervals. */
function forgetHits(recommender: Recommender, seconds: number, closing: Closing): void {
  if (!isCached(recommender)) return;
  const timer = setInterval(() => recommender.clear(), seconds * 1000);
  closing.add({ close: () => Promise.resolve(clearInterval(timer)) });
}
