import { describe, expect, it } from "vitest";
import { readExtras } from "../../../src/cli/compare/task-extras.ts";
import type { LoadedTask } from "../../../src/cli/load-task.ts";

const read = (exports: LoadedTask["exports"]): ReturnType<typeof readExtras> =>
  readExtras({ exports, path: "task.ts" } as LoadedTask, { data: undefined });
const open = (): never => {
  throw new Error("not opened");
};

describe("baselines and models of a task file", () => {
  it("are had by their names", () => {
    const { baselines, models } = read({ baselines: { sasrec: open }, models: { hosted: open } });
    expect([Object.keys(baselines), Object.keys(models)]).toEqual([["sasrec"], ["hosted"]]);
  });

  it.each([
    [{ baselines: { rm3: open } }, "rm3"],
    [{ models: { prompting: open } }, "prompting"],
    [{ baselines: { own: open }, models: { own: open } }, "own"],
  ])("are refused by a name that another system has, %#", (exports, name) => {
    expect(() => read(exports)).toThrow(`task.ts: the name "${name}" of a baseline or model is taken`);
  });
});
