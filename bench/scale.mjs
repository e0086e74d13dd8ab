// Time and memory of a step as prompts, group size, completion length and model size grow; draws docs/scale.svg. Options:
// --steps N (1; the fastest counts), --threads N (2), --only prompts|group|length|models, --out FILE (docs/scale.svg).
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { numberOption, textOption } from "./parts/statistics.mjs";
import { drawScale } from "./parts/scale-plot.mjs";

const smollm = { model: "smollm2-135m-instruct", prompts: 8, groupSize: 8, promptTokens: 96, completionTokens: 48 };
const small = { prompts: 4, groupSize: 4, promptTokens: 96, completionTokens: 48, memoryGb: 8 };

/** Each series changes one thing. */
const series = {
  prompts: { label: "prompts in a step", points: [2, 4, 8, 16].map((x) => ({ x, work: { ...smollm, prompts: x } })) },
  group: {
    label: "completions for each prompt",
    points: [2, 4, 8, 16].map((x) => ({ x, work: { ...smollm, groupSize: x } })),
  },
  length: {
    label: "tokens of a completion",
    points: [16, 48, 96, 192].map((x) => ({ x, work: { ...smollm, completionTokens: x } })),
  },
  models: {
    label: "model, 4 prompts of 4 completions, at most 8 GB",
    points: ["smollm2-135m-instruct", "qwen2.5-0.5b", "qwen3-0.6b"].map((x) => ({ x, work: { ...small, model: x } })),
  },
};

function measure(work) {
  const program = fileURLToPath(new URL("parts/scale-point.mjs", import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, JSON.stringify(work)], { encoding: "utf8" });
  if (status !== 0) throw new Error(`A step of ${JSON.stringify(work)} failed:\n${stderr.slice(-2000)}`);
  const result = JSON.parse(stdout.trim().split("\n").at(-1));
  return { ...result, ms_per_token: (1000 * result.step_seconds) / result.tokens };
}

export async function run(args, log) {
  const steps = numberOption(args, "steps", 1);
  const threads = numberOption(args, "threads", 2);
  const only = textOption(args, "only", undefined);
  const out = textOption(args, "out", fileURLToPath(new URL("../docs/scale.svg", import.meta.url)));
  const results = {};
  for (const [name, { label, points }] of Object.entries(series)) {
    if (only && only !== name) continue;
    results[name] = { label, points: [] };
    for (const { x, work } of points) {
      const result = measure({ ...work, steps, threads });
      results[name].points.push({ x, ...result });
      log(
        `${name} ${x}: ${result.step_seconds.toFixed(1)} s a step, ${result.ms_per_token.toFixed(2)} ms a token, ` +
          `${result.peak_memory_gb.toFixed(2)} GB`,
      );
    }
  }
  if (!only) {
    writeFileSync(out, drawScale(results));
    log(`drawn: ${out}`);
  }
  return Object.fromEntries(Object.entries(results).map(([name, { points }]) => [name, points]));
}
