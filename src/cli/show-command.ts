/** `rec-r1 show`: one run on the terminal: what was run, its curves, its best, examples of what the policy writes. */
import type { Command } from "commander";
import { ConfigError, DataError } from "../core/errors.ts";
import { listOptions } from "../core/config.ts";
import { summariseRun } from "../runs/list-runs.ts";
import type { RunSummary } from "../runs/list-runs.ts";
import type { MetricsRecord, RolloutRecord, RunManifest } from "../runs/records.ts";
import { listEvaluations, listRolloutSteps, readManifest, readMetrics, readRollouts } from "../runs/run-folder.ts";
import { launchConfigSchema } from "./launch-config.ts";
import { parseCount } from "./options.ts";
import { drawCurve, formatSeconds, printable } from "./progress.ts";

interface ShowFlags {
  step?: string;
  example?: string;
  limit: string;
  all?: boolean;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument("<run>", "run folder")
    .option("--step <number>", "rollouts of this step")
    .option("--example <id>", "only rollouts of this example; without --step, of every step that had it")
    .option("--limit <number>", "most rollouts that are printed; 0: all", "20")
    .option("--all", "every option, not only those that differ from the defaults")
    .option("--json", "print the result as one JSON object on the last line")
    .action(showRun);
}

async function showRun(dir: string, flags: ShowFlags): Promise<void> {
  const limit = parseCount(flags.limit, "--limit") || Infinity;
  const step = flags.step === undefined ? undefined : parseCount(flags.step, "--step");
  const manifest = await readManifest(dir);
  if (step !== undefined || flags.example !== undefined) {
    const rollouts = await selectRollouts(dir, { step, example: flags.example, limit });
    process.stdout.write(flags.json ? `${JSON.stringify({ run: dir, ...rollouts })}\n` : formatRollouts(rollouts));
    return;
  }
  const [summary, metrics, evaluations, steps] = await Promise.all([
    summariseRun(dir),
    readMetrics(dir),
    listEvaluations(dir),
    listRolloutSteps(dir),
  ]);
  const lastStep = steps.at(-1);
  const examples = lastStep === undefined ? [] : chooseExamples(await readRollouts(dir, lastStep));
  if (flags.json) {
    process.stdout.write(`${JSON.stringify({ ...summary, manifest, metrics, evaluations, examples })}\n`);
    return;
  }
  const text = [
    formatHead(summary, manifest),
    formatOptions(manifest, flags.all ?? false),
    formatCurves(metrics, summary),
    evaluations.length > 0
      ? `evaluations  ${evaluations.filter((name) => !name.startsWith("valid-")).join(", ") || "of training only"}\n`
      : "",
    examples.length > 0
      ? `rollouts of step ${lastStep}, best and worst of their groups\n${examples.map(formatRollout).join("")}`
      : "",
  ];
  process.stdout.write(printable(text.filter((part) => part !== "").join("\n")));
}

interface SelectedRollouts {
  rollouts: RolloutRecord[];
  /** Rollouts that matched, printed or not. */
  total: number;
}

/** @throws DataError `NO_ROLLOUTS` naming what there is */
async function selectRollouts(
  dir: string,
  { step, example, limit }: { step: number | undefined; example: string | undefined; limit: number },
): Promise<SelectedRollouts> {
  const known = await listRolloutSteps(dir);
  if (step !== undefined && !known.includes(step)) {
    const range = known.length === 0 ? "it has none" : `it has those of steps ${known[0]} to ${known.at(-1)}`;
    throw new DataError("NO_ROLLOUTS", `${dir} has no rollouts of step ${step}; ${range}. Warm-up steps have none.`);
  }
  const rollouts: RolloutRecord[] = [];
  let total = 0;
  for (const at of step === undefined ? known : [step]) {
    for (const rollout of await readRollouts(dir, at)) {
      if (example !== undefined && rollout.example !== example) continue;
      total++;
      if (rollouts.length < limit) rollouts.push(rollout);
    }
  }
  if (total === 0) {
    throw new ConfigError(
      "NO_ROLLOUTS",
      `No rollout of ${step === undefined ? "any step" : `step ${step}`} answers the example "${example}". Without --example, the ids are shown.`,
    );
  }
  return { rollouts, total };
}

function formatRollouts({ rollouts, total }: SelectedRollouts): string {
  const more = total > rollouts.length ? `${total - rollouts.length} more; see them with --limit 0\n` : "";
  return printable(`${rollouts.map(formatRollout).join("")}${more}`);
}

function formatRollout(rollout: RolloutRecord): string {
  const { step, example, sample, reward, advantage, query, completion, hits, tokens, failure, parts } = rollout;
  const number = (value: number | null): string => (value === null ? "–" : value.toFixed(3));
  const partTexts = Object.entries(parts ?? {}).map(([name, value]) => `${name} ${value.toFixed(3)}`);
  const head = [`reward ${number(reward)}`, `advantage ${number(advantage)}`, ...partTexts, `${tokens} tokens`];
  const lines = [`step ${step}  ${example} #${sample}  ${head.join("  ")}`];
  lines.push(query === null ? `  no query in: ${fold(completion)}` : `  asked  ${fold(query)}`);
  if (failure !== undefined) lines.push(`  failed ${fold(failure)}`);
  else if (hits) lines.push(`  found  ${hits.length === 0 ? "nothing" : fold(hits.join(", "))}`);
  return `${lines.join("\n")}\n`;
}

/** The best and the worst rollout of each of the three groups whose rewards differ most. */
function chooseExamples(rollouts: readonly RolloutRecord[]): RolloutRecord[] {
  const groups = new Map<string, RolloutRecord[]>();
  for (const rollout of rollouts) {
    if (rollout.reward !== null) groups.set(rollout.example, [...(groups.get(rollout.example) ?? []), rollout]);
  }
  return [...groups.values()]
    .map((group) => [...group].sort((a, b) => (b.reward as number) - (a.reward as number)))
    .map((group) => ({ best: group[0] as RolloutRecord, worst: group.at(-1) as RolloutRecord }))
    .sort((a, b) => spread(b) - spread(a))
    .slice(0, 3)
    .flatMap(({ best, worst }) => (best === worst ? [best] : [best, worst]));
}

const spread = ({ best, worst }: { best: RolloutRecord; worst: RolloutRecord }): number =>
  (best.reward as number) - (worst.reward as number);

function formatHead(summary: RunSummary, manifest: RunManifest): string {
  const { dir, task, model, status, step, totalSteps, reward, best, seconds, createdAt } = summary;
  const splits = Object.entries(manifest.data).map(([split, { examples }]) => `${examples} ${split}`);
  const rows: [string, string][] = [
    ["run", dir],
    ["task", `${task} (${splits.join(", ")})`],
    ["model", model],
    ["recommender", manifest.recommender.name],
    ["started", `${createdAt} with rec-r1 ${manifest.versions["rec-r1"]}`],
    ["status", `${status}, step ${step} of ${totalSteps}, ${formatSeconds(seconds)} of steps`],
    ...(reward === null ? [] : ([["reward", `${reward.toFixed(4)} over the last steps`]] as [string, string][])),
    ["best", best ? `${best.metric} ${best.value.toFixed(4)} after step ${best.step}` : "nothing evaluated yet"],
  ];
  return `${rows.map(([name, value]) => `${name.padEnd(11)}  ${fold(value)}`).join("\n")}\n`;
}

/** Options with their values; only those that differ from the defaults unless `all`. */
function formatOptions({ config, launch }: RunManifest, all: boolean): string {
  const defaults = new Map(listOptions(launchConfigSchema).map(({ key, defaultValue }) => [key, defaultValue]));
  const values = Object.entries({ ...config, ...((launch["engine"] as object | undefined) ?? {}) });
  const shown = values.filter(([key, value]) => all || defaults.get(key) !== value);
  if (shown.length === 0) return "options      all as by default\n";
  const width = Math.max(...shown.map(([key]) => key.length));
  const note = all ? "" : " that differ from the defaults (--all shows the others)";
  return `options${note}\n${shown.map(([key, value]) => `  ${key.padEnd(width)}  ${fold(String(value))}\n`).join("")}`;
}

function formatCurves(metrics: readonly MetricsRecord[], { best }: RunSummary): string {
  const reward = metrics.flatMap((record) =>
    record.kind === "step" && record.values["reward"] !== undefined
      ? [{ x: record.step, y: record.values["reward"] }]
      : [],
  );
  const metric = best?.metric;
  const valid = metrics.flatMap((record) => {
    const value =
      record.kind === "evaluation" && record.split === "valid" && metric !== undefined
        ? record.values[metric]
        : undefined;
    return value === undefined ? [] : [{ x: record.step, y: value }];
  });
  const parts = [
    ...(valid.length > 0 ? [`${metric} on validation, by step\n${drawCurve(valid)}\n`] : []),
    ...(reward.length > 0 ? [`mean reward, by step\n${drawCurve(reward)}\n`] : []),
  ];
  return parts.length > 0 ? parts.join("\n") : "no step yet\n";
}

/** White space folded, so that a text is one line. */
function fold(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}
