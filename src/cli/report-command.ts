/** `rec-r1 report`: a run as one HTML file and as Markdown. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { writeFileAtomic } from "../core/atomic-write.ts";
import { listOptions } from "../core/config.ts";
import { RecR1Error } from "../core/errors.ts";
import { quoteForShell } from "../core/shell-quote.ts";
import { iconSvg, loadIcons } from "../datasets/icons.ts";
import { readRows } from "../datasets/rows.ts";
import type { ReportQuestion } from "../eval/report/from-run.ts";
import { renderReportMarkdown } from "../eval/report/markdown.ts";
import type { ReportItem } from "../eval/report/report-data.ts";
import { writeReport } from "../eval/report/report.ts";
import { buildRunReport } from "../eval/report/run-report.ts";
import { relevantIds } from "../ranking/judgments.ts";
import type { Relevance } from "../ranking/judgments.ts";
import { loadSplit } from "../rl/task.ts";
import type { SplitName, Task } from "../rl/task.ts";
import type { RunManifest } from "../runs/records.ts";
import { listEvaluations, readEvaluation, readManifest } from "../runs/run-folder.ts";
import { lookAtCatalogue } from "./init/look-at-catalogue.ts";
import { launchConfigSchema } from "./launch-config.ts";
import { loadRunTask } from "./open-run.ts";
import { printable, Reporter } from "./progress.ts";

interface ReportFlags {
  out?: string;
  markdown?: string;
  split: string;
  catalogue?: string;
  id?: string;
  title?: string;
  task?: string;
  data?: string;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument("<run>", "run folder")
    .option("--out <file>", "the HTML file (default: report.html in the run folder)")
    .option("--markdown <file>", "the Markdown file (default: report.md beside the HTML file)")
    .option("--split <name>", "split whose evaluation is shown", "test")
    .option("--catalogue <file>", "items, for their titles (default: catalogue.jsonl beside the task file)")
    .option("--id <field>", "the catalogue's id (default: guessed)")
    .option("--title <field>", "the catalogue's field that is shown (default: guessed)")
    .option("--task <file>", "task file, if it has moved since the run")
    .option("--data <folder>", "folder of the data, if it has moved since the run")
    .option("--json", "print the files' paths as one JSON object on the last line")
    .addHelpText("after", "\nA run that wasn't evaluated yet is shown as far as it got. Print the page to get a PDF.")
    .action(report);
}

async function report(runDir: string, flags: ReportFlags): Promise<void> {
  const reporter = new Reporter();
  const onWarning = (message: string): void => reporter.line(`warning: ${message}`);
  const manifest = await readManifest(runDir);
  reporter.status("gathering the run");
  const task = await openTask(runDir, manifest, flags, onWarning);
  const show = await openItems(runDir, manifest, flags, onWarning);
  const data = await buildRunReport({
    runDir,
    split: flags.split,
    show,
    questions: async (split) => (task ? readQuestions(task, split) : []),
    reproduce: commandsOf(runDir, manifest, flags.split),
  });
  const out = await writeReport(flags.out ?? join(runDir, "report.html"), data);
  const markdown = flags.markdown ?? out.replace(/(\.html?)?$/i, ".md");
  await writeFileAtomic(markdown, renderReportMarkdown(data));
  reporter.clear();
  process.stdout.write(
    flags.json ? `${JSON.stringify({ run: runDir, html: out, markdown })}\n` : printable(`${out}\n${markdown}\n`),
  );
}

/** The task of a run, for its examples; undefined, with a warning, where it can't be loaded any more. */
async function openTask(
  runDir: string,
  manifest: RunManifest,
  flags: ReportFlags,
  onWarning: (message: string) => void,
): Promise<Task<object> | undefined> {
  try {
    return (await loadRunTask(runDir, manifest, flags)).task;
  } catch (error) {
    if (!(error instanceof RecR1Error)) throw error;
    onWarning(`examples are left out: ${error.message}`);
    return undefined;
  }
}

async function readQuestions(task: Task<object>, split: string): Promise<ReportQuestion[]> {
  const examples = (await loadSplit(task, split as SplitName)) ?? [];
  return examples.map(({ id, example }) => {
    const { relevant } = example as { relevant?: Relevance };
    return { id, query: task.raw(example) ?? id, relevant: relevant === undefined ? [] : relevantIds(relevant) };
  });
}

/** How items are shown: the demo's as icons, others by their title where there is a catalogue. */
async function openItems(
  runDir: string,
  { launch }: RunManifest,
  flags: ReportFlags,
  onWarning: (message: string) => void,
): Promise<(id: string) => ReportItem> {
  const items = new Map<string, ReportItem>();
  const show = (id: string): ReportItem => items.get(id) ?? { id, title: id };
  if (launch["demo"] === true) {
    for (const id of await shownIds(runDir)) {
      const path = await iconSvg(id).catch(() => undefined);
      items.set(id, { id, title: id.replaceAll("-", " "), ...(path === undefined ? {} : { picture: { path } }) });
    }
    return show;
  }
  const { taskFile } = launch;
  const beside = typeof taskFile === "string" ? join(dirname(taskFile), "catalogue.jsonl") : undefined;
  const path = flags.catalogue ?? (beside !== undefined && existsSync(beside) ? beside : undefined);
  if (path === undefined) return show;
  try {
    const look = await lookAtCatalogue(path);
    const [id, title] = [flags.id ?? look.id ?? "id", flags.title ?? (look.text[0] as string)];
    for await (const { value } of readRows(path)) {
      const text = value[title];
      if (typeof text === "string" && text.trim() !== "")
        items.set(String(value[id]), { id: String(value[id]), title: text });
    }
  } catch (error) {
    if (flags.catalogue !== undefined || !(error instanceof RecR1Error)) throw error;
    onWarning(`items are shown by their ids: ${error.message}`);
  }
  return show;
}

/** Ids that the run's evaluations found. */
async function shownIds(runDir: string): Promise<Set<string>> {
  const ids = new Set<string>();
  for (const name of await listEvaluations(runDir)) {
    const evaluation = await readEvaluation(runDir, name);
    for (const { hits } of evaluation?.records ?? []) hits?.forEach((id) => ids.add(id));
  }
  for (const { relevant } of (await loadIcons()).test) for (const id of relevant) ids.add(id);
  return ids;
}

/** Commands that make the run again, with the options that differ from the defaults. */
function commandsOf(runDir: string, { config, launch, versions }: RunManifest, split: string): string[] {
  const install = `npm install rec-r1@${versions["rec-r1"]}`;
  if (launch["demo"] === true)
    return [install, `rec-r1 demo --run ${quoteForShell(runDir)} --seed ${String(config["seed"])}`];
  const { engine, search } = launch as Record<string, object | undefined>;
  const values: Record<string, unknown> = { ...config, ...engine, ...search };
  const flags = listOptions(launchConfigSchema).flatMap(({ key, flag, type, defaultValue }) => {
    const value = values[key];
    if (value === undefined || value === defaultValue) return [];
    return type === "boolean"
      ? [value === true ? flag : flag.replace("--", "--no-")]
      : [`${flag} ${quoteForShell(String(value))}`];
  });
  const task = typeof launch["taskFile"] === "string" ? quoteForShell(launch["taskFile"]) : "TASK";
  const data = typeof launch["data"] === "string" ? ` --data ${quoteForShell(launch["data"])}` : "";
  return [
    install,
    [`rec-r1 train ${task}${data} --run ${quoteForShell(runDir)}`, ...flags].join(" "),
    `rec-r1 eval ${quoteForShell(runDir)} --split ${split}`,
  ];
}
