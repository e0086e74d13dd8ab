import { describe, expect, it } from "vitest";
import { labelRuns } from "../../src/cli/run-labels.ts";

describe("labels of runs", () => {
  it.each([
    [["runs/one/"], ["one"]],
    [
      ["runs/one", "runs/two"],
      ["one", "two"],
    ],
    [
      ["exp1/seed0", "exp2/seed0/", "./exp2/seed1"],
      ["exp1/seed0", "exp2/seed0", "seed1"],
    ],
    [
      ["/a/x/seed0", "/b/x/seed0", "/b/y/seed0"],
      ["a/x/seed0", "b/x/seed0", "y/seed0"],
    ],
    [
      ["/seed0", "/a/seed0"],
      ["seed0", "a/seed0"],
    ],
  ])("of %j are %j", (folders, labels) => {
    expect(labelRuns("--run", folders)).toEqual(labels);
  });

  it("are refused where a folder is given twice", () => {
    expect(() => labelRuns("--run", ["runs/one", "runs/two", "./runs/one/"])).toThrow(
      /--run: the folder \.\/runs\/one\/ is given twice/,
    );
  });
});
