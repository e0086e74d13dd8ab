/**
 * A report of realistic size and content: icons of @mdi/svg searched by name, the users' words being its aliases, and as
 * the tuned system a rewriter that adds the name words which go with an alias's words most often.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { randomStream, shuffle } from "../../src/core/random.ts";
import { compareSystems } from "../../src/eval/compare.ts";
import type { ReportAnswer, ReportData, ReportExample, ReportItem } from "../../src/eval/report/report-data.ts";
import { findSubstitutions } from "../../src/eval/substitutions.ts";
import { ndcg } from "../../src/ranking/index.ts";

interface Icon {
  name: string;
  aliases: string[];
}

const folder = dirname(createRequire(import.meta.url).resolve("@mdi/svg/package.json"));

function words(text: string): string[] {
  return text.toLowerCase().match(/[a-z0-9]+/g) ?? [];
}

const items = new Map<string, ReportItem>();

function readItem(name: string): ReportItem {
  const known = items.get(name);
  if (known) return known;
  const path = / d="([^"]+)"/.exec(readFileSync(join(folder, "svg", `${name}.svg`), "utf8"))?.[1];
  const item = { id: name, title: name, ...(path === undefined ? {} : { picture: { path } }) };
  items.set(name, item);
  return item;
}

/** Names by BM25-like weight: rare words count more, long names less. */
function buildSearch(names: readonly string[]): (query: string) => string[] {
  const postings = new Map<string, string[]>();
  for (const name of names) {
    for (const word of new Set(words(name))) postings.set(word, [...(postings.get(word) ?? []), name]);
  }
  return (query) => {
    const scores = new Map<string, number>();
    for (const word of words(query)) {
      const found = postings.get(word) ?? [];
      const weight = Math.log(1 + names.length / (found.length + 1));
      for (const name of found) scores.set(name, (scores.get(name) ?? 0) + weight / Math.sqrt(words(name).length + 1));
    }
    return [...scores].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).map(([name]) => name);
  };
}

function buildRewriter(icons: readonly Icon[]): (query: string) => string {
  const counts = new Map<string, Map<string, number>>();
  for (const { name, aliases } of icons) {
    for (const from of aliases.flatMap(words)) {
      const row = counts.get(from) ?? new Map<string, number>();
      for (const to of words(name)) row.set(to, (row.get(to) ?? 0) + 1);
      counts.set(from, row);
    }
  }
  return (query) => {
    const added = words(query).flatMap((word) =>
      [...(counts.get(word) ?? [])]
        .sort(([, x], [, y]) => y - x)
        .slice(0, 2)
        .map(([to]) => to),
    );
    return [...new Set([...words(query), ...added])].join(" ");
  };
}

/** The report of `count` held-out aliases. */
export function buildIconReport(count = 700): ReportData {
  const icons = JSON.parse(readFileSync(join(folder, "meta.json"), "utf8")) as Icon[];
  const shuffled = shuffle(
    icons.filter(({ aliases }) => aliases.length > 0),
    randomStream("icon report"),
  );
  const search = buildSearch(icons.map(({ name }) => name));
  const rewrite = buildRewriter(shuffled.slice(count));
  const answer = (query: string, wanted: string): ReportAnswer => {
    const hits = search(query).slice(0, 10);
    return {
      query,
      hits: hits.map(readItem),
      metric: ndcg(
        hits.map((id) => ({ id })),
        [wanted],
        { k: 10 },
      ),
    };
  };
  const examples = shuffled.slice(0, count).map(({ name, aliases }): ReportExample => {
    const query = (aliases[0] ?? name).replaceAll("-", " ");
    return {
      query,
      relevant: [readItem(name)],
      answers: {
        raw: answer(query, name),
        untrained: answer(`${query} search icon`, name),
        tuned: answer(rewrite(query), name),
      },
    };
  });
  const scores = (id: string): number[] => examples.map(({ answers }) => answers[id]?.metric ?? 0);
  const compared = compareSystems(
    [
      { id: "raw", name: "Raw words", phrase: "the raw words", scores: scores("raw") },
      { id: "untrained", name: "Untrained model", phrase: "the untrained model", scores: scores("untrained") },
      { id: "tuned", name: "Tuned model", phrase: "the tuned model", scores: scores("tuned") },
    ],
    [
      ["tuned", "raw"],
      ["tuned", "untrained"],
      ["untrained", "raw"],
    ],
  );
  const [raw, untrained, tuned] = compared.systems.map(({ mean }) => mean) as [number, number, number];
  const random = randomStream("curve");
  const points = Array.from({ length: 61 }, (_, step) => {
    const expected = untrained + (tuned - untrained) * (1 - Math.exp(-step / 18));
    return {
      step,
      minutes: step * 0.21,
      ...(step > 0 && { trainReward: expected * 0.9 + (random.next() - 0.5) * 0.12 }),
      ...(step % 10 === 0 && { validMetric: expected + (random.next() - 0.5) * 0.02 }),
    };
  });
  return {
    title: "Teaching a small model to search icons",
    when: new Date("2026-01-15T10:20:00Z"),
    subtitle: [
      "SmolLM2-135M-Instruct rewrites what people type before it reaches a fixed BM25 index of 7,447 icon names.",
      "It was rewarded with the ranking metric alone: nobody labelled a rewrite, and the search engine did not change.",
    ],
    metric: "NDCG@10",
    metricHelp:
      "NDCG@10 is 1 when the wanted icon comes first, 0.63 when second, 0.29 when tenth and 0 when it is not among the first ten.",
    ...compared,
    focus: "tuned",
    baseline: "raw",
    curve: {
      metricLabel: "NDCG@10 on 200 validation queries",
      rewardLabel: "Mean reward of sampled queries",
      points,
      references: [
        { label: "raw words", value: raw },
        { label: "untrained", value: untrained },
      ],
    },
    examples,
    learned: findSubstitutions(
      examples.map(({ query, answers }) => ({ query, written: answers["tuned"]?.query ?? null })),
    ),
    settings: {
      model: "smollm2-135m-instruct",
      steps: 60,
      sampling: { temperature: 1.2, topP: 1, maxTokens: 24 },
      loss: { name: "grpo", klCoef: 0.02, clipLow: 0.2 },
      learningRate: 2e-4,
      seeds: [1, 2, 3],
    },
    reproduce: ["npm ci", "npm run demo"],
    timings: [
      { name: "Index", seconds: 0.8 },
      { name: "Load model", seconds: 6.4 },
      { name: "Training", seconds: 765 },
      { name: "Evaluation", seconds: 143 },
    ],
  };
}
