import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { runCli } from "../../src/cli/run-cli.ts";
import { paperPrompt, renderChatMl } from "../../src/tasks/paper-prompts.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-data-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const result = { code: 0, stdout: "", stderr: "" };
  const spies = (["stdout", "stderr"] as const).map((name) =>
    vi.spyOn(process[name], "write").mockImplementation((chunk) => {
      result[name] += String(chunk);
      return true;
    }),
  );
  try {
    result.code = await runCli(args);
  } finally {
    spies.forEach((spy) => spy.mockRestore());
  }
  return result;
}

const row = (query: string, prompt: string, index: number) => ({
  query,
  item_id: ["B1", "B1"],
  data_source: "esci_train",
  prompt: [{ role: "user", content: prompt }],
  reward_model: { style: "rule", ground_truth: { target: ["B1", "B1"] } },
  extra_info: { split: "train", index },
});

describe("rec-r1 data check", () => {
  it("counts prompts that equal, shows the first that doesn't, and what was dropped", async () => {
    const path = join(folder, "train.jsonl");
    const right = renderChatMl(paperPrompt("red pen", { kind: "terms" }));
    const rows = [row("red pen", right, 0), row("ink", right, 1), row("", right, 2)];
    await writeFile(path, rows.map((entry) => `${JSON.stringify(entry)}\n`).join(""));
    const { code, stdout } = await run("data", "check", path, "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      kind: "rec-r1-search",
      format: "jsonl",
      preset: "product-search",
      rows: 3,
      usable: 2,
      dropped: [{ reason: '"query" is empty; expected text', count: 1, rows: [3] }],
      prompts: {
        rows: 2,
        equal: 1,
        styles: { "terms, with reasoning, JSON": 1 },
        firstDifference: { example: "esci_train-1" },
      },
    });
    const text = await run("data", "check", path);
    expect(text.stdout).toMatch(/prompts {2}1 of 2 equal the preset's/);
    expect(text.stdout).toMatch(/dropped {2}1/);
  });

  it("fails with a reason on what it can't read", async () => {
    const { code, stderr } = await run("data", "check", join(folder, "none.parquet"));
    expect(code).toBe(1);
    expect(stderr).toMatch(/none\.parquet.*NOT_FOUND/s);
  });
});

describe("rec-r1 recipes", () => {
  it("prints every recipe as data, with its source", async () => {
    const { stdout } = await run("recipes", "--json");
    const { recipes } = JSON.parse(stdout) as { recipes: { name: string; source: string }[] };
    expect(recipes.map(({ name }) => name)).toContain("rec-r1");
    const one = JSON.parse((await run("recipes", "rec-r1", "--json")).stdout) as { options: object };
    expect(one.options).toMatchObject({ full: true, groupSize: 12, maxTokens: 512 });
    expect((await run("recipes", "rec-r2")).stderr).toMatch(/Did you mean "rec-r1"/);
  });
});
