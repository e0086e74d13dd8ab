/** What training tells while it runs, for the terminal. */
import type { TrainEvent } from "../rl/events.ts";
import { drawSparkline, formatSeconds } from "./progress.ts";
import type { CurvePoint, Reporter } from "./progress.ts";
import { LiveView } from "./live-view.ts";

/** Shows a training run's events as they come: on a terminal in a view that is written over, elsewhere in lines. */
export class TrainPrinter {
  /** Validation's metric so far, by step. */
  readonly curve: CurvePoint[] = [];
  private readonly reporter: Reporter;
  private readonly live = new LiveView();

  constructor(reporter: Reporter) {
    this.reporter = reporter;
  }

  readonly onEvent = (event: TrainEvent): void => {
    const { reporter, live } = this;
    live.take(event);
    switch (event.kind) {
      case "start": {
        const resumed = event.resumedAt === null ? "" : `, resumed after step ${event.resumedAt}`;
        reporter.line(`run ${event.runDir}: ${event.totalSteps} steps${resumed}`);
        break;
      }
      case "progress":
        reporter.status(...live.draw(reporter.width));
        break;
      case "step":
        // Where there is a live view, it says the same.
        if (reporter.isLive) reporter.status(...live.draw(reporter.width));
        else reporter.line(describeStep(event));
        break;
      case "evaluation": {
        const { summary, metric, best } = event;
        this.curve.push({ x: summary.step, y: summary.values[metric] ?? 0 });
        const failed = summary.counts.failed > 0 ? `, ${summary.counts.failed} queries failed` : "";
        const spark = drawSparkline(this.curve.map(({ y }) => y));
        const value = (summary.values[metric] ?? 0).toFixed(4);
        reporter.line(
          `  ${summary.split} ${metric} ${value} after step ${summary.step}, best ${best.value.toFixed(4)} after step ${best.step}${failed}  ${spark}`,
        );
        break;
      }
      case "warning":
        reporter.line(`warning: ${event.message}`);
        break;
      case "end":
        reporter.line(describeEnd(event));
        break;
      case "checkpoint":
        break;
    }
  };
}

function describeStep({ record, totalSteps, seconds, etaSeconds }: Extract<TrainEvent, { kind: "step" }>): string {
  const { values, step, phase } = record;
  const number = (key: string, digits: number): string => (values[key] ?? Number.NaN).toFixed(digits);
  const figures =
    phase === "warmup"
      ? [`warm-up loss ${number("loss", 4)}`]
      : [
          `reward ${number("reward", 3)}`,
          `best ${number("rewardBest", 3)}`,
          `learning groups ${((values.learningGroups ?? 0) * 100).toFixed(0)} %`,
          ...(values.failed ? [`failed ${values.failed}`] : []),
          ...(values.skipped ? ["skipped: gradients not finite"] : []),
        ];
  return `step ${String(step).padStart(String(totalSteps).length)}/${totalSteps}  ${figures.join("  ")}  ${formatSeconds(seconds)}  ${formatSeconds(etaSeconds)} left`;
}

function describeEnd({ reason, step, best }: Extract<TrainEvent, { kind: "end" }>): string {
  const why = { steps: "all steps done", early_stop: "no new best for a while", time: "time is up" }[reason];
  const result = best ? `; best ${best.metric} ${best.value.toFixed(4)} after step ${best.step}` : "";
  return `ended after step ${step}: ${why}${result}`;
}
