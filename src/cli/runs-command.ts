/** `rec-r1 runs`: the runs of a folder in a table. */
import { join, relative } from "node:path";
import type { Command } from "commander";
import { ConfigError, RecR1Error } from "../core/errors.ts";
import { quoteForShell } from "../core/shell-quote.ts";
import { renderText } from "../eval/comparison/tables.ts";
import { summariseRuns } from "../runs/list-runs.ts";
import type { RunSummary } from "../runs/list-runs.ts";
import { formatSeconds, printable } from "./progress.ts";

export function define(command: Command): void {
  command
    .argument("[folder]", "folder that is searched, up to three levels down", "runs")
    .option("--json", "print the result as one JSON object on the last line")
    .action(listRuns);
}

async function listRuns(folder: string, { json }: { json?: boolean }): Promise<void> {
  const { runs, unreadable } = await summariseRuns(folder).catch((error: unknown) => {
    if (!(error instanceof RecR1Error) || error.code !== "NOT_FOUND") throw error;
    throw new ConfigError(
      "NO_RUNS_FOLDER",
      `There is no folder ${folder} to list runs of. Start one with: rec-r1 train TASK --run ${quoteForShell(join(folder, "NAME"))}, or give the folder that has them.`,
      { cause: error },
    );
  });
  if (json) {
    process.stdout.write(`${JSON.stringify({ folder, runs, unreadable })}\n`);
    return;
  }
  for (const { dir, problem } of unreadable) process.stderr.write(printable(`warning: ${dir}: ${problem}\n`));
  if (runs.length === 0) {
    process.stdout.write(
      `${printable(folder)} has no runs. Start one: rec-r1 train TASK --run ${printable(quoteForShell(join(folder, "first")))}\n`,
    );
    return;
  }
  const table = renderText({
    caption: `${runs.length} ${runs.length === 1 ? "run" : "runs"} in ${folder}, newest first`,
    headers: ["run", "task", "model", "status", "started", "steps", "reward", "best", "after step", "time"],
    textColumns: 5,
    rows: runs.map((run) => toRow(run, folder)),
  });
  process.stdout.write(`${printable(table)}See one: rec-r1 show RUN\n`);
}

function toRow(run: RunSummary, folder: string): string[] {
  const { dir, task, model, status, createdAt, step, totalSteps, reward, best, seconds } = run;
  return [
    relative(folder, dir) || dir,
    task,
    model.split("/").at(-1) ?? model,
    status,
    createdAt.slice(0, 16).replace("T", " "),
    `${step}/${totalSteps}`,
    reward === null ? "" : reward.toFixed(3),
    best ? `${best.metric} ${best.value.toFixed(4)}` : "",
    best ? String(best.step) : "",
    formatSeconds(seconds),
  ];
}
