import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";

const script = join(dirname(fileURLToPath(import.meta.url)), "../../scripts/summarize-tests.mjs");
const folder = mkdtempSync(join(tmpdir(), "rec-r1-summary-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function summarize(report: object | undefined, exitCode: number): { last: string | undefined; status: number | null } {
  const path = join(folder, "report.json");
  rmSync(path, { force: true });
  if (report) writeFileSync(path, JSON.stringify(report));
  const { stdout, status } = spawnSync(process.execPath, [script, path, String(exitCode)], { encoding: "utf8" });
  return { last: stdout.trimEnd().split("\n").at(-1), status };
}

const counts = (passed: number, failed: number, skipped: number): object => ({
  numPassedTests: passed,
  numFailedTests: failed,
  numPendingTests: skipped,
  numTodoTests: 0,
  testResults: [],
});
const brokenFile = { name: "a.test.ts", status: "failed", assertionResults: [{ status: "passed" }] };

describe("the closing line of a test run", () => {
  it("adds up several runs, of which only the first has to be there", () => {
    const paths = ["first.json", "second.json", "none.json"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(paths[0], JSON.stringify(counts(12, 0, 3)));
    writeFileSync(paths[1], JSON.stringify(counts(4, 1, 0)));
    const sum = (...others: string[]) =>
      spawnSync(process.execPath, [script, paths[0], "0", ...others], { encoding: "utf8" });
    expect(sum(paths[2])).toMatchObject({ stdout: "12 passed, 0 failed, 3 skipped\n", status: 0 });
    expect(sum(paths[1], paths[2])).toMatchObject({ stdout: "16 passed, 1 failed, 3 skipped\n", status: 1 });
  });

  it.each([
    ["all passed", counts(12, 0, 0), 0, "12 passed, 0 failed", 0],
    ["some skipped", counts(12, 0, 3), 0, "12 passed, 0 failed, 3 skipped", 0],
    ["some failed", counts(12, 2, 0), 1, "12 passed, 2 failed", 1],
    ["none ran", counts(0, 0, 4), 0, "0 passed, 0 failed, 4 skipped", 1],
    ["a file that failed as a whole", { ...counts(5, 0, 0), testResults: [brokenFile] }, 1, "5 passed, 1 failed", 1],
    ["an error outside any test", counts(5, 0, 0), 1, "5 passed, 1 failed", 1],
    ["a check that failed before the tests", undefined, 2, "0 passed, 1 failed", 1],
    ["no report although all went well", undefined, 0, "0 passed, 0 failed", 1],
  ])("%s", (_name, report, exitCode, last, status) => {
    expect(summarize(report, exitCode)).toEqual({ last, status });
  });
});
