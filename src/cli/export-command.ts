/** `rec-r1 export`: a run's policy as files that other programs load, with a model card. */
import { rm, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import type { Command } from "commander";
import { Option } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { describeFileError, makeFolder } from "../core/atomic-write.ts";
import { ConfigError, throwIfAborted } from "../core/errors.ts";
import type { Sample } from "../engines/engine.ts";
import type { LocalEngine } from "../engines/local/index.ts";
import { writeModelCard } from "../eval/model-card.ts";
import type { CardFormat } from "../eval/model-card.ts";
import type { TokenizerParts } from "../models/tokenizer.ts";
import { encodeExample } from "../rl/prompt.ts";
import { loadSplit } from "../rl/task.ts";
import { readEvaluation, readTimings } from "../runs/run-folder.ts";
import { Closing } from "./closing.ts";
import { loadPolicy } from "./load-policy.ts";
import { openRun } from "./open-run.ts";
import type { OpenedRun } from "./open-run.ts";
import { Reporter } from "./progress.ts";

const formats = ["peft", "safetensors", "gguf"] as const satisfies readonly CardFormat[];

/** Types of each format, the default first. */
const typesOf = {
  peft: ["f32"],
  safetensors: ["f32", "f16", "bf16"],
  gguf: ["f16", "q8_0", "f32"],
} as const;
type ExportType = (typeof typesOf)[CardFormat][number];

interface ExportFlags {
  format: CardFormat;
  type?: ExportType;
  out: string;
  checkpoint: string;
  name?: string;
  base?: string;
  task?: string;
  data?: string;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument("<run>", "run folder")
    .addOption(new Option("--format <name>", "what is written").choices([...formats]).makeOptionMandatory())
    .addOption(
      new Option("--type <name>", "how numbers are stored (default: f32; gguf: f16)").choices([
        ...new Set(Object.values(typesOf).flat()),
      ]),
    )
    .requiredOption("--out <folder>", "where to; empty or absent")
    .option("--checkpoint <which>", "best (on validation), last, or the number of a step", "best")
    .option("--name <text>", "the model's name (default: the run folder's)")
    .option("--base <name>", "peft: repository or folder by which others load the base model")
    .option("--task <file>", "task file, if it has moved since the run")
    .option("--data <folder>", "folder of the data, if it has moved since the run")
    .option("--json", "print the result as one JSON object on the last line")
    .addHelpText(
      "after",
      `
Examples:
  rec-r1 export runs/first --format peft --out adapter          LoRA, for PEFT
  rec-r1 export runs/first --format safetensors --out merged    for Transformers, vLLM …
  rec-r1 export runs/first --format gguf --type q8_0 --out gguf for llama.cpp, Ollama …

A model card (README.md) with data, recipe and figures is written along. See docs/export.md.`,
    )
    .action(async (runDir: string, flags: ExportFlags) => runExport(runDir, flags));
}

async function runExport(runDir: string, flags: ExportFlags): Promise<void> {
  const type = checkType(flags);
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const { signal } = interrupt;
  const closing = new Closing();
  try {
    const run = await openRun(runDir, flags);
    const { engineConfig } = run;
    if (engineConfig.engine !== "local") {
      throw new ConfigError(
        "EXPORT_REMOTE",
        `${runDir} was trained on ${engineConfig.engine}, so its weights are there. Export them with that server's tools.`,
      );
    }
    if (flags.format === "peft" && engineConfig.full) {
      throw new ConfigError(
        "EXPORT_FULL",
        `${runDir} trained every weight and has no adapter. Use --format safetensors or gguf.`,
      );
    }
    const { requireEmptyFolder } = await import("../models/export-folder.ts");
    await requireEmptyFolder(flags.out);
    const engine = closing.add((await run.openEngine({ reporter, signal })) as LocalEngine);
    const step = await loadPolicy(engine, runDir, flags.checkpoint, reporter);
    reporter.status(`writing ${flags.out}`);
    const { readTokenizerParts } = await import("../models/load.ts");
    const { parts } = await readTokenizerParts(engineConfig.model);
    const name = flags.name ?? basename(resolve(runDir));
    const tokenizer = parts && { ...parts, endIds: engine.tokenizer.endIds };
    const base = flags.base ?? (await referenceOf(engineConfig.model));
    const written: Written = { name, engine, tokenizer, base, flags, type };
    try {
      await writeWeights(written);
      throwIfAborted(signal);
      await writeCard(run, step, written);
    } catch (error) {
      await rm(flags.out, { recursive: true, force: true });
      throw error;
    }
    reporter.clear();
    const result = { out: flags.out, format: flags.format, type, step, name };
    process.stdout.write(
      flags.json
        ? `${JSON.stringify(result)}\n`
        : `${runDir}, step ${step}, is in ${flags.out} as ${flags.format} (${type})\n`,
    );
  } finally {
    reporter.clear();
    await closing.close();
    interrupt.dispose();
  }
}

function checkType({ format, type }: ExportFlags): ExportType {
  const allowed: readonly ExportType[] = typesOf[format];
  if (type === undefined) return allowed[0] as ExportType;
  if (allowed.includes(type)) return type;
  throw new ConfigError("BAD_OPTION", `--type ${type}: --format ${format} is written as ${allowed.join(", ")}.`);
}

/** The name that others know a model by: its repository, or its path. */
async function referenceOf(model: string): Promise<string> {
  const { knownModels } = await import("../models/known-models.ts");
  return knownModels.find(({ name }) => name === model)?.repo ?? model;
}

/** What is written, and where to. */
interface Written {
  name: string;
  engine: LocalEngine;
  tokenizer: TokenizerParts | null;
  base: string;
  flags: ExportFlags;
  type: ExportType;
}

async function writeWeights({ name, engine, tokenizer, base, flags, type }: Written): Promise<void> {
  const { format, out } = flags;
  if (format === "peft") {
    const { writePeftFolder } = await import("../models/peft-folder.ts");
    const { lora, trained, trainedShapes } = engine;
    const tensors = new Map(
      [...trained].map(([key, data]) => [key, { shape: trainedShapes.get(key) as readonly number[], data }]),
    );
    return writePeftFolder(out, { ...(lora as NonNullable<typeof lora>), tensors }, { base, parts: tokenizer });
  }
  const weights = new Map(
    [...(await engine.policyWeights())].map(([key, { shape, data }]) => [key, { shape, data: data as Float32Array }]),
  );
  const { modelConfig: config } = engine;
  if (format === "safetensors") {
    const { writeModelFolder } = await import("../models/export-folder.ts");
    return writeModelFolder(out, { config, weights, parts: tokenizer }, type as Exclude<ExportType, "q8_0">);
  }
  const { writeGguf } = await import("../models/gguf-writer.ts");
  await makeFolder(out);
  const path = join(out, `${name.replace(/[^\w.-]+/g, "-")}.${type.toUpperCase()}.gguf`);
  await writeGguf(path, { name, config, weights, tokenizer }, type as Exclude<ExportType, "bf16">).catch(
    (error: unknown) => Promise.reject(describeFileError(error, "write", path)),
  );
}

async function writeCard(run: OpenedRun, step: number, written: Written): Promise<void> {
  const { manifest, engineConfig } = run;
  const { name, base, flags, type } = written;
  const evaluations = Object.fromEntries(
    await Promise.all(
      (["raw", "untrained", "tuned"] as const).map(async (id) => [id, await readEvaluation(run.dir, `test-${id}`)]),
    ),
  ) as Parameters<typeof writeModelCard>[0]["evaluations"];
  const example = await sampleOne(run, written);
  const card = writeModelCard({
    name,
    manifest,
    step,
    timings: await readTimings(run.dir),
    evaluations,
    format: flags.format,
    type,
    base: { model: engineConfig.model, reference: base, fingerprint: String(manifest.engine.fingerprint ?? "unknown") },
    ...(example ? { example } : {}),
  });
  await writeFile(join(flags.out, "README.md"), card);
}

/** The prompt of the first example and its answer; undefined where the data are gone. */
async function sampleOne(
  { task, config }: OpenedRun,
  { engine }: Written,
): Promise<{ prompt: string; completion: string } | undefined> {
  const examples =
    (await loadSplit(task, "valid").catch(() => undefined)) ?? (await loadSplit(task, "train").catch(() => undefined));
  const [first] = examples ?? [];
  if (!first) return undefined;
  const { maxTokens, maxPromptTokens } = config;
  const { ids, messages } = encodeExample(engine, task, first.example, { maxTokens, maxPromptTokens });
  const [samples] = await engine.sample([ids], { n: 1, maxTokens, temperature: 0, seed: 0 });
  const prompt = messages.map(({ role, content }) => `${role}: ${content}`).join("\n");
  return { prompt, completion: (samples?.[0] as Sample).text };
}
