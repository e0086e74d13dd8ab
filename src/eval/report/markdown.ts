/** The report as Markdown, for pull requests and wikis: the same figures, the largest gains and losses, how to reproduce. */
import { renderMarkdown } from "../comparison/tables.ts";
import { groupExamples, nameOf, phraseOf, upperFirst } from "./examples.ts";
import { formatDifference, formatDuration, formatP, formatScore, groupDigits } from "./html.ts";
import type { ReportData, ReportExample } from "./report-data.ts";
import { flattenSettings } from "./sections.ts";

/** Examples shown of those that got better, and of those that got worse. */
const mostExamples = 10;

export function renderReportMarkdown(data: ReportData): string {
  const parts = [
    `# ${escape(data.title)}`,
    ...data.subtitle.map(escape),
    data.notice === undefined ? "" : `> ${escape(data.notice)}`,
    drawSystems(data),
    drawPairs(data),
    drawCurve(data),
    ...groupExamples(data)
      .filter(({ id }) => id === "better" || id === "worse")
      .map(({ title, examples }) => drawExamples(data, title, examples)),
    drawLearned(data),
    drawMaking(data),
    `Written by rec-r1 on ${data.when.toISOString().slice(0, 16).replace("T", " ")} UTC.`,
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

function drawSystems({ systems, metric, metricHelp }: ReportData): string {
  if (systems.length === 0) return "";
  const table = renderMarkdown({
    caption: `${metric}. ${metricHelp ?? ""}`.trim(),
    headers: ["system", metric, "95 % interval", "queries", "failed"],
    rows: systems.map(({ name, mean, low, high, queries, failed = 0 }) => [
      name,
      formatScore(mean),
      `${formatScore(low)} to ${formatScore(high)}`,
      groupDigits(queries),
      groupDigits(failed),
    ]),
  });
  return `## Comparison\n\n${table.trimEnd()}`;
}

function drawPairs(data: ReportData): string {
  if (data.comparisons.length === 0) return "";
  return renderMarkdown({
    caption: "In pairs, by a paired randomization test (Holm-corrected)",
    headers: ["pair", "difference", "95 % interval", "better", "worse", "same", "p"],
    rows: data.comparisons.map(({ system, baseline, difference, low, high, wins, losses, ties, p }) => [
      `${nameOf(data, system)} against ${phraseOf(data, baseline)}`,
      formatDifference(difference),
      `${formatDifference(low)} to ${formatDifference(high)}`,
      ...[wins, losses, ties].map(groupDigits),
      formatP(p).replace(/^p (= )?/, ""),
    ]),
  }).trimEnd();
}

function drawCurve({ curve }: ReportData): string {
  const points = (curve?.points ?? []).filter(({ validMetric }) => validMetric !== undefined);
  if (!curve || points.length === 0) return "";
  const table = renderMarkdown({
    caption: curve.metricLabel,
    headers: ["step", "minutes", "validation"],
    textColumns: 0,
    rows: points.map(({ step, minutes, validMetric }) => [
      String(step),
      formatScore(minutes, 1),
      formatScore(validMetric as number),
    ]),
  });
  return `## Training\n\n${table.trimEnd()}`;
}

function drawExamples(data: ReportData, title: string, examples: readonly ReportExample[]): string {
  if (examples.length === 0) return "";
  const written = (example: ReportExample, id: string): string => {
    const answer = example.answers[id];
    return answer === undefined ? "failed" : (answer.query ?? "no query");
  };
  const score = (example: ReportExample, id: string): string => formatScore(example.answers[id]?.metric ?? NaN, 2);
  const table = renderMarkdown({
    caption:
      examples.length > mostExamples
        ? `The ${mostExamples} largest of ${groupDigits(examples.length)}`
        : `${examples.length}`,
    headers: ["asked", upperFirst(phraseOf(data, data.focus)), "wanted", "before", "after"],
    textColumns: 3,
    rows: examples
      .slice(0, mostExamples)
      .map((example) => [
        shorten(example.query),
        shorten(written(example, data.focus)),
        shorten(example.relevant.map((item) => item.title).join(", ")),
        score(example, data.baseline),
        score(example, data.focus),
      ]),
  });
  return `## ${title}\n\n${table.trimEnd()}`;
}

function drawLearned({ learned }: ReportData): string {
  if (learned.length === 0) return "";
  const table = renderMarkdown({
    caption: "Words of the user, and what is written for them",
    headers: ["word", "written", "times"],
    textColumns: 2,
    rows: learned
      .slice(0, 2 * mostExamples)
      .map(({ from, to, count }) => [from, from === to ? `${to} again` : to, String(count)]),
  });
  return `## What the model learnt\n\n${table.trimEnd()}`;
}

function drawMaking({ reproduce, timings, costs, settings }: ReportData): string {
  const fence = "`".repeat(Math.max(3, ...reproduce.map(longestTicks)) + 1);
  const commands = reproduce.length > 0 ? `${fence}sh\n${reproduce.map(oneLine).join("\n")}\n${fence}` : "";
  const table = (caption: string, rows: readonly [string, string][]): string =>
    rows.length === 0 ? "" : renderMarkdown({ caption, headers: ["what", "value"], rows }).trimEnd();
  return [
    "## How to reproduce",
    commands,
    table(
      "Time",
      timings.map(({ name, seconds }) => [name, formatDuration(seconds)]),
    ),
    table(
      "Used",
      (costs ?? []).map(({ name, value }) => [name, value]),
    ),
    table("Settings", flattenSettings(settings)),
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}

const longestTicks = (text: string): number => Math.max(0, ...(text.match(/`+/g) ?? []).map(({ length }) => length));

const oneLine = (text: string): string => text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ").trim();

function shorten(text: string): string {
  const characters = Array.from(oneLine(text));
  return characters.length <= 120 ? characters.join("") : `${characters.slice(0, 119).join("")}…`;
}

/** Text that Markdown shows as it stands. */
function escape(text: string): string {
  return oneLine(text).replace(/[\\|<>*_`[\]#]/g, (char) => `\\${char}`);
}
