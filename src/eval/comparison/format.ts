/** A comparison as tables: the systems, the tests, the slices, the other metrics, quality against length. */
import type { ReportComparison } from "../report/report-data.ts";
import { bestClassical } from "./measure.ts";
import type { Comparison, MeanInterval, SystemResult } from "./measure.ts";
import { renderLatex, renderMarkdown, renderText } from "./tables.ts";
import type { Table } from "./tables.ts";
import type { Usage } from "./system.ts";

const number = (value: number | undefined, digits = 4): string => (value === undefined ? "–" : value.toFixed(digits));
const signed = (value: number): string => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;
const interval = ({ low, high }: Pick<MeanInterval, "low" | "high">): string =>
  `[${low.toFixed(4)}, ${high.toFixed(4)}]`;
const share = (value: number | null): string => (value === null ? "–" : `${(100 * value).toFixed(0)} %`);
const count = (value: number): string => value.toLocaleString("en-US");

/** A p-value: three decimals, or below which power of ten it is. */
export function formatP(p: number): string {
  if (p >= 0.001) return p.toFixed(3);
  return `<${(10 ** Math.ceil(Math.log10(p) + 1e-9)).toPrecision(1).replace("e-", "e−")}`;
}

function formatSeconds(seconds: number): string {
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  return seconds < 6000 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function tokens({ promptTokens, completionTokens }: Usage): string {
  const total = promptTokens + completionTokens;
  return total === 0 ? "–" : count(total);
}

const dollars = (value: number | null | undefined): string =>
  value === null || value === undefined ? "–" : `$${value.toFixed(value < 0.01 ? 5 : 2)}`;

/** Every table of a comparison, in the order of the argument. */
export function tablesOf(comparison: Comparison): Table[] {
  return [
    systemTable(comparison),
    testTable(comparison),
    ...(comparison.slices.length > 0 ? [sliceTable(comparison)] : []),
    ...(comparison.metrics.length > 1 ? [metricTable(comparison)] : []),
    costTable(comparison),
    frontTable(comparison),
  ];
}

function systemTable({ systems, metric, split, examples, mode, unjudgedDepth }: Comparison): Table {
  return {
    caption: `${metric} on ${split}, ${examples.length} examples, mode ${mode}`,
    headers: [
      "system",
      metric,
      "95 % interval",
      "validation",
      "words",
      `unjudged@${unjudgedDepth}`,
      "no query",
      "found nothing",
      "failed",
    ],
    rows: systems.map((system) => {
      const main = system.metrics[metric];
      const { unparsed, empty, failed } = system.counts;
      return [
        system.name,
        number(main?.mean),
        main ? interval(main) : "–",
        number(system.validation ?? undefined),
        number(system.queryWords, 1),
        share(system.unjudged),
        count(unparsed),
        count(empty),
        count(failed),
      ];
    }),
  };
}

function testTable(comparison: Comparison): Table {
  const best = bestClassical(comparison)?.id;
  const nameOf = (id: string): string => {
    const name = comparison.systems.find((system) => system.id === id)?.name ?? id;
    return id === best && id !== "raw" ? `${name} (best classical on validation)` : name;
  };
  return {
    caption: `Paired differences of ${comparison.metric}: 95 % bootstrap intervals; p of the paired randomization test, Holm-corrected over all ${comparison.comparisons.length} tests`,
    headers: ["system", "against", "difference", "95 % interval", "p", "better", "equal", "worse"],
    textColumns: 2,
    rows: comparison.comparisons.map((pair: ReportComparison) => [
      nameOf(pair.system),
      nameOf(pair.baseline),
      signed(pair.difference),
      interval(pair),
      formatP(pair.p),
      count(pair.wins),
      count(pair.ties),
      count(pair.losses),
    ]),
  };
}

function sliceTable({ systems, slices, metric }: Comparison): Table {
  return {
    caption: `${metric} by slice: ${slices.map(({ name, description }) => `${name}: ${description}`).join("; ")}`,
    headers: ["system", ...slices.map(({ name, examples }) => `${name} (${examples.length})`)],
    rows: systems.map(({ name, slices: own }) => [name, ...slices.map((slice) => number(own[slice.name]?.mean))]),
  };
}

function metricTable({ systems, metrics }: Comparison): Table {
  return {
    caption: "All metrics, with 95 % bootstrap intervals",
    headers: ["system", ...metrics],
    rows: systems.map(({ name, metrics: own }) => [
      name,
      ...metrics.map((metric) => {
        const value = own[metric];
        return value ? `${number(value.mean)} ${interval(value)}` : "–";
      }),
    ]),
  };
}

function costTable({ systems }: Comparison): Table {
  return {
    caption: "Cost of answering the split, and of tuning or training before",
    headers: ["system", "time", "tokens", "money", "before: time", "tokens", "money", "settings"],
    rows: systems.map(({ name, usage, preparation, settings }) => [
      name,
      formatSeconds(usage.seconds),
      tokens(usage),
      dollars(usage.dollars),
      preparation ? formatSeconds(preparation.seconds) : "–",
      preparation ? tokens(preparation) : "–",
      dollars(preparation?.dollars),
      Object.entries(settings)
        .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
        .join(" "),
    ]),
  };
}

function frontTable({ systems, metric }: Comparison): Table {
  const quality = (system: SystemResult): number => system.metrics[metric]?.mean ?? 0;
  const sorted = [...systems].sort((a, b) => a.queryWords - b.queryWords || quality(b) - quality(a));
  return {
    caption:
      "Quality against length of the query, shortest first; on the front: no other system is as good and as short",
    headers: ["system", "words", metric, "on the front"],
    rows: sorted.map((system) => [
      system.name,
      number(system.queryWords, 1),
      number(quality(system)),
      system.onFront ? "yes" : "",
    ]),
  };
}

/** What the tables leave unsaid: one line each. */
function remarks(comparison: Comparison): string[] {
  const { recommender, notes, seed, createdAt } = comparison;
  return [
    ...notes,
    `Recommender: ${recommender.name}, fingerprint ${recommender.fingerprint}. Seed ${seed}. ${createdAt}.`,
  ];
}

export function formatComparisonText(comparison: Comparison): string {
  return `${tablesOf(comparison).map(renderText).join("\n")}\n${remarks(comparison).join("\n")}\n`;
}

export function formatComparisonMarkdown(comparison: Comparison): string {
  const notes = remarks(comparison).map((line) => `- ${line.replace(/[\\|<>*_`[\]]/g, (char) => `\\${char}`)}`);
  return `${tablesOf(comparison).map(renderMarkdown).join("\n")}\n${notes.join("\n")}\n`;
}

export function formatComparisonLatex(comparison: Comparison): string {
  const notes = remarks(comparison).map((line) => `% ${line.replace(/\s+/g, " ")}`);
  return `${tablesOf(comparison).map(renderLatex).join("\n")}\n${notes.join("\n")}\n`;
}
