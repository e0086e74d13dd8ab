/** `rec-r1 compare`: a policy against every baseline by name, on the same examples, with tests, slices and costs. */
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { writeFileAtomic } from "../core/atomic-write.ts";
import { readCatalogueRows } from "../core/catalogue.ts";
import type { ConfigLayer } from "../core/config.ts";
import { ConfigError } from "../core/errors.ts";
import { suggestion } from "../core/suggest.ts";
import { classicalNames } from "../eval/baselines/classical.ts";
import type { ClassicalName } from "../eval/baselines/classical.ts";
import { Collection } from "../eval/baselines/collection.ts";
import { formatComparisonLatex, formatComparisonMarkdown, formatComparisonText } from "../eval/comparison/format.ts";
import {
  cutOf,
  depthOf,
  keepComparison,
  readKeptComparison,
  recomputeMeasures,
} from "../eval/comparison/kept-answers.ts";
import { measureComparison } from "../eval/comparison/measure.ts";
import type { AnsweredSystem, Comparison } from "../eval/comparison/measure.ts";
import { makeSlices } from "../eval/comparison/slices.ts";
import { renderText } from "../eval/comparison/tables.ts";
import { findOverlaps } from "../eval/doctor/data-checks.ts";
import { loadSplits } from "../eval/doctor/examine.ts";
import { RankingStore, recordRankings } from "../eval/rankings.ts";
import { searchAnswers } from "../rl/evaluation.ts";
import { compatibleQuirks, modes, recommenderInMode, taskInMode } from "../rl/modes.ts";
import type { Mode } from "../rl/modes.ts";
import { loadCheckedSplit } from "../rl/run-session.ts";
import { splitNames } from "../rl/task.ts";
import type { LoadedExample, SplitName, Task, TaskContext } from "../rl/task.ts";
import { readManifest } from "../runs/run-folder.ts";
import { Closing } from "./closing.ts";
import { answerSystems } from "./compare/answer-systems.ts";
import { readExtras } from "./compare/task-extras.ts";
import { findIdField } from "./init/look-at-catalogue.ts";
import { engineConfigSchema, launchConfigSchema, resolveLaunchConfig } from "./launch-config.ts";
import { loadTask, type LoadedTask } from "./load-task.ts";
import { dataOf, loadRunTask } from "./open-run.ts";
import { addSchemaOptions, flagLayer, parseCount } from "./options.ts";
import { printable, Reporter } from "./progress.ts";
import { openTaskRecommender, searchConfigSchema } from "./task-recommender.ts";

interface CompareFlags {
  baselines: string[];
  run: string[];
  sftRun: string[];
  sft?: string;
  sftInto?: string;
  sftN: string;
  sftMinutes?: string;
  split: string;
  limit: string;
  tuneLimit: string;
  samples: string;
  catalogue?: string;
  id?: string;
  text: string[];
  transfer?: string;
  data?: string;
  out?: string;
  from?: string;
  measures: string[];
  markdown?: string;
  latex?: string;
  json?: boolean;
}

/** Options of a run that the comparison needs. */
const compareOptions = launchConfigSchema.pick({
  model: true,
  threads: true,
  maxTokens: true,
  seed: true,
  mode: true,
  maxMissingShare: true,
  recommender: true,
});

export function define(command: Command): void {
  command
    .argument("[task]", "task file (.ts or .js); default: the first run's task")
    .option(
      "--baselines <name...>",
      `baselines by name: raw (always), ${classicalNames.join(", ")}, prompting, and those that the task file exports; or: classical, all, none`,
      ["classical"],
    )
    .option("--run <folder...>", "runs whose best policy is compared", [])
    .option("--sft-run <folder...>", "runs that were fine-tuned with supervision", [])
    .option("--sft <source>", "fine-tune now, on: best-of-n, a file of rewrites, or a model that the task file exports")
    .option("--sft-into <folder>", "run folder of that fine-tuning")
    .option("--sft-n <number>", "completions that best-of-n chooses from", "8")
    .option("--sft-minutes <number>", "time for it, sampling included (default: what the first --run took)")
    .option("--split <name>", `split of the task: ${splitNames.join(", ")}`, "test")
    .option("--limit <number>", "only the first so many examples; 0: all", "0")
    .option("--tune-limit <number>", "validation examples that settings are chosen on; 0: all", "200")
    .option("--samples <number>", "completions sampled for each example; 0: one greedy completion", "0")
    .option("--catalogue <file>", "JSON Lines catalogue, for baselines that read items' texts")
    .option("--id <field>", "the catalogue's id (default: id, or guessed)")
    .option("--text <field...>", "its text fields", ["title"])
    .option("--transfer <task>", "ask the same queries of this task file's recommender, too")
    .option("--data <folder>", "handed to the task file, for those that read their data from a folder")
    .option(
      "--out <folder>",
      "where answers, rankings and figures are kept (default: runs/compare- and the task's name)",
    )
    .option("--from <folder>", "no engine, no model: what was kept there, printed again")
    .option(
      "--measures <name...>",
      "with --from: trec_eval measures to compute, such as ndcg_cut_5 recall_10, no deeper than the task's topK",
      [],
    )
    .option("--markdown <file>", "write the tables as Markdown")
    .option("--latex <file>", "write the tables as LaTeX")
    .option("--json", "print the comparison as one JSON object on the last line")
    .action(async (task: string | undefined, flags: CompareFlags) => runCompare(task, flags, command));
  addSchemaOptions(command, compareOptions);
}

async function runCompare(file: string | undefined, flags: CompareFlags, command: Command): Promise<void> {
  if (flags.from !== undefined) return showKept(flags.from, flags);
  const split = splitNames.find((name) => name === flags.split);
  if (!split)
    throw new ConfigError(
      "BAD_OPTION",
      `--split: there is no split "${flags.split}".${suggestion(flags.split, splitNames)}`,
    );
  const counts = {
    limit: parseCount(flags.limit, "--limit"),
    tuneLimit: parseCount(flags.tuneLimit, "--tune-limit"),
    samples: parseCount(flags.samples, "--samples"),
    n: parseCount(flags.sftN, "--sft-n"),
  };
  const minutes = flags.sftMinutes === undefined ? undefined : parseMinutes(flags.sftMinutes);
  if (flags.sft !== undefined && flags.sftInto === undefined) {
    throw new ConfigError("BAD_OPTION", "--sft needs --sft-into FOLDER, the run folder of the fine-tuning.");
  }
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const { signal } = interrupt;
  const closing = new Closing();
  const onWarning = (message: string): void => reporter.line(`warning: ${message}`);
  try {
    const given = flagLayer(command, compareOptions);
    const { loaded, context } = await loadComparedTask(file, flags);
    const config = resolveLaunchConfig([
      { source: `task "${loaded.task.name}"`, values: loaded.task.config },
      { source: loaded.path, values: loaded.config },
      ...(await runLayer(flags)),
      given,
    ]);
    await refuseOtherRuns(flags, given);
    const { mode, seed, maxMissingShare } = config.train;
    const extras = readExtras(loaded, context);
    const chosen = chooseBaselines(flags.baselines, [...Object.keys(extras.baselines), ...Object.keys(extras.models)]);
    const task = taskInMode(loaded.task, mode);
    const out = flags.out ?? `runs/compare-${task.name.replace(/[^\w.-]+/g, "-")}`;
    const collection = flags.catalogue === undefined ? new Collection() : await readCollection(flags.catalogue, flags);
    // What a policy is shown in an episode is the recommender's own answer, whatever a file says.
    const recommender = recordRankings(
      recommenderInMode(
        closing.add(await openTaskRecommender(loaded.openRecommender, config.search, { signal, onWarning })),
        mode,
      ),
      await RankingStore.open(join(out, "rankings")),
      { reuse: loaded.task.episode === undefined },
    );
    const all = await loadCheckedSplit(task, split, recommender, maxMissingShare);
    const examples = counts.limit > 0 ? all.slice(0, counts.limit) : all;
    const { train, valid = [] } = await loadSplits(task);
    const fingerprint = await recommender.fingerprint();
    const otherwise = await trainedElsewhere([...flags.run, ...flags.sftRun], fingerprint);
    otherwise.forEach(onWarning);
    const { systems, notes } = await answerSystems({
      ...{ task, recommender, examples, collection, extras, reporter, signal },
      valid: counts.tuneLimit > 0 ? valid.slice(0, counts.tuneLimit) : valid,
      classical: chosen.filter((name): name is ClassicalName => (classicalNames as readonly string[]).includes(name)),
      chosen,
      prompting: chosen.includes("prompting"),
      runs: flags.run,
      supervised: flags.sftRun,
      ...(flags.sft === undefined
        ? {}
        : { fineTuning: { source: flags.sft, runDir: flags.sftInto as string, n: counts.n, minutes } }),
      engine: config.engine,
      config: config.train,
      overrides: {
        ...(given.values.maxTokens === undefined ? {} : { maxTokens: config.train.maxTokens }),
        ...(given.values.threads === undefined ? {} : { threads: config.engine.threads as number }),
      },
      samples: counts.samples,
    });
    reporter.clear();
    const common = { task, split, examples, mode, seed };
    const raw = systems[0]?.found ?? [];
    const slices = makeSlices({ task, examples, raw, own: extras.slices, ...(train ? { train } : {}) });
    const described = { name: recommender.name, fingerprint };
    const comparison = measureComparison({
      ...{ ...common, systems, slices, recommender: described },
      notes: [...(await overlapNotes(task)), ...modeNotes(mode), ...otherwise, ...notes],
    });
    await keepComparison(out, comparison, systems, examples);
    await show(comparison, flags);
    if (flags.transfer !== undefined) {
      const target = await loadTask(flags.transfer, context);
      const other = recommenderInMode(closing.add(await target.openRecommender()), mode);
      const moved = await askElsewhere(systems, { task, recommender: other, signal });
      const result = measureComparison({
        ...{ ...common, systems: moved, slices },
        recommender: { name: other.name, fingerprint: await other.fingerprint() },
        notes: [
          `The queries of ${out}, asked of the recommender of ${target.path}; nothing was tuned or trained for it.`,
        ],
      });
      await keepComparison(join(out, "transfer"), result, moved, examples);
      if (!flags.json) process.stdout.write(`\nTransfer\n${printable(formatComparisonText(result))}`);
      else process.stdout.write(`${JSON.stringify(result)}\n`);
    }
    reporter.line(`kept in ${out}`);
  } finally {
    reporter.clear();
    await closing.close();
    interrupt.dispose();
  }
}

/** The task file that was given, or else the task of the first run, with the folder of its data. */
async function loadComparedTask(
  file: string | undefined,
  { run: [first], data }: CompareFlags,
): Promise<{ loaded: LoadedTask; context: TaskContext }> {
  if (file !== undefined) return { loaded: await loadTask(file, { data }), context: { data } };
  if (first === undefined) {
    throw new ConfigError("NO_TASK_FILE", "Which task? Give its file, a run of it (--run FOLDER), or --from FOLDER.");
  }
  const manifest = await readManifest(first);
  const context = { data: data ?? dataOf(manifest.launch) };
  return { loaded: await loadRunTask(first, manifest, context), context };
}

/** What a comparison takes over from its first run: who is asked, and in which mode. */
async function runLayer({ run, sftRun }: CompareFlags): Promise<ConfigLayer[]> {
  const [first] = [...run, ...sftRun];
  if (first === undefined) return [];
  const { config, launch } = await readManifest(first);
  // Fine-tuning with supervision knows no modes, so that its folder always says sound.
  const mode = run.length > 0 ? { mode: config.mode } : {};
  return [{ source: `${first}/config.json`, values: { ...searchConfigSchema.parse(launch.search ?? {}), ...mode } }];
}

/** @throws ConfigError `RUN_DIFFERS` where the model or the mode of a run would have to be another one */
async function refuseOtherRuns({ run, sftRun }: CompareFlags, { values }: ConfigLayer): Promise<void> {
  const { model, mode } = values as { model?: string; mode?: string };
  for (const dir of [...run, ...sftRun]) {
    const { config, launch } = await readManifest(dir);
    const trained = engineConfigSchema.parse(launch.engine).model;
    if (model !== undefined && model !== trained && resolve(model) !== resolve(trained)) {
      throw new ConfigError(
        "RUN_DIFFERS",
        `--model ${model}: ${dir} trained ${trained}, and what it learned fits no other model. Leave --model out; the untrained model beside a run is the run's own.`,
      );
    }
    if (mode !== undefined && mode !== config.mode && run.includes(dir)) {
      throw new ConfigError(
        "RUN_DIFFERS",
        `--mode ${mode}: ${dir} was trained in mode ${String(config.mode)}, on other answers than it would be measured by. Leave --mode out, or train a run in that mode.`,
      );
    }
  }
}

/** Says of each run that learned from other answers than those it is compared on. */
async function trainedElsewhere(dirs: readonly string[], fingerprint: string): Promise<string[]> {
  const manifests = await Promise.all(dirs.map(async (dir) => ({ dir, ...(await readManifest(dir)) })));
  return manifests
    .filter(({ recommender }) => recommender.fingerprint !== fingerprint)
    .map(
      ({ dir, recommender }) =>
        `${dir} was trained on another recommender: ${recommender.name}, fingerprint ${recommender.fingerprint}; asked is one of fingerprint ${fingerprint}. Another one is chosen by --recommender FILE.`,
    );
}

/** The queries that systems wrote, asked of another recommender. Rankings that no single query gave can't be. */
async function askElsewhere(
  systems: readonly AnsweredSystem<object>[],
  options: Parameters<typeof searchAnswers<object>>[1],
): Promise<AnsweredSystem<object>[]> {
  const moved: AnsweredSystem<object>[] = [];
  for (const system of systems.filter(
    ({ id, family }) => id !== "fusion" && id !== "variants" && family !== "recommender",
  )) {
    moved.push({ ...system, found: await searchAnswers(system.found, options) });
  }
  return moved;
}

/** Prints a comparison, and writes the files that were asked for. */
async function show(comparison: Comparison, flags: CompareFlags): Promise<void> {
  if (flags.markdown !== undefined) await writeFileAtomic(flags.markdown, formatComparisonMarkdown(comparison));
  if (flags.latex !== undefined) await writeFileAtomic(flags.latex, formatComparisonLatex(comparison));
  process.stdout.write(flags.json ? `${JSON.stringify(comparison)}\n` : printable(formatComparisonText(comparison)));
}

/** A kept comparison again, with other measures where they are asked for. */
async function showKept(folder: string, flags: CompareFlags): Promise<void> {
  const kept = await readKeptComparison(folder);
  if (flags.measures.length === 0) return show(kept.comparison, flags);
  const rows = recomputeMeasures(kept, flags.measures);
  const whole = flags.measures.filter((measure) => cutOf(measure) === undefined);
  const note =
    whole.length > 0 ? `${whole.join(", ")}: of the first ${depthOf(kept)} hits, as many as were asked for` : "";
  if (note !== "") new Reporter().line(note);
  const table = {
    caption: `Computed from the rankings in ${folder}: ${kept.comparison.task}, ${kept.comparison.split}`,
    headers: ["system", "examples", ...flags.measures],
    rows: rows.map(({ name, examples, means }) => [
      name,
      String(examples),
      ...flags.measures.map((measure) => (means[measure] ?? 0).toFixed(4)),
    ]),
  };
  process.stdout.write(flags.json ? `${JSON.stringify(rows)}\n` : printable(renderText(table)));
}

function chooseBaselines(names: readonly string[], own: readonly string[]): string[] {
  const known = [...classicalNames, "prompting", ...own];
  return names
    .flatMap((name) => name.split(","))
    .flatMap((name) => {
      if (name === "none" || name === "raw") return [];
      if (name === "classical") return [...classicalNames];
      if (name === "all") return known;
      if (known.includes(name)) return [name];
      throw new ConfigError(
        "BAD_OPTION",
        `--baselines: there is no baseline "${name}".${suggestion(name, known)} There are: ${known.join(", ")}.`,
      );
    })
    .filter((name, index, all) => all.indexOf(name) === index);
}

async function readCollection(path: string, { id: given, text: textFields }: CompareFlags): Promise<Collection> {
  const texts: [string, string][] = [];
  const options = { idField: given ?? (await findIdField(path)) ?? "id", textFields };
  for await (const { id, texts: fields } of readCatalogueRows(path, options)) texts.push([id, fields.join(" ")]);
  return new Collection(texts);
}

async function overlapNotes(task: Task<object>): Promise<string[]> {
  const splits: Partial<Record<SplitName, LoadedExample<object>[]>> = await loadSplits(task);
  return findOverlaps({ task, splits })
    .filter(({ shared }) => shared.length > 0)
    .map(
      ({ a, b, shared, size }) =>
        `Overlap: ${shared.length} of ${size} ${b} examples are in ${a}, too (same prompt, same relevant items).`,
    );
}

function modeNotes(mode: Mode): string[] {
  if (mode === "sound") return [];
  return Object.entries(compatibleQuirks).map(([name, what]) => `Mode ${modes[1]}, ${name}: ${what}.`);
}

function parseMinutes(text: string): number {
  const minutes = Number(text);
  if (minutes > 0 && Number.isFinite(minutes)) return minutes;
  throw new ConfigError("BAD_OPTION", `--sft-minutes: expected a number above 0, got "${text}".`);
}
