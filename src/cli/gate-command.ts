/** `rec-r1 gate`: is a run worse than a reference? For a CI job: exit code 1 on a regression. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { ConfigError } from "../core/errors.ts";
import { readComparison } from "../eval/comparison/kept-answers.ts";
import type { Comparison } from "../eval/comparison/measure.ts";
import { readForgettingReport } from "../eval/forgetting/report.ts";
import { findSystem, formatVerdict, judgeAbility, judgeRegression, mergeVerdicts } from "../eval/gate.ts";
import type { Verdict } from "../eval/gate.ts";
import { parseCount } from "./options.ts";
import { printable } from "./progress.ts";

interface GateFlags {
  reference?: string;
  system?: string;
  referenceSystem?: string;
  metric?: string;
  maxDrop: string;
  minSlice: string;
  floor?: string;
  forget?: string;
  keepAbility: string;
  seed: string;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument("<comparison>", "folder or comparison.json that rec-r1 compare wrote")
    .option("--reference <comparison>", "what it must not fall behind (default: another system of the same comparison)")
    .option("--system <id>", "system that is judged (default: the only policy)")
    .option("--reference-system <id>", "system of the reference (default: the same id, or raw within one comparison)")
    .option("--metric <name>", "metric that decides (default: the comparison's)")
    .option("--max-drop <number>", "drop of the mean that is put up with", "0")
    .option("--min-slice <number>", "slices of fewer examples don't decide", "20")
    .option("--floor <number>", "lowest mean on the whole split")
    .option("--forget <file>", "what rec-r1 forget --out wrote: general ability must be kept, too")
    .option("--keep-ability <share>", "share of each ability that must be kept", "0.95")
    .option("--seed <number>", "addresses the bootstrap's random numbers", "0")
    .option("--json", "print the verdict as one JSON object on the last line")
    .addHelpText("after", "\nExit code 0 when nothing is worse, 1 on a regression or an error.")
    .action(async (path: string, flags: GateFlags) => runGate(path, flags));
}

async function runGate(path: string, flags: GateFlags): Promise<void> {
  const seed = parseCount(flags.seed, "--seed");
  const maxDrop = parseNumber(flags.maxDrop, "--max-drop");
  const keepAbility = parseNumber(flags.keepAbility, "--keep-ability");
  const candidate = await openComparison(path);
  const reference = flags.reference === undefined ? candidate : await openComparison(flags.reference);
  const system = findSystem(candidate, flags.system).id;
  const other = flags.referenceSystem ?? (reference === candidate ? "raw" : system);
  const verdicts: Verdict[] = [
    judgeRegression(
      { comparison: candidate, system },
      { comparison: reference, system: findSystem(reference, other).id },
      {
        seed,
        maxDrop,
        minSlice: parseCount(flags.minSlice, "--min-slice"),
        ...(flags.metric === undefined ? {} : { metric: flags.metric }),
        ...(flags.floor === undefined ? {} : { floor: parseNumber(flags.floor, "--floor") }),
      },
    ),
  ];
  if (flags.forget !== undefined)
    verdicts.push(judgeAbility(await readForgettingReport(flags.forget), { keepAbility }));
  const verdict = mergeVerdicts(verdicts);
  process.stdout.write(flags.json ? `${JSON.stringify(verdict)}\n` : printable(formatVerdict(verdict)));
  if (!verdict.passed) process.exitCode = 1;
}

async function openComparison(path: string): Promise<Comparison> {
  const isFolder = await stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
  return readComparison(isFolder ? join(path, "comparison.json") : path);
}

function parseNumber(text: string, flag: string): number {
  const number = Number(text);
  if (text.trim() !== "" && Number.isFinite(number) && number >= 0) return number;
  throw new ConfigError("BAD_OPTION", `${flag}: expected a number, 0 or more, got "${text}".`);
}
