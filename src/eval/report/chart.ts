/** Line charts and interval plots as inline SVG, styled by the page's classes. Knows numbers and labels only. */
import { valueRange } from "../../core/value-range.ts";
import { formatScore, html, type Html } from "./html.ts";

export interface ChartPoint {
  x: number;
  y: number;
}

export interface LineChart {
  /** What the vertical axis measures; the chart's heading. */
  label: string;
  /** What the horizontal axis measures. */
  xLabel: string;
  /** In order of `x`. */
  points: readonly ChartPoint[];
  /** Says of a point what hovering shows. */
  describe: (point: ChartPoint) => string;
  /** Horizontal lines with their labels. */
  references?: readonly { label: string; value: number }[];
  /** Points averaged for the strong line; with 1 the points themselves are joined by it. Default 1. */
  smoothing?: number;
}

const width = 480;
const height = 300;
const margin = { top: 14, right: 16, bottom: 42, left: 50 };
const plotWidth = width - margin.left - margin.right;
const plotHeight = height - margin.top - margin.bottom;

/** Round numbers that cover `low` to `high` with about `count` steps of 1, 2 or 5 times a power of ten. */
export function chooseTicks(low: number, high: number, count = 5): number[] {
  if (high <= low) return chooseTicks(low, low + 1, count);
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) ?? 10);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  // Multiplying by the step and rounding keeps 0.30000000000000004 off the axis.
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Mean of the `window` points up to and including each one (fewer at the start). */
export function averagePoints(points: readonly ChartPoint[], window: number): ChartPoint[] {
  return points.map(({ x }, i) => {
    const part = points.slice(Math.max(0, i - window + 1), i + 1);
    return { x, y: part.reduce((sum, point) => sum + point.y, 0) / part.length };
  });
}

/** A chart with axes, gridlines, references and, for the page's script, the points to hover over. */
export function drawLineChart(chart: LineChart): Html {
  const points = chart.points.filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y));
  const references = (chart.references ?? []).filter(({ value }) => Number.isFinite(value));
  const [lowest, highest] = valueRange([...points.map(({ y }) => y), ...references.map(({ value }) => value)]);
  const yTicks = chooseTicks(lowest >= 0 ? 0 : lowest, Math.max(highest, 0));
  const [, farthest] = valueRange(points.map(({ x }) => x));
  const xTicks = chooseTicks(0, Math.max(farthest, 1)).filter(Number.isInteger);
  const xEnd = Math.max(xTicks.at(-1) ?? 1, farthest);
  const [yStart, yEnd] = [yTicks[0] ?? 0, yTicks.at(-1) ?? 1];
  const place = (point: ChartPoint): { left: number; top: number } => ({
    left: round(margin.left + (point.x / xEnd) * plotWidth),
    top: round(margin.top + (1 - (point.y - yStart) / (yEnd - yStart)) * plotHeight),
  });
  const join = (line: readonly ChartPoint[]): string =>
    line.map(place).reduce((path, { left, top }, i) => `${path}${i === 0 ? "M" : "L"}${left},${top}`, "");
  const smoothing = chart.smoothing ?? 1;
  const digits = yTicks.some((tick) => Math.abs(tick * 10 - Math.round(tick * 10)) > 1e-9) ? 2 : 1;
  const right = width - margin.right;
  const bottom = height - margin.bottom;
  const first = points[0];
  const last = points.at(-1);
  const summary =
    first && last
      ? `${chart.label}: from ${formatScore(first.y)} to ${formatScore(last.y)}`
      : `${chart.label}: no points`;
  return html`<figure class="chart">
    <figcaption>${chart.label}</figcaption>
    <svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${summary}">
      ${yTicks.map((tick) => {
        const { top } = place({ x: 0, y: tick });
        return html`<line class="grid" x1="${margin.left}" x2="${right}" y1="${top}" y2="${top}" />
          <text class="tick" x="${margin.left - 8}" y="${top + 4}" text-anchor="end"
            >${formatScore(tick, digits)}</text
          >`;
      })}
      ${xTicks.map((tick) => {
        const { left } = place({ x: tick, y: yStart });
        return html`<text class="tick" x="${left}" y="${bottom + 18}" text-anchor="middle">${tick}</text>`;
      })}
      <text class="tick" x="${margin.left + plotWidth / 2}" y="${height - 6}" text-anchor="middle">
        ${chart.xLabel}
      </text>
      ${placeLabels(references.map((line) => ({ ...line, top: place({ x: 0, y: line.value }).top }))).map(
        ({ label, value, top, labelTop }) =>
          html`<line class="reference" x1="${margin.left}" x2="${right}" y1="${top}" y2="${top}" />
            <text class="reference-label" x="${right}" y="${labelTop}" text-anchor="end">
              ${label} ${formatScore(value)}
            </text>`,
      )}
      ${smoothing > 1 && html`<path class="faint" d="${join(points)}" />`}
      <path class="line" d="${join(averagePoints(points, smoothing))}" />
      ${
        smoothing === 1 &&
        points.map((point) => {
          const { left, top } = place(point);
          return html`<circle class="dot" cx="${left}" cy="${top}" r="3.5" />`;
        })
      }
      <line class="cursor" x1="0" x2="0" y1="${margin.top}" y2="${bottom}" visibility="hidden" />
      <circle class="cursor-dot" r="5" cx="0" cy="0" visibility="hidden" />
      ${points.map((point) => {
        const { left, top } = place(point);
        return html`<circle class="target" cx="${left}" cy="${top}" r="9"
          ><title>${chart.describe(point)}</title></circle
        >`;
      })}
    </svg>
    <p class="readout" aria-live="off">${last ? chart.describe(last) : "No points."}</p>
  </figure>`;
}

/** Baselines for the labels of horizontal lines: above the line, or below it where another line is close above. */
function placeLabels<T extends { top: number }>(lines: readonly T[]): (T & { labelTop: number })[] {
  let taken = -Infinity;
  return [...lines]
    .sort((a, b) => a.top - b.top)
    .map((line) => {
      const above = line.top - 5;
      const labelTop = above - taken >= 14 ? above : Math.max(line.top + 14, taken + 15);
      taken = labelTop;
      return { ...line, labelTop: round(labelTop) };
    });
}

/** A mean with its interval on a scale from `start` to `end`, for a table cell. */
export function drawInterval(mean: number, low: number, high: number, start: number, end: number): Html {
  const place = (value: number): number =>
    round(Math.min(1, Math.max(0, (value - start) / (end - start || 1))) * 152 + 4);
  const zero = start < 0 && end > 0 && html`<line class="grid" x1="${place(0)}" x2="${place(0)}" y1="0" y2="20" />`;
  return html`<svg class="interval" viewBox="0 0 160 20" aria-hidden="true">
    <line class="grid" x1="4" x2="156" y1="10" y2="10" />
    ${zero}
    <line class="whisker" x1="${place(low)}" x2="${place(high)}" y1="10" y2="10" />
    <circle class="dot" cx="${place(mean)}" cy="10" r="4.5" />
  </svg>`;
}

/** A share between 0 and 1 as a horizontal bar over the whole width of its box. */
export function drawBar(share: number): Html {
  const length = round(Math.min(1, Math.max(0, Number.isFinite(share) ? share : 0)) * 100);
  return html`<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
    <rect class="track" width="100" height="4" />
    <rect class="fill" width="${length}" height="4" />
  </svg>`;
}

function round(position: number): number {
  return Math.round(position * 10) / 10;
}
