/** The supervised phase before the first step: what its texts are, and what is done where they can't be used. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Example } from "../../src/datasets/examples.ts";
import type { Warmup } from "../../src/rl/task.ts";
import { train } from "../../src/rl/train.ts";
import { examples, makeParts, makeTask, quick } from "../support/word-task.ts";

async function makeRunDir(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "rec-r1-warmup-"));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  return join(root, "run");
}

/** Every example's prompt, answered with the item that is looked for. */
const answers = (limit = Infinity): Warmup<Example> => ({
  examples: ({ task, train }) =>
    train.slice(0, limit).map(({ example }) => ({
      messages: task.prompt(example),
      completion: (example.relevant as string[])[0] as string,
    })),
});

const warm = { ...quick, steps: 1, warmupSteps: 2, warmupBatch: 8, evalEvery: 0 };

describe("a warm-up", () => {
  it("has the rollouts' prompts, shortened where they are", async () => {
    const parts = makeParts();
    const long = examples.map((example) => ({ ...example, query: `${example.query} ${"and so on ".repeat(20)}` }));
    const task = makeTask({
      data: { train: long },
      warmup: answers(),
      shorten: (example) => {
        const words = example.query.split(" ");
        return words.length > 2 ? { ...example, query: words.slice(0, Math.ceil(words.length / 2)).join(" ") } : null;
      },
    });
    await train({ task, ...parts, runDir: await makeRunDir(), ...warm, maxPromptTokens: 100 });
    const prompts = parts.engine.seen.map(({ data }) => new Set(data.map(({ prompt }) => prompt.join())));
    const [first, second, rollouts] = prompts;
    expect(first).toEqual(second);
    expect(first?.size).toBe(8);
    expect(Math.max(...parts.engine.seen.flatMap(({ data }) => data.map(({ prompt }) => prompt.length)))).toBeLessThan(
      101,
    );
    for (const prompt of rollouts as Set<string>) expect(first).toContain(prompt);
  });

  it("of too few texts can be resumed when the task has more", async () => {
    const runDir = await makeRunDir();
    const run = (warmup: Warmup<Example>, resume: boolean) =>
      train({ task: makeTask({ warmup }), ...makeParts(), runDir, resume, ...warm });
    await expect(run(answers(3), false)).rejects.toMatchObject({ code: "TOO_LITTLE_WARMUP" });
    expect(await readdir(runDir)).not.toContain("warmup.jsonl");
    expect(await run(answers(), true)).toMatchObject({ step: 3 });
  });
});
