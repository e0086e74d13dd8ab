/** The demo's result: statistics over the three systems, in words for the terminal and as a report with the icons. */
import { iconSvg, type IconDataset, type IconExample } from "../../datasets/icons.ts";
import { compareSystems, scoresByExample } from "../../eval/compare.ts";
import type { ReportItem } from "../../eval/report/report-data.ts";
import { writeReport } from "../../eval/report/report.ts";
import { buildRunReport } from "../../eval/report/run-report.ts";
import type { Evaluation } from "../../rl/evaluation.ts";
import type { LoadedExample } from "../../rl/task.ts";
import { readManifest, readTimings } from "../../runs/run-folder.ts";

export interface DemoEvaluations {
  raw: Evaluation;
  untrained: Evaluation;
  tuned: Evaluation;
}

export type DemoComparison = ReturnType<typeof compareSystems>;

/** Means, intervals, and the tuned model against both baselines (paired randomization, Holm-corrected). */
export function compareDemo({ raw, untrained, tuned }: DemoEvaluations): DemoComparison {
  const ids = raw.records.map(({ example }) => example);
  const scores = (evaluation: Evaluation): (number | null)[] => scoresByExample(evaluation, raw.metric, ids);
  return compareSystems(
    [
      { id: "raw", name: "Raw words", phrase: "the raw words", scores: scores(raw) },
      { id: "untrained", name: "Untrained model", phrase: "the untrained model", scores: scores(untrained) },
      { id: "tuned", name: "Tuned model", phrase: "the tuned model", scores: scores(tuned) },
    ],
    [
      ["tuned", "raw"],
      ["tuned", "untrained"],
    ],
  );
}

/** The comparison as a few lines of text. */
export function formatComparison({ systems, comparisons }: DemoComparison): string {
  const width = Math.max(...systems.map(({ name }) => name.length));
  const lines = [`NDCG@10 on ${systems[0]?.queries ?? 0} held-out queries`];
  for (const { name, mean, low, high } of systems) {
    lines.push(`  ${name.padEnd(width)}  ${mean.toFixed(4)}  95 % interval ${low.toFixed(4)} to ${high.toFixed(4)}`);
  }
  for (const { baseline, difference, p, wins, ties, losses } of comparisons) {
    const phrase = systems.find(({ id }) => id === baseline)?.phrase ?? baseline;
    lines.push(
      `tuned against ${phrase}: ${difference < 0 ? "" : "+"}${difference.toFixed(4)}, p = ${p.toPrecision(2)}; ` +
        `better on ${wins}, equal on ${ties}, worse on ${losses}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

export interface DemoReportOptions {
  path: string;
  runDir: string;
  icons: IconDataset;
  test: readonly LoadedExample<IconExample>[];
  evaluations: DemoEvaluations;
  minutes: number;
  reproduce: readonly string[];
}

/** Writes the HTML report. @returns its path */
export async function writeDemoReport(options: DemoReportOptions): Promise<string> {
  const { path, runDir, icons, test, evaluations, minutes, reproduce } = options;
  const manifest = await readManifest(runDir);
  const timings = await readTimings(runDir);
  const stepSeconds = timings.reduce((sum, { seconds }) => sum + (seconds["total"] ?? 0), 0);
  const data = await buildRunReport({
    runDir,
    questions: async () => test.map(({ id, example }) => ({ id, query: example.query, relevant: example.relevant })),
    show: await drawIcons(evaluations, test),
    title: "Icon search: a language model learns the catalogue's words",
    subtitle: [
      `${icons.catalogue.length} icons of Material Design Icons; only their names are indexed, by BM25. People ask with ` +
        `other words: an icon counts as found when it is the one that has the words as an alias.`,
      `The model (${String(manifest.engine["model"])}) reads the user's words and adds words to search for, or says one again to give it weight. It learned ` +
        `by trial and error alone. The catalogue's words were tried on the engine, and it began by imitating those that ` +
        `brought the right icon up; then it tried words of its own, rewarded by how high the right icon came (GRPO).`,
      `The ${test.length} queries below were held out; no icon of theirs was in training.`,
    ],
    metric: "NDCG@10",
    metricHelp: "1: the right icon comes first; 0.5: third; 0: not among the first ten.",
    reproduce,
    timings: [{ name: "Loading, trying words, evaluations", seconds: minutes * 60 - stepSeconds }],
  });
  return writeReport(path, data);
}

/** Every icon that the report may show, drawn once. */
async function drawIcons(
  evaluations: DemoEvaluations,
  test: readonly LoadedExample<IconExample>[],
): Promise<(id: string) => ReportItem> {
  const ids = new Set(test.flatMap(({ example }) => example.relevant));
  for (const { records } of Object.values(evaluations) as Evaluation[]) {
    for (const { hits } of records) hits?.forEach((id) => ids.add(id));
  }
  const items = new Map<string, ReportItem>();
  for (const id of ids) items.set(id, { id, title: id.replaceAll("-", " "), picture: { path: await iconSvg(id) } });
  return (id) => items.get(id) ?? { id, title: id };
}
