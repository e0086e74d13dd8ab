/** Curves of the runs that are shown. */
import { useMemo } from "preact/hooks";
import type { RunCurves, RunSummary } from "../../src/server/dashboard/wire.ts";
import { Chart, type ChartLine } from "./chart.tsx";
import { formatNumber, formatPercent, formatSeconds } from "./format.ts";
import { useKept } from "./load.ts";
import { evaluationLine, lineOf, type Axis } from "./series.ts";

interface ChartPlan {
  title: string;
  hint: string;
  unit?: string;
  /** Counts are drawn as they are: an average of them says nothing. */
  isCount?: boolean;
  /** Values of a step, with what to call each where there are several. */
  values: readonly { key: string; name: string }[];
}

const one = (key: string): ChartPlan["values"] => [{ key, name: "" }];

const plans: readonly { section: string; charts: readonly ChartPlan[] }[] = [
  {
    section: "Policy",
    charts: [
      {
        title: "KL divergence",
        hint: "nats a token: to the untrained policy, and of a step's updates",
        values: [
          { key: "klToReference", name: "to untrained" },
          { key: "approxKl", name: "of updates" },
        ],
      },
      { title: "Entropy", hint: "nats a token; near 0 the policy tries nothing new", values: one("entropy") },
      { title: "Clip fraction", hint: "share of tokens whose ratio was clipped", values: one("clipFraction") },
      { title: "Gradient norm", hint: "L2, before it is scaled down", values: one("gradNorm") },
      {
        title: "Sampling against training",
        hint: "largest difference of log-probs, nats; should be near 0",
        values: one("samplerDifference"),
      },
      { title: "Learning rate", hint: "", values: one("learningRate") },
    ],
  },
  {
    section: "Rollouts",
    charts: [
      { title: "Completion length", hint: "tokens", values: one("completionTokens") },
      {
        title: "Groups without variance",
        hint: "share of groups whose rewards are all equal: nothing to learn from",
        values: one("equalGroups"),
      },
      {
        title: "Parse failures",
        hint: "shares of rollouts: no query in them, or cut off",
        values: [
          { key: "unparsed", name: "no query" },
          { key: "truncated", name: "cut off" },
        ],
      },
      { title: "Different queries", hint: "share within a group", values: one("differentQueries") },
    ],
  },
  {
    section: "Recommender",
    charts: [
      {
        title: "Latency",
        hint: "of a call",
        unit: " ms",
        values: [
          { key: "latencyP50", name: "median" },
          { key: "latencyP95", name: "95 %" },
        ],
      },
      {
        title: "Errors",
        hint: "calls that failed in a step",
        isCount: true,
        values: one("recommenderErrors"),
      },
      { title: "Found nothing", hint: "share of rollouts", values: one("empty") },
      { title: "Known queries", hint: "share that the recommender was not asked again", values: one("cacheHitRate") },
    ],
  },
  {
    section: "Speed",
    charts: [
      { title: "Tokens a second", hint: "sampled, over the whole step", values: one("tokensPerSecond") },
      { title: "Seconds a step", hint: "", unit: " s", values: one("stepSeconds") },
    ],
  },
];

export function CurvesView({
  runs,
  summaries,
  curves,
  theme,
}: {
  runs: readonly string[];
  summaries: readonly RunSummary[];
  curves: ReadonlyMap<string, RunCurves>;
  theme: string;
}) {
  const [axis, setAxis] = useKept<Axis>("axis", "step");
  const [smoothing, setSmoothing] = useKept<string>("smoothing", "0.6");
  const weight = Number(smoothing);
  const shown = runs.map((id) => curves.get(id)).filter((run) => run !== undefined);
  const main = shown[0];
  const lines = useMemo(() => makeLines(shown, axis), [curves, axis, runs.join("\n")]);
  if (!main) return <p class="loading">Loading curves…</p>;
  const chart = (plan: ChartPlan) => (
    <Chart
      key={plan.title}
      title={plan.title}
      hint={plan.hint}
      {...(plan.unit ? { unit: plan.unit } : {})}
      axis={axis}
      lines={lines.ofPlan(plan)}
      smoothing={plan.isCount ? 0 : weight}
      theme={theme}
    />
  );
  const parts = partsOf(shown);
  return (
    <>
      <RunStatus run={main} summary={summaries.find(({ id }) => id === main.id)} />
      <div class="controls" role="group" aria-label="How curves are drawn">
        <label>
          Smoothing
          <input
            type="range"
            min="0"
            max="0.98"
            step="0.02"
            value={smoothing}
            onInput={(event) => setSmoothing(event.currentTarget.value)}
          />
          <output>{weight.toFixed(2)}</output>
        </label>
        <label>
          Over
          <select value={axis} onChange={(event) => setAxis(event.currentTarget.value as Axis)}>
            <option value="step">steps</option>
            <option value="minutes">minutes of training</option>
          </select>
        </label>
      </div>
      <section aria-labelledby="quality">
        <h2 id="quality">Quality</h2>
        <div class="charts wide">
          <Chart
            title={`Validation ${main.metric ?? ""}`}
            hint="mean with its 95 % interval"
            axis={axis}
            lines={lines.validation}
            smoothing={0}
            theme={theme}
          />
          <Chart
            title="Reward"
            hint="mean of a step's rollouts, and of each group's best"
            axis={axis}
            lines={lines.ofPlan({
              title: "",
              hint: "",
              values: [
                { key: "reward", name: "mean" },
                { key: "rewardBest", name: "best of group" },
              ],
            })}
            smoothing={weight}
            theme={theme}
          />
        </div>
      </section>
      {plans.map(({ section, charts }) => (
        <section key={section} aria-labelledby={section}>
          <h2 id={section}>{section}</h2>
          <div class="charts">
            {charts
              .filter(
                (plan) =>
                  section !== "Policy" || plan.title !== "Learning rate" || lines.ofPlan(plan)[0]?.line.x.length,
              )
              .map(chart)}
          </div>
        </section>
      ))}
      {parts.length > 0 && (
        <section aria-labelledby="parts">
          <h2 id="parts">Parts of the reward</h2>
          <div class="charts">
            {parts.map((part) => chart({ title: part.slice(5), hint: "mean", values: one(part) }))}
          </div>
        </section>
      )}
    </>
  );
}

/** Names of the parts that the task reports of its reward. */
function partsOf(runs: readonly RunCurves[]): string[] {
  const names = runs.flatMap(({ rows }) => Object.keys(rows.at(-1)?.values ?? {}));
  return [...new Set(names)].filter((name) => name.startsWith("part/")).sort();
}

function makeLines(
  runs: readonly RunCurves[],
  axis: Axis,
): { validation: ChartLine[]; ofPlan: (plan: ChartPlan) => ChartLine[] } {
  const known = new Map<string, ChartLine[]>();
  const isOne = runs.length === 1;
  const nameOf = (run: RunCurves, name: string): string => (isOne ? name : `${run.id}${name ? ` ${name}` : ""}`);
  return {
    validation: runs.map((run, colour) => ({
      name: nameOf(run, ""),
      run: run.id,
      colour,
      isMarked: true,
      line: evaluationLine(run, { split: "valid", metric: run.metric ?? "", axis }),
    })),
    // The same lines each time, so that a chart is drawn again only when its values change.
    ofPlan: ({ values }) => {
      const key = values.map((value) => value.key).join(" ");
      let lines = known.get(key);
      if (!lines) {
        lines = runs.flatMap((run, colour) =>
          values
            .map(({ key: value, name }, i): ChartLine => ({
              name: nameOf(run, name),
              run: run.id,
              colour: isOne ? i : colour,
              isDashed: i > 0,
              line: lineOf(run.rows, value, axis),
            }))
            .filter(({ line }) => line.x.length > 0),
        );
        known.set(key, lines);
      }
      return lines;
    },
  };
}

function RunStatus({ run, summary }: { run: RunCurves; summary: RunSummary | undefined }) {
  const step = run.rows.at(-1)?.step ?? 0;
  const share = run.totalSteps > 0 ? step / run.totalSteps : 0;
  const last = run.rows.at(-1)?.values;
  const words = { training: "training", done: "done", stopped: "stopped" }[run.status];
  const evaluations = run.evaluations.filter(({ split }) => split === "valid");
  const metric = run.metric ?? "";
  const best = evaluations.reduce<number | null>(
    (top, { values }) => Math.max(top ?? -Infinity, values[metric] ?? -Infinity),
    null,
  );
  return (
    <section class="status" aria-label="Where the run is">
      <div class="progress">
        <span class={`state ${run.status}`}>{words}</span>
        <progress max={1} value={share} aria-label="Steps done" />
        <span>
          step <b>{step}</b> of {run.totalSteps} ({formatPercent(share)})
          {run.etaSeconds !== null && run.status === "training" && `, about ${formatSeconds(run.etaSeconds)} left`}
        </span>
      </div>
      <dl class="figures">
        <div>
          <dt>Reward</dt>
          <dd>{formatNumber(last?.reward)}</dd>
        </div>
        <div>
          <dt>Best {metric}</dt>
          <dd>{formatNumber(best)}</dd>
        </div>
        <div>
          <dt>Untrained {metric}</dt>
          <dd>{formatNumber(evaluations.find((row) => row.step === 0)?.values[metric])}</dd>
        </div>
        <div>
          <dt>Tokens a second</dt>
          <dd>{formatNumber(last?.tokensPerSecond)}</dd>
        </div>
        {summary && (
          <div>
            <dt>Task</dt>
            <dd class="text">{summary.task}</dd>
          </div>
        )}
      </dl>
    </section>
  );
}
