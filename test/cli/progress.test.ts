import { describe, expect, it } from "vitest";
import { drawCurve, drawSparkline, formatSeconds, printable, Reporter, TrainPrinter } from "../../src/cli/progress.ts";

const makeStream = (isTTY: boolean) => {
  const stream = { isTTY, columns: 40, text: "", write: (text: string) => (stream.text += text) };
  return stream;
};

describe("Reporter", () => {
  it("writes over its status line on a terminal and never wraps", () => {
    const stream = makeStream(true);
    const reporter = new Reporter(stream);
    reporter.status("x".repeat(100));
    reporter.line("done");
    expect(stream.text).toBe(`\r\u001b[K${"x".repeat(39)}\r\u001b[Kdone\n`);
  });

  it("writes only whole lines when piped", () => {
    const stream = makeStream(false);
    const reporter = new Reporter(stream);
    reporter.status("working");
    reporter.line("done");
    reporter.clear();
    expect(stream.text).toBe("done\n");
  });

  it("lets no escape sequence through", () => {
    expect(printable("a\u001b]0;title\u0007b\u009bc\r\nd")).toBe("a ]0;title b c \nd");
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
  });

  it("writes durations for people", () => {
    expect([0.25, 42.4, 600, 12_000].map(formatSeconds)).toEqual(["0.3 s", "42 s", "10 min", "3 h 20 min"]);
  });
});
