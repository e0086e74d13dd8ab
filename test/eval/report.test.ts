import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { averagePoints, chooseTicks, drawLineChart } from "../../src/eval/report/chart.ts";
import { groupExamples } from "../../src/eval/report/examples.ts";
import {
  escapeText,
  foreignText,
  formatDifference,
  formatDuration,
  formatP,
  formatScore,
  html,
  PictureSheet,
} from "../../src/eval/report/html.ts";
import type { ReportData } from "../../src/eval/report/report-data.ts";
import { renderReport, writeReport } from "../../src/eval/report/report.ts";
import { buildIconReport } from "./icon-report.ts";

/** A report of four queries, one of each group. */
function smallReport(): ReportData {
  const lorry = { id: "truck", title: "truck", picture: { path: "M0,0H24V24Z" } };
  const answer = (metric: number, query: string | null = "q") => ({ query, hits: [lorry], metric });
  const example = (query: string, raw: number, tuned: number): ReportData["examples"][number] => ({
    query,
    relevant: [lorry],
    answers: { raw: answer(raw), tuned: answer(tuned) },
  });
  return {
    title: "A small report",
    when: new Date("2026-01-02T03:04:05Z"),
    subtitle: ["One sentence."],
    metric: "NDCG@10",
    systems: [
      { id: "raw", name: "Raw words", phrase: "the raw words", mean: 0.25, low: 0.1, high: 0.4, queries: 4 },
      { id: "tuned", name: "Tuned model", phrase: "the tuned model", mean: 0.5, low: 0.3, high: 0.7, queries: 4 },
    ],
    comparisons: [
      {
        system: "tuned",
        baseline: "raw",
        difference: 0.25,
        low: 0.1,
        high: 0.4,
        wins: 1,
        ties: 2,
        losses: 1,
        p: 0.004,
      },
    ],
    focus: "tuned",
    baseline: "raw",
    examples: [
      example("gain", 0.2, 1),
      example("small gain", 0.2, 0.3),
      example("loss", 1, 0.5),
      example("equal", 0.5, 0.5),
      example("missed", 0, 0),
    ],
    learned: [{ from: "lorry", to: "truck", count: 3, example: "red lorry" }],
    settings: { steps: 3, loss: { name: "grpo", klCoef: 0.1 }, seeds: [1, 2], clip: Infinity },
    reproduce: ["npm run demo"],
    timings: [{ name: "Training", seconds: 61 }],
  };
}

/** What a reader sees, markup removed. */
function visibleText(page: string): string {
  return page
    .replace(/<style>[\s\S]*?<\/style>|<script>[\s\S]*?<\/script>|<title>[\s\S]*?<\/title>/g, "")
    .replace(/<[^>]*>/g, "")
    .replace(/\s+/g, " ");
}

describe("renderReport", () => {
  it("shows figures, verdict, settings, commands and what was learnt", () => {
    const text = visibleText(renderReport(smallReport()));
    expect(text).toContain("The tuned model scores 0.250 higher than the raw words on average, over 4 queries");
    expect(text).toContain("better on 1, worse on 1, equal on 2");
    expect(text).toContain("p = 0.004");
    expect(text).toContain("lorry → truck");
    expect(text).toContain("loss.name grpo");
    expect(text).toContain("clip Infinity");
    expect(text).toContain("npm run demo");
    expect(text).toContain("1 min 1 s");
  });

  it("does not claim a difference that chance explains", () => {
    const data = smallReport();
    const text = visibleText(
      renderReport({ ...data, comparisons: data.comparisons.map((pair) => ({ ...pair, p: 0.4 })) }),
    );
    expect(text).toContain("can’t be told apart");
    expect(text).toContain("could well come up by chance (p = 0.400");
    expect(text).not.toContain("0.250 higher");
  });

  it("says lower where the tuned system is worse", () => {
    const data = smallReport();
    const page = renderReport({
      ...data,
      comparisons: data.comparisons.map((pair) => ({ ...pair, difference: -0.1 })),
    });
    expect(visibleText(page)).toContain("0.100 lower than the raw words");
  });

  it("allows its own style and script by hash and nothing else", () => {
    const page = renderReport(smallReport());
    const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page)?.[1]?.replaceAll("&#39;", "'");
    const hash = (tag: string): string => {
      const content = new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`).exec(page)?.[1] ?? "";
      expect(content.length).toBeGreaterThan(100);
      return `'sha256-${createHash("sha256").update(content).digest("base64")}'`;
    };
    expect(policy?.split("; ")).toEqual([
      "default-src 'none'",
      `style-src ${hash("style")}`,
      `script-src ${hash("script")}`,
      "img-src data:",
      "base-uri 'none'",
      "form-action 'none'",
    ]);
    expect(page).not.toMatch(/\sstyle=|\son\w+=|(?:src|href)="(?!#|data:,)/);
  });

  it("lets no text become markup, wherever it comes from", () => {
    const evil = `"><script>alert(1)</script><img src=x onerror='alert(2)'>&amp;\u0000`;
    const data = smallReport();
    const page = renderReport({
      ...data,
      title: evil,
      subtitle: [evil],
      metric: evil,
      metricHelp: evil,
      systems: data.systems.map((system) => ({ ...system, name: evil, phrase: evil })),
      curve: {
        metricLabel: evil,
        rewardLabel: evil,
        points: [{ step: 0, minutes: 0, trainReward: 0, validMetric: 0 }],
        references: [{ label: evil, value: 0.1 }],
      },
      examples: [
        {
          query: evil,
          relevant: [{ id: evil, title: evil, picture: { path: evil, viewBox: evil } }],
          answers: {
            raw: { query: evil, hits: [{ id: evil, title: evil }], metric: 0 },
            tuned: { query: evil, hits: [{ id: "x", title: evil, picture: { path: "M0", viewBox: evil } }], metric: 1 },
          },
        },
      ],
      learned: [{ from: evil, to: evil, count: 1, example: evil }],
      settings: { [evil]: evil, list: [evil] },
      reproduce: [evil],
      timings: [{ name: evil, seconds: 1 }],
    });
    const tags = [...page.matchAll(/<(script|img)\b/g)].map(([, tag]) => tag);
    expect(tags).toEqual(["script"]);
    expect(page).not.toContain("\u0000");
  });

  it("leaves out what there is nothing of", () => {
    const page = renderReport({
      ...smallReport(),
      examples: [],
      learned: [],
      timings: [],
      reproduce: [],
      settings: {},
    });
    expect(page).not.toContain('id="examples"');
    expect(page).not.toContain('id="learned"');
    expect(page).not.toContain('href="#better"');
    expect(page).not.toContain('href="#curve"');
  });

  it("shows failed queries, answers without a query and empty hit lists as such", () => {
    const data = smallReport();
    const [first] = data.examples;
    const text = visibleText(
      renderReport({
        ...data,
        systems: [
          ...data.systems.map((system) => ({ ...system, failed: 2 })),
          { id: "other", name: "Other", mean: 0, low: 0, high: 0, queries: 4 },
        ],
        examples: [
          {
            query: "x",
            relevant: first?.relevant ?? [],
            answers: { raw: { query: "x", hits: [], metric: 0 }, tuned: { query: null, hits: [], metric: 0 } },
          },
        ],
      }),
    );
    expect(text).toContain("Failed");
    expect(text).toContain("failed on this query; not counted");
    expect(text).toContain("no query in the answer");
    expect(text).toContain("no hits");
  });

  it("refuses a comparison of systems that it does not have", () => {
    expect(() => renderReport({ ...smallReport(), focus: "best" })).toThrow(
      /system "best", which is none of its systems \(raw, tuned\)/,
    );
  });
});

describe("groupExamples", () => {
  it("puts every example in one group, the largest changes first", () => {
    const groups = groupExamples(smallReport()).map(({ id, examples }) => [id, examples.map(({ query }) => query)]);
    expect(groups).toEqual([
      ["better", ["gain", "small gain"]],
      ["worse", ["loss"]],
      ["same", ["equal"]],
      ["missed", ["missed"]],
    ]);
  });
});

describe("PictureSheet", () => {
  it("keeps a picture once, however often it is drawn", () => {
    const sheet = new PictureSheet();
    const picture = { path: "M1,2.5e-1L-3 4z" };
    expect(sheet.draw(picture, "a")?.text).toContain('href="#p0"');
    expect(sheet.draw(picture, "b")?.text).toContain('href="#p0"');
    expect(sheet.symbols().text.match(/<symbol/g)).toHaveLength(1);
  });

  it.each([
    ["markup in the path", 'M0"/><script>', "0 0 24 24"],
    ["an entity in the path", "M0&#0;", "0 0 24 24"],
    ["a reference in the path", "url(#x)", "0 0 24 24"],
    ["an empty path", "", "0 0 24 24"],
    ["a huge path", "M".repeat(50_001), "0 0 24 24"],
    ["markup in the box", "M0", '0 0 24 24" onload="x'],
    ["too few numbers in the box", "M0", "0 0 24"],
  ])("does not draw %s", (_name, path, viewBox) => {
    const sheet = new PictureSheet();
    expect(sheet.draw({ path, viewBox }, "x")).toBeUndefined();
    expect(sheet.drawRow([{ picture: { path, viewBox }, title: "x", found: false }], 10)).toBeUndefined();
    expect(sheet.symbols().text).not.toContain("<symbol");
  });
});

describe("text", () => {
  it("escapes what HTML reads and removes what it forbids", () => {
    expect(escapeText(`<a b="c" d='e'>&\u0007`)).toBe("&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;\ufffd");
    expect(html`<p title="${'"'}">${["<", html`<b>${"&"}</b>`]}${undefined}${null}${false}${0}</p>`.text).toBe(
      '<p title="&quot;">&lt;<b>&amp;</b>0</p>',
    );
  });

  it("cuts long text between characters and says by how much", () => {
    expect(foreignText("😀".repeat(1500), 10).text.replace("\n", " ")).toBe(
      `<bdi>${"😀".repeat(10)}…</bdi> <small>(1,490 more characters)</small>`,
    );
    expect(foreignText(" a \n b ").text).toBe("<bdi>a b</bdi>");
  });

  it("writes numbers as people read them", () => {
    expect([formatScore(0.12345), formatScore(-0.5, 2), formatScore(-0.0001), formatScore(NaN)]).toEqual([
      "0.123",
      "−0.50",
      "0.000",
      "–",
    ]);
    expect([formatDifference(0.2, 1), formatDifference(-0.2, 1), formatDifference(0.0001)]).toEqual([
      "+0.2",
      "−0.2",
      "0.000",
    ]);
    expect([formatP(0.00002), formatP(0.0004), formatP(0.5)]).toEqual(["p < 0.0001", "p = 0.0004", "p = 0.500"]);
    expect([0.25, 5, 59.6, 725, 3900, 7185].map(formatDuration)).toEqual([
      "250 ms",
      "5.0 s",
      "1 min 0 s",
      "12 min 5 s",
      "1 h 5 min",
      "2 h 0 min",
    ]);
  });
});

describe("charts", () => {
  it("chooses round ticks that cover the values", () => {
    expect(chooseTicks(0, 0.5)).toEqual([0, 0.1, 0.2, 0.3, 0.4, 0.5]);
    expect(chooseTicks(-0.5, 1)).toEqual([-0.5, 0, 0.5, 1]);
    expect(chooseTicks(0, 0)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(chooseTicks(0, 137)).toEqual([0, 50, 100, 150]);
  });

  it("averages over the points before", () => {
    const points = [1, 3, 5].map((y, x) => ({ x, y }));
    expect(averagePoints(points, 2).map(({ y }) => y)).toEqual([1, 2, 4]);
  });

  it("keeps every mark inside its frame and drops points that are no numbers", () => {
    const { text } = drawLineChart({
      label: "x",
      xLabel: "step",
      points: [
        { x: 0, y: -2 },
        { x: 7, y: NaN },
        { x: 13, y: 0.4 },
      ],
      references: [{ label: "raw", value: 0.9 }],
      describe: ({ x }) => `step ${x}`,
    });
    expect(text).not.toMatch(/NaN|Infinity/);
    const dots = [...text.matchAll(/class="dot" cx="([^"]+)" cy="([^"]+)"/g)];
    expect(dots).toHaveLength(2);
    for (const [, cx, cy] of dots) {
      expect(Number(cx)).toBeGreaterThanOrEqual(50);
      expect(Number(cx)).toBeLessThanOrEqual(464);
      expect(Number(cy)).toBeGreaterThanOrEqual(14);
      expect(Number(cy)).toBeLessThanOrEqual(258);
    }
  });

  it("draws one point, none, and more than a call has room for", () => {
    const draw = (points: { x: number; y: number }[]): string =>
      drawLineChart({ label: "x", xLabel: "step", points, describe: () => "here" }).text;
    expect(draw([{ x: 0, y: 0 }])).not.toMatch(/NaN|Infinity/);
    expect(draw([])).not.toMatch(/NaN|Infinity/);
    expect(draw(Array.from({ length: 150_000 }, (_, x) => ({ x, y: x % 2 })))).not.toMatch(/NaN|Infinity/);
  });
});

describe("writeReport", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rec-r1-report-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("makes the folders, replaces an older report and leaves nothing else", async () => {
    const path = join(folder, "a/b/report.html");
    await writeReport(path, smallReport());
    expect(await writeReport(path, { ...smallReport(), title: "Second" })).toBe(path);
    expect(await readFile(path, "utf8")).toContain("<h1>Second</h1>");
    expect(await readdir(join(folder, "a/b"))).toEqual(["report.html"]);
  });

  it("says where it could not write and leaves what was there", async () => {
    const file = join(folder, "file");
    await writeFile(file, "mine");
    await expect(writeReport(join(file, "report.html"), smallReport())).rejects.toThrow(file);
    expect(await readFile(file, "utf8")).toBe("mine");
  });
});

describe("a report of full size", () => {
  it("is rendered within seconds and stays mailable", () => {
    const data = buildIconReport(700);
    const start = performance.now();
    const page = renderReport(data);
    expect(performance.now() - start).toBeLessThan(5000);
    expect(page.length).toBeLessThan(6_000_000);
    expect(page.match(/class="case"/g)).toHaveLength(700);
  });
});
