import { describe, expect, it } from "vitest";
import { averageInto, LiveView } from "../../src/cli/live-view.ts";
import { createEta, drawCurve, drawSparkline, formatSeconds, printable, Reporter } from "../../src/cli/progress.ts";
import { TrainPrinter } from "../../src/cli/train-printer.ts";
import { displayWidth, fitToWidth } from "../../src/core/display-width.ts";
import type { TrainEvent } from "../../src/rl/events.ts";

const makeStream = (isTTY: boolean) => {
  const stream = { isTTY, columns: 40, text: "", write: (text: string) => (stream.text += text) };
  return stream;
};

/** What a terminal shows after `text`, for the few controls that are used. */
function playOnTerminal(text: string): string[] {
  const rows = [""];
  let [row, column] = [0, 0];
  for (const [, control, char] of text.matchAll(/(\u001b\[K|\u001b\[1A|\r|\n)|([^])/gu)) {
    const line = rows[row] ?? "";
    if (control === "\u001b[K") rows[row] = line.slice(0, column);
    else if (control === "\u001b[1A") row = Math.max(0, row - 1);
    else if (control === "\r") column = 0;
    else if (control === "\n") {
      row++;
      column = 0;
      rows[row] ??= "";
    } else {
      rows[row] = line.slice(0, column) + char + line.slice(column + 1);
      column++;
    }
  }
  return rows;
}

const later = async (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 110));

describe("Reporter", () => {
  it("draws several lines over each other, whatever their number, and leaves only those that stay", async () => {
    const stream = makeStream(true);
    const reporter = new Reporter(stream, {});
    reporter.line("start");
    reporter.status("one", "two", "three");
    expect(playOnTerminal(stream.text)).toEqual(["start", "one", "two", "three"]);
    await later();
    reporter.status("four", "five\n\tsix");
    expect(playOnTerminal(stream.text)).toEqual(["start", "four", "five  six", ""]);
    reporter.line("end");
    expect(playOnTerminal(stream.text).filter((row) => row !== "")).toEqual(["start", "end"]);
  });

  it.each([{ NO_COLOR: "1" }, { CI: "true" }, { TERM: "dumb" }])("draws nothing over with %j", (environment) => {
    const stream = makeStream(true);
    const reporter = new Reporter(stream, environment);
    reporter.status("working");
    reporter.line("done");
    expect(stream.text).toBe("done\n");
    expect(reporter.isLive).toBe(false);
  });

  it("writes over its status line on a terminal and never wraps", () => {
    const stream = makeStream(true);
    const reporter = new Reporter(stream, {});
    reporter.status("x".repeat(100));
    reporter.line("done");
    expect(stream.text).toBe(`\r\u001b[K${"x".repeat(38)}…\r\u001b[Kdone\n`);
  });

  it("takes 80 columns where a terminal says 0", () => {
    expect(new Reporter({ isTTY: true, columns: 0, write: () => true }, {}).width).toBe(79);
  });

  it("writes only whole lines when piped", () => {
    const stream = makeStream(false);
    const reporter = new Reporter(stream, {});
    reporter.status("working");
    reporter.line("done");
    reporter.clear();
    expect(stream.text).toBe("done\n");
  });

  it("says what is going on when piped and silent for half a minute", () => {
    const stream = makeStream(false);
    let now = 0;
    const reporter = new Reporter(stream, {}, () => now);
    const at = (seconds: number, text: string): void => {
      now = seconds * 1000;
      reporter.status(text, "more");
    };
    at(29, "1/9");
    at(31, "2/9");
    at(60, "3/9");
    reporter.line("done");
    at(89, "4/9");
    at(91, "5/9");
    expect(stream.text).toBe("2/9\ndone\n5/9\n");
  });

  it("lets no escape sequence through", () => {
    expect(printable("a\u001b]0;title\u0007b\u009bc\r\nd")).toBe("a ]0;title b c \nd");
    expect(printable("a\u202egnp.exe\u2066")).toBe("a gnp.exe ");
  });
});

describe("TrainPrinter", () => {
  it("shows steps with ETA and evaluations with the curve so far", () => {
    const stream = makeStream(false);
    const printer = new TrainPrinter(new Reporter(stream));
    const values = { reward: 0.25, rewardBest: 0.5, learningGroups: 0.75, failed: 2 };
    printer.onEvent({
      kind: "step",
      record: { kind: "step", step: 3, phase: "rl", values },
      totalSteps: 10,
      seconds: 2,
      etaSeconds: 840,
    });
    const counts = { queries: 9, failed: 1, unparsed: 0, empty: 0 };
    for (const [step, value] of [
      [0, 0.1],
      [3, 0.2],
    ] as const) {
      const best = { step, metric: "ndcg@10", value, checkpoint: null };
      const summary = { kind: "evaluation" as const, step, split: "valid", values: { "ndcg@10": value }, counts };
      printer.onEvent({ kind: "evaluation", summary, metric: "ndcg@10", best });
    }
    expect(stream.text.split("\n")[0]).toBe(
      "step  3/10  reward 0.250  best 0.500  learning groups 75 %  failed 2  2.0 s  14 min left",
    );
    expect(stream.text).toMatch(/valid ndcg@10 0.2000 after step 3, best 0.2000 after step 3, 1 queries failed {2}▁█/);
    expect(printer.curve).toEqual([
      { x: 0, y: 0.1 },
      { x: 3, y: 0.2 },
    ]);
  });
});

describe("the live view", () => {
  const step = (
    number: number,
    values: Record<string, number>,
    rewrite?: { raw: string; query: string; reward: number },
  ) =>
    ({
      kind: "step",
      record: { kind: "step", step: number, phase: "reward" in values ? "rl" : "warmup", values },
      totalSteps: 10,
      seconds: 1,
      etaSeconds: 65,
      ...(rewrite ? { rewrite } : {}),
    }) satisfies TrainEvent;

  it("shows progress, time left, both curves and the last best rewrite, without escapes of the model's", () => {
    const stream = makeStream(true);
    const reporter = new Reporter({ ...stream, columns: 200, write: (text: string) => (stream.text += text) }, {});
    const printer = new TrainPrinter(reporter);
    const config = {} as Extract<TrainEvent, { kind: "start" }>["config"];
    printer.onEvent({ kind: "start", runDir: "runs/x", config, totalSteps: 10, resumedAt: null });
    printer.onEvent(step(1, { reward: 0.1, rewardBest: 0.3, learningGroups: 0.5 }));
    const rewrite = { raw: "plus", query: "add \u001b[2Jcreate", reward: 0.75 };
    const live = new LiveView();
    live.take({ kind: "start", runDir: "runs/x", config, totalSteps: 10, resumedAt: null });
    live.take(step(1, { reward: 0.1, rewardBest: 0.3, learningGroups: 0.5 }));
    live.take(step(5, { reward: 0.3, rewardBest: 0.6, learningGroups: 1, failed: 2 }, rewrite));
    const counts = { queries: 9, failed: 0, unparsed: 0, empty: 0 };
    const best = { step: 5, metric: "ndcg@10", value: 0.25, checkpoint: null };
    const summary = { kind: "evaluation" as const, step: 5, split: "valid", values: { "ndcg@10": 0.25 }, counts };
    live.take({ kind: "evaluation", summary, metric: "ndcg@10", best });
    live.take({ kind: "progress", activity: "sampling", step: 6, done: 3, total: 8 });
    const lines = live.draw(100);
    expect(lines[0]).toMatch(/^█{12}░{12} {2}50 % {2}step 5\/10 {2}65 s left {2}sampling 3\/8$/);
    expect(lines[2]).toMatch(/^reward 0.300 ▁█ {2}best of a group 0.600 {2}learning groups 100 % {2}failed 2$/);
    expect(lines[3]).toMatch(/^valid ndcg@10 0.2500 {2}best 0.2500 after step 5 ▁$/);
    expect(lines[4]).toBe("0.75: “plus” → “add \u001b[2Jcreate”");
    reporter.clear();
    stream.text = "";
    reporter.status(...lines);
    expect(playOnTerminal(stream.text)[4]).toBe("0.75: “plus” → “add  [2Jcreate”");
  });

  it("begins with the warm-up's loss, and with nothing at all", () => {
    const live = new LiveView();
    expect(live.draw(80)[0]).toContain("step 0/0");
    live.take(step(1, { loss: 2.5 }));
    live.take(step(2, { loss: 2 }));
    expect(live.draw(20).at(-1)).toBe("warm-up loss 2.0000 █▁");
  });

  it("averages long curves into few points, without what isn't finite", () => {
    expect(averageInto([1, Number.NaN, 3], 5)).toEqual([1, 3]);
    expect(averageInto([0, 2, 4, 6, 8, 10], 3)).toEqual([1, 5, 9]);
  });

  it("counts columns, not characters", () => {
    expect(displayWidth("日本 e\u0301")).toBe(6);
    expect(fitToWidth("日本語", 5)).toBe("日本…");
    expect(fitToWidth("abc", 3)).toBe("abc");
    expect(fitToWidth("abc", 0)).toBe("");
  });
});

describe("drawing", () => {
  it("scales sparklines and curves between lowest and highest", () => {
    expect(drawSparkline([0, 0.5, 1])).toBe("▁▅█");
    expect(drawSparkline([3, 3])).toBe("▁▁");
    expect(drawSparkline([])).toBe("");
    const curve = drawCurve(
      [
        { x: 0, y: 0 },
        { x: 10, y: 1 },
      ],
      { width: 11, height: 3 },
    );
    expect(curve.split("\n")).toEqual([
      "   1.000 │          •",
      "   0.500 │",
      "   0.000 │•",
      "         └───────────",
      "          0        10",
    ]);
    expect(
      drawCurve(
        [
          { x: 0, y: 0.5 },
          { x: 1, y: 0.5 },
        ],
        { width: 4 },
      ).split("\n"),
    ).toHaveLength(3);
    expect(drawCurve([])).toBe("");
    const long = Array.from({ length: 200_000 }, (_, x) => ({ x, y: x % 2 }));
    expect(drawCurve(long, { width: 11 }).split("\n").at(-1)).toMatch(/^ +0 *199999$/);
    expect(drawSparkline(long.map(({ y }) => y))).toHaveLength(200_000);
  });

  it("writes durations for people", () => {
    expect([0.25, 42.4, 600, 12_000].map(formatSeconds)).toEqual(["0.3 s", "42 s", "10 min", "3 h 20 min"]);
  });
});

describe("createEta", () => {
  it("tells the rest at the speed since it began, also where work is gone on with", () => {
    let now = 0;
    const eta = createEta(() => now);
    expect(eta(20_000, 50_000)).toBe("");
    now = 2000;
    expect(eta(20_000, 50_000)).toBe("");
    expect(eta(30_000, 50_000)).toBe(", 4.0 s left");
    now = 6000;
    expect(eta(50_000, 50_000)).toBe("");
  });
});
