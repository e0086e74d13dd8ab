/** A model card (Mitchell et al. 2019) in Markdown, from what a run folder holds: what it is for, data, recipe, figures. */
import type { EvaluationFile, RunManifest, TimingRecord } from "../runs/records.ts";
import { compareSystems, scoresByExample } from "./compare.ts";

/** How the weights are stored that the card goes with. */
export type CardFormat = "peft" | "safetensors" | "gguf";

export interface ModelCardData {
  /** The model's name. */
  name: string;
  manifest: RunManifest;
  /** Checkpoint that was exported; 0: the untrained policy. */
  step: number;
  timings: readonly TimingRecord[];
  /** Of the run's test split: `raw`, `untrained`, `tuned`, as far as they were made; shown where `tuned` is of `step`. */
  evaluations: Readonly<Partial<Record<"raw" | "untrained" | "tuned", EvaluationFile>>>;
  format: CardFormat;
  /** What the numbers are stored as. */
  type: string;
  /** The base model as it was named, and the name that others load it by. */
  base: { model: string; reference: string; fingerprint: string };
  /** A prompt of the task as the policy gets it, with what it writes after it. */
  example?: { prompt: string; completion: string };
}

/** The card; ends with a line break. */
export function writeModelCard(data: ModelCardData): string {
  const { name, manifest, step, base } = data;
  const parts = [
    frontMatter(data),
    `# ${name}`,
    `A language model that writes queries for a fixed search engine or recommender (\`${manifest.recommender.name}\`), tuned by reinforcement learning with that engine's own results as the reward (Rec-R1, [arXiv 2503.24289](https://arxiv.org/abs/2503.24289)) by rec-r1 ${manifest.versions["rec-r1"]}. Task: ${code(manifest.task)}; checkpoint after step ${step}; base model: ${code(base.model)}.`,
    "## Use",
    usage(data),
    ...(data.example ? [promptSection(data.example)] : []),
    "## Figures",
    figures(data),
    "## Data",
    table(
      ["split", "examples", "SHA-256"],
      Object.entries(manifest.data).map(([split, { examples, sha256 }]) => [split, String(examples), code(sha256)]),
    ),
    `Search engine: ${code(manifest.recommender.name)}, fingerprint ${code(manifest.recommender.fingerprint)}.`,
    "## Recipe",
    table(
      ["option", "value"],
      Object.entries(manifest.config)
        .filter(([, value]) => value !== undefined && value !== null)
        .map(([key, value]) => [code(key), code(typeof value === "string" ? value : JSON.stringify(value))]),
    ),
    `Engine: ${Object.entries(manifest.engine)
      .map(([key, value]) => `${key} ${code(String(value))}`)
      .join(", ")}. ${trainingTime(data)}`,
    "## Limits",
    `It was rewarded for what this one search engine finds for queries like those of the training split. For another engine, catalogue or kind of query nothing is known until it is measured. It answers in the form that the task's prompt asks for; it is no general assistant, and its queries are to be used as plain text.`,
  ];
  return `${parts.join("\n\n")}\n`;
}

function frontMatter({ format, base }: ModelCardData): string {
  const library = { peft: "peft", safetensors: "transformers", gguf: "gguf" }[format];
  const lines = [
    "---",
    `library_name: ${library}`,
    "pipeline_tag: text-generation",
    `base_model: ${JSON.stringify(base.reference)}`,
    "tags:",
    "  - rec-r1",
    "  - query-rewriting",
    "---",
  ];
  return lines.join("\n");
}

function usage({ format, type, base }: ModelCardData): string {
  const exact = `The run's base was ${code(base.model)} (${code(base.fingerprint)}), computed with in float32. Where that is a quantized file, the adapter belongs to those numbers: \`rec-r1 model export ${base.model} base\` writes them as a folder that Transformers loads.`;
  switch (format) {
    case "peft":
      return `A PEFT LoRA adapter (float32).\n\n\`\`\`python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\nfrom peft import PeftModel\n\nmodel = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(${JSON.stringify(base.reference)}), ".")\ntokenizer = AutoTokenizer.from_pretrained(".")\n\`\`\`\n\n${exact}`;
    case "safetensors":
      return `The adapter is merged into the weights (${type}).\n\n\`\`\`python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\nmodel = AutoModelForCausalLM.from_pretrained(".")\ntokenizer = AutoTokenizer.from_pretrained(".")\n\`\`\``;
    case "gguf":
      return `The adapter is merged into the weights (${type.toUpperCase()}), with tokenizer and chat template: load the file in llama.cpp or what is built on it.`;
  }
}

function promptSection({ prompt, completion }: { prompt: string; completion: string }): string {
  return `A prompt of the task as the policy reads it, and its greedy answer:\n\n${fence(prompt)}\n\n${fence(completion)}`;
}

function figures({ evaluations, step }: ModelCardData): string {
  const { tuned } = evaluations;
  const names = { raw: "the users' own words", untrained: "the untrained policy", tuned: "this policy" } as const;
  if (tuned?.step !== step) {
    const advice = `\`rec-r1 eval RUN --split test --checkpoint ${step}\`, and export again.`;
    const other = tuned?.step === undefined ? "" : ` (step ${tuned.step} was)`;
    return `This checkpoint, step ${step}, was not measured yet${other}: ${advice}`;
  }
  const ids = [...new Set(tuned.records.map(({ example }) => example))];
  const present = (["raw", "untrained", "tuned"] as const).flatMap((id) => {
    const evaluation = evaluations[id];
    return evaluation ? [{ id, name: names[id], scores: scoresByExample(evaluation, tuned.metric, ids) }] : [];
  });
  const pairs = present.filter(({ id }) => id !== "tuned").map(({ id }) => ["tuned", id] as const);
  const { systems, comparisons } = compareSystems(present, pairs);
  const rows = systems.map(({ name, mean, low, high }) => [
    name,
    mean.toFixed(4),
    `${low.toFixed(4)} to ${high.toFixed(4)}`,
  ]);
  const sentences = comparisons.map(
    ({ baseline, difference, p, wins, ties, losses }) =>
      `Against ${names[baseline as keyof typeof names]}: ${difference < 0 ? "" : "+"}${difference.toFixed(4)}, p = ${p.toPrecision(2)}; better on ${wins}, equal on ${ties}, worse on ${losses}.`,
  );
  const sampled =
    tuned.samples === undefined ? "" : `, a policy's the mean over ${tuned.samples} sampled completions for each`;
  return [
    `${tuned.metric} on ${tuned.limit === undefined ? "" : "the first "}${ids.length} examples of the split \`${tuned.split}\`${sampled}:`,
    table(["", tuned.metric, "95 % interval"], rows),
    ...sentences,
  ].join("\n\n");
}

function trainingTime({ timings }: ModelCardData): string {
  const seconds = timings.reduce((sum, { seconds: parts }) => sum + (parts.total ?? 0), 0);
  return seconds === 0 ? "" : `${timings.length} steps took ${Math.max(1, Math.round(seconds / 60))} minutes.`;
}

/** Inline code, whatever the text holds. */
function code(text: string): string {
  const clean = text.replace(/\s+/g, " ");
  const longest = Math.max(0, ...(clean.match(/`+/g) ?? []).map((run) => run.length));
  const mark = "`".repeat(longest + 1);
  const space = clean.startsWith("`") || clean.endsWith("`") ? " " : "";
  return `${mark}${space}${clean}${space}${mark}`;
}

/** A code block, whatever the text holds. */
function fence(text: string): string {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const mark = "`".repeat(longest + 1);
  return `${mark}text\n${text}\n${mark}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
