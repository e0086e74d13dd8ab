/** `rec-r1 data check`: what a data file is, and what would come of it. */
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { describeDropped } from "../datasets/load-report.ts";
import type { DataCheck } from "../tasks/check-data.ts";
import { printable, Reporter } from "./progress.ts";

export function define(command: Command): void {
  command
    .command("check")
    .description("tell what a data file is, what is dropped of it and why, and whether its prompts are the presets'")
    .argument("<file>", "parquet, JSON Lines, JSON, CSV or TSV, TREC or BEIR")
    .option("--json", "print the result as one JSON object on the last line")
    .action(checkData);
}

async function checkData(path: string, { json }: { json?: boolean }): Promise<void> {
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping"));
  try {
    reporter.status(`reading ${path}`);
    const { checkDataFile } = await import("../tasks/check-data.ts");
    const check = await checkDataFile(path, { signal: interrupt.signal });
    reporter.clear();
    process.stdout.write(json ? `${JSON.stringify(check)}\n` : formatCheck(check));
  } finally {
    reporter.clear();
    interrupt.dispose();
  }
}

function formatCheck({
  path,
  format,
  about,
  preset,
  fields,
  rows,
  usable,
  filtered,
  dropped,
  prompts,
}: DataCheck): string {
  const lines = [
    `${path}: ${about} (${format})`,
    `  preset   ${preset ?? "none reads this by itself"}`,
    ...(fields.length > 0 ? [`  fields   ${fields.slice(0, 30).join(", ")}`] : []),
    `  rows     ${rows}, of which came ${usable}`,
    ...Object.entries(filtered).map(([reason, count]) => `  left out ${count} ${reason}`),
    `  dropped  ${dropped.reduce((sum, { count }) => sum + count, 0)}`,
    ...(dropped.length > 0 ? [describeDropped({ path, rows, filtered, dropped })] : []),
  ];
  if (prompts) {
    lines.push(`  prompts  ${prompts.equal} of ${prompts.rows} equal the preset's, character for character`);
    for (const [style, count] of Object.entries(prompts.styles)) lines.push(`           ${count} ${style}`);
    if (prompts.firstDifference) {
      const { example, file, preset: ours } = prompts.firstDifference;
      lines.push(`  first difference, in ${example}:`, `    file   ${JSON.stringify(file)}`);
      lines.push(`    preset ${JSON.stringify(ours)}`);
    }
  }
  return printable(`${lines.join("\n")}\n`);
}
