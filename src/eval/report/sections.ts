/** The report's sections besides the examples: headline figures, curve, comparison, what was learnt, how it was made. */
import { drawBar, drawInterval, drawLineChart } from "./chart.ts";
import { nameOf, phraseOf, upperFirst } from "./examples.ts";
import {
  countNoun,
  foreignText,
  formatDifference,
  formatDuration,
  formatP,
  formatScore,
  groupDigits,
  html,
  type Html,
} from "./html.ts";
import type { ReportComparison, ReportData, ReportSystem } from "./report-data.ts";

/** The systems' scores in large figures and what they mean in one sentence. */
export function drawHeadline(data: ReportData): Html {
  if (data.systems.length === 0) return html``;
  const baseline = data.systems.find(({ id }) => id === data.baseline);
  const verdict = data.comparisons.find(
    (comparison) => comparison.system === data.focus && comparison.baseline === data.baseline,
  );
  return html`<section id="headline" aria-label="Headline figures">
    <ol class="figures">
      ${data.systems.map(
        (system) =>
          html`<li class="${system.id === data.focus ? "focus" : "other"}">
            <p class="name">${system.name}</p>
            <p class="figure">${formatScore(system.mean)}</p>
            ${drawBar(system.mean)}
            <p class="note">
              ${data.metric}${
                baseline &&
                system.id !== baseline.id &&
                html`, ${formatDifference(system.mean - baseline.mean)} against ${phraseOf(data, baseline.id)}`
              }
            </p>
          </li>`,
      )}
    </ol>
    ${verdict && html`<p class="verdict">${describeComparison(data, verdict)}</p>`}
    ${data.metricHelp && html`<p class="note">${data.metricHelp}</p>`}
  </section>`;
}

/** One comparison in words: which is better, by how much, on how many queries, and whether chance explains it. */
function describeComparison(data: ReportData, comparison: ReportComparison): Html {
  const [name, other] = [phraseOf(data, comparison.system), phraseOf(data, comparison.baseline)];
  const count = comparison.wins + comparison.ties + comparison.losses;
  const clear = comparison.p < 0.05;
  const word = comparison.difference > 0 ? "higher" : "lower";
  const opening = clear
    ? html`${upperFirst(name)} scores <b>${formatScore(Math.abs(comparison.difference))} ${word}</b> than ${other} on
        average`
    : html`${upperFirst(name)} and ${other} <b>can’t be told apart</b> (difference
        ${formatDifference(comparison.difference)})`;
  const chance = clear
    ? `A difference this large would seldom come up by chance`
    : `A difference this large could well come up by chance`;
  return html`${opening}, over ${countNoun(count, "query", "queries")}: better on ${groupDigits(comparison.wins)}, worse
  on ${groupDigits(comparison.losses)}, equal on ${groupDigits(comparison.ties)}. ${chance} (${formatP(comparison.p)},
  paired randomization test).`;
}

/** The training curve: the metric on the validation split with its reference lines, and the reward. */
export function drawCurve(data: ReportData): Html {
  const curve = data.curve;
  if (!curve || curve.points.length === 0) return html``;
  const valid = curve.points.flatMap(({ step, validMetric, minutes }) =>
    validMetric === undefined ? [] : [{ x: step, y: validMetric, minutes }],
  );
  const reward = curve.points.flatMap(({ step, trainReward, minutes }) =>
    trainReward === undefined ? [] : [{ x: step, y: trainReward, minutes }],
  );
  const minutesOf = new Map(curve.points.map(({ step, minutes }) => [step, minutes]));
  const describe = ({ x, y }: { x: number; y: number }): string =>
    `Step ${x}, after ${formatDuration((minutesOf.get(x) ?? 0) * 60)}: ${formatScore(y)}`;
  const last = curve.points.at(-1);
  return html`<section id="curve" aria-labelledby="curve-title">
    <h2 id="curve-title">Training</h2>
    <p class="note">
      ${countNoun(last?.step ?? 0, "step", "steps")} in ${formatDuration((last?.minutes ?? 0) * 60)}. Point at a chart,
      or focus it and use the arrow keys, to read its values.
    </p>
    <div class="charts">
      ${
        valid.length > 0 &&
        drawLineChart({
          label: curve.metricLabel,
          xLabel: "training step",
          points: valid,
          references: curve.references,
          describe,
        })
      }
      ${
        reward.length > 0 &&
        drawLineChart({
          label: curve.rewardLabel,
          xLabel: "training step",
          points: reward,
          smoothing: Math.max(1, Math.min(10, Math.round(reward.length / 6))),
          describe,
        })
      }
    </div>
    <details>
      <summary>The curve’s values</summary>
      <div class="scroll" role="region" aria-label="The curve’s values" tabindex="0">
        <table>
          <thead>
            <tr>
              <th class="number" scope="col">Step</th>
              <th class="number" scope="col">Minutes</th>
              <th class="number" scope="col">${curve.rewardLabel}</th>
              <th class="number" scope="col">${curve.metricLabel}</th>
            </tr>
          </thead>
          <tbody>
            ${curve.points.map(
              (point) =>
                html`<tr>
                  <td class="number">${point.step}</td>
                  <td class="number">${formatScore(point.minutes, 1)}</td>
                  <td class="number">${point.trainReward === undefined ? "" : formatScore(point.trainReward)}</td>
                  <td class="number">${point.validMetric === undefined ? "" : formatScore(point.validMetric)}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </details>
  </section>`;
}

/** Means with their intervals, and the systems in pairs. */
export function drawSystems(data: ReportData): Html {
  if (data.systems.length === 0) return html``;
  const end = Math.max(...data.systems.map(({ high }) => high), 0.1);
  const start = Math.min(...data.systems.map(({ low }) => low), 0);
  const failed = data.systems.some((system) => (system.failed ?? 0) > 0);
  return html`<section id="systems" aria-labelledby="systems-title">
    <h2 id="systems-title">Comparison</h2>
    <div class="scroll" role="region" aria-labelledby="systems-title" tabindex="0">
      <table>
        <thead>
          <tr>
            <th scope="col">System</th>
            <th class="number" scope="col">${data.metric}</th>
            <th class="number" scope="col">95 % interval</th>
            <th class="plot" scope="col"><span class="unseen">Interval drawn</span></th>
            <th class="number" scope="col">Queries</th>
            ${failed && html`<th class="number" scope="col">Failed</th>`}
          </tr>
        </thead>
        <tbody>
          ${data.systems.map((system) => drawSystem(system, { focus: data.focus, start, end, failed }))}
        </tbody>
      </table>
    </div>
    ${
      data.comparisons.length > 0 &&
      html`<div class="scroll" role="region" aria-label="Systems in pairs" tabindex="0">
          <table class="pairs">
            <thead>
              <tr>
                <th scope="col">Pair</th>
                <th class="number" scope="col">Difference</th>
                <th class="number" scope="col">95 % interval</th>
                <th class="number" scope="col">Better</th>
                <th class="number" scope="col">Worse</th>
                <th class="number" scope="col">Same</th>
                <th class="number" scope="col">p</th>
              </tr>
            </thead>
            <tbody>
              ${data.comparisons.map(
                (pair) =>
                  html`<tr>
                    <th scope="row">${nameOf(data, pair.system)} against ${phraseOf(data, pair.baseline)}</th>
                    <td class="number" data-name="Difference">${formatDifference(pair.difference)}</td>
                    <td class="number" data-name="95 % interval">
                      ${formatDifference(pair.low)} to ${formatDifference(pair.high)}
                    </td>
                    <td class="number" data-name="Better">${groupDigits(pair.wins)}</td>
                    <td class="number" data-name="Worse">${groupDigits(pair.losses)}</td>
                    <td class="number" data-name="Same">${groupDigits(pair.ties)}</td>
                    <td class="number" data-name="p">${formatP(pair.p).replace(/^p (= )?/, "")}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>
        <p class="note">
          Intervals by bootstrap over queries; p by a two-sided paired randomization
          test${data.comparisons.length > 1 && ", corrected for several comparisons (Holm)"}.
        </p>`
    }
  </section>`;
}

function drawSystem(system: ReportSystem, table: { focus: string; start: number; end: number; failed: boolean }): Html {
  return html`<tr class="${system.id === table.focus ? "focus" : "other"}">
    <th scope="row">${system.name}</th>
    <td class="number"><b>${formatScore(system.mean)}</b></td>
    <td class="number">${formatScore(system.low)} to ${formatScore(system.high)}</td>
    <td class="plot">${drawInterval(system.mean, system.low, system.high, table.start, table.end)}</td>
    <td class="number">${groupDigits(system.queries)}</td>
    ${table.failed && html`<td class="number">${groupDigits(system.failed ?? 0)}</td>`}
  </tr>`;
}

/** The substitutions that the tuned model makes most. */
export function drawLearned(data: ReportData): Html {
  if (data.learned.length === 0) return html``;
  return html`<section id="learned" aria-labelledby="learned-title">
    <h2 id="learned-title">What the model learnt</h2>
    <p class="note">
      Words of the user, and the words that ${phraseOf(data, data.focus)} writes for them; a word said again has more
      weight.
    </p>
    <ul class="learned">
      ${data.learned.map(
        ({ from, to, count, example }) =>
          html`<li>
            <p>
              <span class="from">${foreignText(from, 80)}</span> <i>→</i>
              <b>${foreignText(to, 80)}</b>${from === to && " again"}
            </p>
            <p class="note">${countNoun(count, "time", "times")}, as in “${foreignText(example, 120)}”</p>
          </li>`,
      )}
    </ul>
  </section>`;
}

/** Commands, times and settings. */
export function drawMaking(data: ReportData): Html {
  const settings = flattenSettings(data.settings);
  const costs = data.costs ?? [];
  const total = data.timings.reduce((sum, { seconds }) => sum + seconds, 0);
  return html`<section id="making" aria-labelledby="making-title">
    <h2 id="making-title">How to reproduce</h2>
    ${
      data.reproduce.length > 0 &&
      html`<ol class="commands">
        ${data.reproduce.map((line) => html`<li><code>${line}</code></li>`)}
      </ol>`
    }
    <div class="columns">
      ${
        data.timings.length > 0 &&
        html`<div>
          <h3>Time</h3>
          <table>
            <tbody>
              ${data.timings.map(
                ({ name, seconds }) =>
                  html`<tr>
                    <th scope="row">${name}</th>
                    <td class="number">${formatDuration(seconds)}</td>
                  </tr>`,
              )}
              <tr class="total">
                <th scope="row">Together</th>
                <td class="number">${formatDuration(total)}</td>
              </tr>
            </tbody>
          </table>
        </div>`
      }
      ${
        costs.length > 0 &&
        html`<div>
          <h3>Used</h3>
          <table>
            <tbody>
              ${costs.map(
                ({ name, value }) =>
                  html`<tr>
                    <th scope="row">${name}</th>
                    <td class="number">${value}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>`
      }
      ${
        settings.length > 0 &&
        html`<div>
          <h3>Settings</h3>
          <table class="settings">
            <tbody>
              ${settings.map(
                ([name, value]) =>
                  html`<tr>
                    <th scope="row">${name}</th>
                    <td>${foreignText(value)}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>`
      }
    </div>
  </section>`;
}

/** Nested settings as dotted names with their values as text, lists as JSON. */
export function flattenSettings(
  settings: Readonly<Record<string, unknown>>,
  prefix = "",
): [name: string, value: string][] {
  return Object.entries(settings).flatMap(([key, value]): [string, string][] => {
    if (value === undefined || typeof value === "function") return [];
    const name = `${prefix}${key}`;
    if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
      return flattenSettings(value as Record<string, unknown>, `${name}.`);
    }
    // JSON has no Infinity and no bigint; String has both.
    const plain = typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
    return [[name, plain]];
  });
}
