/** `rec-r1 doctor`: looks for what breaks a baseline quietly, before anything is trained against it. */
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { errorsOf, formatDiagnosis } from "../eval/doctor/diagnosis.ts";
import { examineTask } from "../eval/doctor/examine.ts";
import { Closing } from "./closing.ts";
import { launchConfigSchema, resolveLaunchConfig } from "./launch-config.ts";
import { loadTask } from "./load-task.ts";
import { openEngine } from "./open-engine.ts";
import { addSchemaOptions, flagLayer, parseCount } from "./options.ts";
import { printable, Reporter } from "./progress.ts";
import { openUncached } from "./task-recommender.ts";

interface DoctorFlags {
  data?: string;
  sample: string;
  json?: boolean;
}

/** The options of a run that the doctor needs: what its checks of prompts and answers depend on. */
const doctorOptions = launchConfigSchema.pick({
  model: true,
  maxTokens: true,
  threads: true,
  seed: true,
  maxMissingShare: true,
  recommender: true,
});

export function define(command: Command): void {
  command
    .argument("<task>", "task file (.ts or .js)")
    .option("--data <folder>", "handed to the task file, for those that read their data from a folder")
    .option("--sample <number>", "examples that queries are sent for", "60")
    .option("--json", "print the diagnosis as one JSON object on the last line")
    .addHelpText(
      "after",
      "\nWith --model, prompts are checked against its context and a few answers are sampled.\nExit code 1 when a check fails.",
    )
    .action(async (task: string, flags: DoctorFlags) => runDoctor(task, flags, command));
  addSchemaOptions(command, doctorOptions);
}

async function runDoctor(file: string, flags: DoctorFlags, command: Command): Promise<void> {
  const sampleSize = parseCount(flags.sample, "--sample");
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const { signal } = interrupt;
  const closing = new Closing();
  try {
    const given = flagLayer(command, doctorOptions);
    const loaded = await loadTask(file, { data: flags.data });
    const { task } = loaded;
    const config = resolveLaunchConfig([
      { source: `task "${task.name}"`, values: task.config },
      { source: loaded.path, values: loaded.config },
      given,
    ]);
    const recommender = closing.add(await openUncached(loaded.openRecommender, config.search.recommender, signal));
    const { seed, maxTokens, maxMissingShare } = config.train;
    const engine =
      given.values.model === undefined
        ? undefined
        : closing.add(await openEngine(config.engine, { seed, reporter, signal }));
    reporter.status(`asking ${recommender.name}`);
    const diagnosis = await examineTask({
      task,
      recommender,
      sampleSize,
      seed,
      maxTokens,
      maxMissingShare,
      signal,
      ...(engine ? { engine } : {}),
    });
    reporter.clear();
    process.stdout.write(flags.json ? `${JSON.stringify(diagnosis)}\n` : printable(formatDiagnosis(diagnosis)));
    if (errorsOf(diagnosis).length > 0) process.exitCode = 1;
  } finally {
    reporter.clear();
    await closing.close();
    interrupt.dispose();
  }
}
