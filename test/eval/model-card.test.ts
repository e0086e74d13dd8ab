import { expect, it } from "vitest";
import { writeModelCard } from "../../src/eval/model-card.ts";
import type { ModelCardData } from "../../src/eval/model-card.ts";
import type { EvaluationFile, RunManifest } from "../../src/runs/records.ts";

const manifest: RunManifest = {
  format: 1,
  createdAt: "2026-01-01T00:00:00.000Z",
  task: "icons",
  config: { steps: 10, learningRate: 1e-4, note: null },
  engine: { model: "tiny", training: "LoRA rank 3, alpha 6" },
  recommender: { name: "lancedb", fingerprint: "f00" },
  data: { train: { examples: 5, sha256: "abc" } },
  versions: { "rec-r1": "0.1.0", node: "22" },
  launch: {},
};
const evaluation = (policy: string, scores: number[], more: Partial<EvaluationFile> = {}): EvaluationFile => ({
  policy,
  ...more,
  split: "test",
  metric: "ndcg@10",
  means: {},
  counts: { queries: scores.length, failed: 0, unparsed: 0, empty: 0 },
  records: scores.map((score, i) => ({
    ...{ example: `q${i}`, sample: 0, completion: "x", query: "x", hits: [] },
    scores: { "ndcg@10": score },
  })),
});
const data: ModelCardData = {
  name: "icons",
  manifest,
  step: 7,
  timings: [{ step: 1, endedAt: "", seconds: { total: 180 } }],
  evaluations: { raw: evaluation("raw", [0, 0, 1]), tuned: evaluation("tuned", [1, 0, 1], { step: 7 }) },
  format: "peft",
  type: "f32",
  base: { model: "tiny", reference: "org/tiny", fingerprint: "sha256:1" },
};

it("says what the run was: figures, data, recipe, how to load it", () => {
  const card = writeModelCard(data);
  expect(card).toMatch(/^---\nlibrary_name: peft\n[^]*base_model: "org\/tiny"\n/);
  expect(card).toMatch(/\| this policy \| 0\.6667 \| /);
  expect(card).toMatch(/Against the users' own words: \+0\.3333, p = .*better on 1, equal on 2, worse on 0/);
  expect(card).toMatch(/\| train \| 5 \| `abc` \|/);
  expect(card).toMatch(/\| `learningRate` \| `0\.0001` \|/);
  expect(card).not.toMatch(/`note`/);
  expect(card).toMatch(/1 steps took 3 minutes/);
  expect(card).toMatch(/PeftModel\.from_pretrained/);
  expect(writeModelCard({ ...data, evaluations: {} })).toMatch(
    /This checkpoint, step 7, was not measured yet: `rec-r1 eval RUN --split test --checkpoint 7`/,
  );
});

it("has no figures of another checkpoint, and says which examples its own are of", () => {
  const cardOf = (more: Partial<EvaluationFile>): string =>
    writeModelCard({ ...data, evaluations: { tuned: evaluation("tuned", [1, 0, 1], more) } });
  for (const more of [{ step: 5 }, {}]) {
    expect(cardOf(more)).toMatch(/step 7, was not measured yet/);
    expect(cardOf(more)).not.toMatch(/this policy/);
  }
  expect(cardOf({ step: 5 })).toMatch(/\(step 5 was\)/);
  expect(cardOf({ step: 7, limit: 3, samples: 4 })).toMatch(
    /on the first 3 examples of the split `test`, a policy's the mean over 4 sampled completions for each:/,
  );
});

it("keeps what a policy or a catalogue wrote as text", () => {
  const hostile = "```\n# Owned\n<script>alert(1)</script> | `x`";
  const card = writeModelCard({
    ...data,
    manifest: { ...manifest, task: hostile, config: { model: hostile } },
    example: { prompt: hostile, completion: hostile },
  });
  const [, ...blocks] = card.split(/^`{4}.*$/m);
  expect(blocks.filter((_, i) => i % 2 === 0)).toEqual([`\n${hostile}\n`, `\n${hostile}\n`]);
  const outside = card.replace(/^`{4}text\n[^]*?^`{4}$/gm, "");
  expect(outside.match(/^# .*$/gm)).toEqual(["# icons"]);
});
