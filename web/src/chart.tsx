/** One chart: lines of several runs over steps or minutes, with values read off by pointer or keyboard. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { formatNumber, formatSeconds } from "./format.ts";
import { smooth, type Axis, type LineWithInterval, type Line } from "./series.ts";

export interface ChartLine {
  /** What it is, where a chart has several of a run. */
  name: string;
  run: string;
  /** Place of the run's colour. */
  colour: number;
  isDashed?: boolean;
  line: Line | LineWithInterval;
  /** Points are few and real: they are marked, and not smoothed. */
  isMarked?: boolean;
}

export interface ChartProps {
  title: string;
  /** What the values are, in a few words. */
  hint: string;
  unit?: string;
  axis: Axis;
  lines: readonly ChartLine[];
  smoothing: number;
  /** Changes with light and dark. */
  theme: string;
}

const height = 190;

/** Colours as the style sheet has them now. */
function readColours(): { lines: string[]; grid: string; text: string } {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string): string => style.getPropertyValue(name).trim();
  return {
    lines: [1, 2, 3, 4, 5, 6].map((i) => read(`--line-${i}`)),
    grid: read("--grid"),
    text: read("--muted"),
  };
}

const hasInterval = (line: Line | LineWithInterval): line is LineWithInterval => "low" in line;

/** Series of one chart on a common axis, as uPlot takes them, and which of them are read off. */
function layOut(lines: readonly ChartLine[], smoothing: number, colours: ReturnType<typeof readColours>) {
  const tables: uPlot.AlignedData[] = [];
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  const read: { measured: number; smoothed?: number; line: ChartLine }[] = [];
  const add = (x: number[], y: (number | null)[], options: uPlot.Series): number => {
    tables.push([x, y] as uPlot.AlignedData);
    series.push({ spanGaps: true, points: { show: false }, ...options });
    return series.length - 1;
  };
  for (const entry of lines) {
    const { line, isMarked = false, isDashed = false } = entry;
    const stroke = colours.lines[entry.colour % colours.lines.length] as string;
    const isSmoothed = smoothing > 0 && !isMarked && line.x.length > 2;
    if (hasInterval(line)) {
      const high = add(line.x, line.high, { stroke: "transparent", width: 0 });
      const low = add(line.x, line.low, { stroke: "transparent", width: 0 });
      bands.push({ series: [high, low], fill: `${stroke}26` });
    }
    const thin = isSmoothed ? add(line.x, line.y, { stroke: `${stroke}40`, width: 1 }) : undefined;
    const thick = add(line.x, isSmoothed ? smooth(line.y, smoothing) : line.y, {
      stroke,
      width: 2,
      ...(isDashed ? { dash: [5, 4] } : {}),
      points: { show: isMarked || line.x.length < 2, size: 5, fill: stroke },
    });
    read.push(thin === undefined ? { measured: thick, line: entry } : { measured: thin, smoothed: thick, line: entry });
  }
  const data = tables.length === 0 ? ([[]] as unknown as uPlot.AlignedData) : uPlot.join(tables);
  return { data, series, bands, read };
}

export function Chart({ title, hint, unit = "", axis, lines, smoothing, theme }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [index, setIndex] = useState<number | null>(null);
  const shape = JSON.stringify([
    axis,
    theme,
    smoothing > 0,
    // Whether there is anything to draw on, a point that is marked, a line to smooth.
    lines.map(({ name, run, colour, line }) => [name, run, colour, Math.min(3, line.x.length)]),
  ]);
  const laid = useMemo(() => layOut(lines, smoothing, readColours()), [lines, smoothing, shape]);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const colours = readColours();
    const font = `12px ${getComputedStyle(element).fontFamily}`;
    const axisStyle = { stroke: colours.text, font, grid: { stroke: colours.grid, width: 1 }, ticks: { show: false } };
    const chart = new uPlot(
      {
        width: Math.max(200, element.clientWidth),
        height,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: true, y: false }, points: { size: 7 }, sync: { key: "steps" } },
        scales: { x: { time: false }, y: { range: (_chart, low, high) => rangeOf(low, high) } },
        series: laid.series,
        bands: laid.bands,
        axes: [
          { ...axisStyle, size: 28, space: 60 },
          { ...axisStyle, size: 52, values: (_chart, ticks) => ticks.map(formatTick) },
        ],
        hooks: { setCursor: [(self) => setIndex(self.cursor.idx ?? null)] },
      },
      laid.data,
      element,
    );
    plot.current = chart;
    const resized = new ResizeObserver(() => chart.setSize({ width: Math.max(200, element.clientWidth), height }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      chart.destroy();
      plot.current = null;
    };
    // Made anew when lines come or go; new points of the same lines are set below.
  }, [shape]);
  useEffect(() => {
    const chart = plot.current;
    if (!chart) return;
    const chosen = chosenOf(chart);
    chart.setData(laid.data, !chosen);
    // Sets the values' scale, too, and draws.
    if (chosen) chart.setScale("x", chosen);
  }, [laid]);

  const xs = laid.data[0] ?? [];
  const last = xs.length - 1;
  const at = index === null || index > last ? null : index;
  const readings = laid.read.map(({ measured, smoothed, line }) => ({
    line,
    value: readAt(laid.data, measured, at ?? last),
    smooth: smoothed === undefined ? null : readAt(laid.data, smoothed, at ?? last),
  }));
  const where =
    at === null ? "last" : axis === "step" ? `step ${xs[at]}` : `after ${formatSeconds((xs[at] as number) * 60)}`;
  const summary = readings
    .map(({ line, value }) => `${line.run} ${line.name} ${formatNumber(value)}${unit}`)
    .join("; ");

  const move = (event: KeyboardEvent): void => {
    const steps: Record<string, number> = {
      ArrowLeft: -1,
      ArrowRight: 1,
      PageUp: -10,
      PageDown: 10,
      Home: -1e9,
      End: 1e9,
    };
    const step = steps[event.key];
    if (step === undefined || last < 0) return;
    event.preventDefault();
    const next = Math.min(last, Math.max(0, (at ?? last) + step));
    setIndex(next);
    const chart = plot.current;
    chart?.setCursor({ left: chart.valToPos(xs[next] as number, "x"), top: 0 });
  };

  return (
    <figure class="chart">
      <figcaption>
        <h3>{title}</h3>
        <span class="hint">{hint}</span>
      </figcaption>
      {last < 0 ? (
        <p class="none">No values yet</p>
      ) : (
        <>
          {/* A slider in all but its look: arrow keys walk along the curve. */}
          <div
            ref={box}
            class="plot"
            role="slider"
            tabIndex={0}
            aria-label={title}
            aria-valuemin={0}
            aria-valuemax={last}
            aria-valuenow={at ?? last}
            aria-valuetext={`${where}: ${summary}`}
            onKeyDown={move}
          />
          <p class="readout">
            <span class="where">{where}</span>
            {readings.map(({ line, value, smooth: smoothed }) => (
              <span key={`${line.run} ${line.name}`} class="reading">
                <span
                  class={`swatch line-${(line.colour % 6) + 1}${line.isDashed ? " dashed" : ""}`}
                  aria-hidden="true"
                />
                {line.name} <b>{formatNumber(value)}</b>
                {unit}
                {smoothed !== null && <span class="smoothed"> smooth {formatNumber(smoothed)}</span>}
              </span>
            ))}
          </p>
        </>
      )}
    </figure>
  );
}

/** The part of the curves that the reader chose to see; undefined: all of them are. */
function chosenOf({ scales, data: [places] }: uPlot): { min: number; max: number } | undefined {
  const { min, max } = scales["x"] ?? {};
  // Neither is known before a chart was drawn.
  if (typeof min !== "number" || typeof max !== "number" || places.length === 0) return undefined;
  const isPart = min > (places[0] as number) || max < (places[places.length - 1] as number);
  return isPart ? { min, max } : undefined;
}

/** A series's value at a place, or the last one before it. */
function readAt(data: uPlot.AlignedData, series: number, index: number): number | null {
  const values = data[series] ?? [];
  for (let i = index; i >= 0; i--) {
    const value = values[i];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

/** The scale of values from `low` to `high`, with some room; around values that are all equal, too. */
function rangeOf(low: number | null, high: number | null): uPlot.Range.MinMax {
  if (low === null || high === null) return [0, 1];
  if (high - low <= 1e-9 * Math.abs(high)) return high === 0 ? [0, 1] : [Math.min(0, 2 * high), Math.max(0, 2 * high)];
  const room = 0.06 * (high - low);
  return [low >= 0 && low < room ? 0 : low - room, high + room];
}

function formatTick(value: number): string {
  if (Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3)) return value.toExponential(1);
  return String(Number(value.toPrecision(4)));
}
