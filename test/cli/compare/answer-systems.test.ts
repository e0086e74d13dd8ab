import { expect, it } from "vitest";
import { optionsOfRun } from "../../../src/cli/compare/answer-systems.ts";

it("takes a run's options from its folder, and the longest completion and the threads from the command line", () => {
  const run = { config: { maxTokens: 32, seed: 3 }, launch: { engine: { model: "tiny", threads: 4 } } };
  expect(optionsOfRun(run)).toMatchObject({
    config: { maxTokens: 32, seed: 3 },
    engineConfig: { model: "tiny", threads: 4 },
  });
  expect(optionsOfRun(run, { maxTokens: 8, threads: 1 })).toMatchObject({
    config: { maxTokens: 8, seed: 3 },
    engineConfig: { model: "tiny", threads: 1 },
  });
});
