import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Diagnosis } from "../../src/eval/doctor/diagnosis.ts";
import { writeProject } from "./project.ts";
import { lastJson, runInProcess } from "./run-in-process.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-doctor-cli-"));
  await writeProject(folder);
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const inProject = (name: string): string => join(folder, name);

describe("rec-r1 doctor", () => {
  it("names what is wrong with the project's task, and exits with 1", async () => {
    const { code, stdout } = await runInProcess("doctor", inProject("task.ts"), "--data", folder);
    expect(stdout).toMatch(/FAIL {2}split-overlap .*18 of 18 test examples/);
    expect(stdout).toMatch(/FAIL {2}empty-results/);
    expect(stdout).toMatch(/skip {2}prompt-too-long/);
    expect(code).toBe(1);
  });

  it("looks at prompts and answers of a model, and prints JSON", async () => {
    const model = ["--model", inProject("model"), "--threads", "1", "--sample", "5"];
    const { stdout } = await runInProcess("doctor", inProject("task.ts"), "--data", folder, "--json", ...model);
    const { outcomes, examples } = lastJson(stdout) as unknown as Diagnosis;
    expect(examples).toEqual({ train: 18, valid: 18, test: 18 });
    const statusOf = (name: string): string | undefined => outcomes.find(({ check }) => check === name)?.status;
    expect([statusOf("prompt-too-long"), statusOf("split-overlap")]).toEqual(["fine", "error"]);
    expect(statusOf("policy-answers")).toMatch(/fine|warning/);
  });

  it("asks the recommender that is named", async () => {
    const own = await readFile(inProject("task.ts"), "utf8");
    await writeFile(inProject("bare.ts"), own.replace("export const recommender", "const recommender"));
    const settings = { kind: "lancedb", catalogue: "catalogue.jsonl", text: ["title"] };
    await writeFile(inProject("search.json"), JSON.stringify(settings));
    const args = ["doctor", inProject("bare.ts"), "--data", folder, "--json"];
    expect((await runInProcess(...args)).stderr).toMatch(/must export `recommender`/);
    const { stdout, stderr } = await runInProcess(...args, "--recommender", inProject("search.json"));
    expect(stderr).not.toMatch(/must export/);
    expect((lastJson(stdout) as unknown as Diagnosis).recommender).toBe("lancedb");
  });
});

describe("rec-r1 train", () => {
  it("refuses to start against a broken baseline, unless told otherwise", async () => {
    const file = inProject("examined.ts");
    await writeFile(file, (await readFile(inProject("task.ts"), "utf8")).replace("doctor: false,", ""));
    const run = inProject("never");
    const args = ["train", file, "--data", folder, "--model", inProject("model"), "--threads", "1", "--run", run];
    const refused = await runInProcess(...args, "--steps", "1");
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(
      /baseline of task "letters" is broken[^]*split-overlap[^]*--no-doctor.*BROKEN_BASELINE/,
    );
    expect(existsSync(run)).toBe(false);
    const told = await runInProcess(...args, "--steps", "1", "--no-doctor");
    expect(told.code, told.stderr).toBe(0);
    const resumed = await runInProcess("train", file, "--run", run, "--resume", "--steps", "2");
    expect(resumed.code, resumed.stderr).toBe(0);
  });
});
