// docs/scale.svg: for each series a panel of time per token and one of peak memory. Plain SVG, no script, no font files.

const width = 1040;
const panel = { width: 220, height: 150, left: 52, gap: 30, top: 46 };
const rowHeight = 250;
const colours = { time: "#1f6f8b", memory: "#a35c00", grid: "#d9dde1", text: "#24292f" };

const escape = (text) =>
  String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

/** A round number at or above `value`: 1, 2 or 5 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10);
}

const format = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

function text(x, y, content, { anchor = "start", size = 11, weight = "normal" } = {}) {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" font-size="${size}" font-weight="${weight}">${escape(content)}</text>`;
}

/** One panel: values over evenly spaced points, from 0. */
function drawPanel(x, y, { points, valueOf, unit, colour }) {
  const top = roundUp(Math.max(...points.map(valueOf)) * 1.05);
  const at = (i) => x + ((i + 0.5) * panel.width) / points.length;
  const level = (value) => y + panel.height * (1 - value / top);
  const lines = [0, 0.5, 1].map((share) => {
    const value = share * top;
    return (
      `<line x1="${x}" x2="${x + panel.width}" y1="${level(value)}" y2="${level(value)}" stroke="${colours.grid}"/>` +
      text(x - 6, level(value) + 4, format(value), { anchor: "end", size: 10 })
    );
  });
  const path = points.map((point, i) => `${i === 0 ? "M" : "L"}${at(i)} ${level(valueOf(point))}`).join(" ");
  const marks = points.map(
    (point, i) =>
      `<circle cx="${at(i)}" cy="${level(valueOf(point))}" r="3.5" fill="${colour}"/>` +
      text(at(i), level(valueOf(point)) - 8, format(valueOf(point)), { anchor: "middle", size: 10 }) +
      text(at(i), y + panel.height + 15, String(point.x).replace("-instruct", ""), { anchor: "middle", size: 9 }),
  );
  return [
    ...lines,
    `<path d="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
    ...marks,
    text(x, y - 10, unit, { size: 10 }),
  ].join("\n");
}

/** @param results by series: `{ label, points: [{ x, ms_per_token, peak_memory_gb }] }` */
export function drawScale(results) {
  const all = Object.values(results);
  const height = 50 + rowHeight * Math.ceil(all.length / 2);
  const panels = all.flatMap(({ label, points }, i) => {
    const x = panel.left + (i % 2) * (width / 2);
    const y = 50 + Math.floor(i / 2) * rowHeight + panel.top;
    const second = x + panel.width + panel.gap;
    return [
      text(x - 20, y - 30, `By ${label}`, { size: 13, weight: "bold" }),
      drawPanel(x, y, { points, valueOf: (p) => p.ms_per_token, unit: "milliseconds a token", colour: colours.time }),
      drawPanel(second, y, {
        points,
        valueOf: (p) => p.peak_memory_gb,
        unit: "peak memory, GB",
        colour: colours.memory,
      }),
    ];
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" fill="${colours.text}">
<title>Time per token and peak memory of a GRPO step of the local engine</title>
<rect width="${width}" height="${height}" fill="#ffffff"/>
${text(panel.left - 20, 30, "A GRPO step of the local engine: LoRA rank 16, float32, prompts of 96 tokens", { size: 15, weight: "bold" })}
${panels.join("\n")}
</svg>
`;
}
