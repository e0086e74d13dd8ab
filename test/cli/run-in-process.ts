/** The command line run in this process, with what it prints. */
import { vi } from "vitest";
import { runCli } from "../../src/cli/run-cli.ts";
import type { CliResult } from "./project.ts";

/** Runs a command line; the process's exit code is left as it was. */
export async function runInProcess(...args: string[]): Promise<CliResult> {
  const result: CliResult = { code: null, stdout: "", stderr: "" };
  const capture = (name: "stdout" | "stderr") =>
    vi.spyOn(process[name], "write").mockImplementation((chunk) => {
      result[name] += String(chunk);
      return true;
    });
  const spies = [capture("stdout"), capture("stderr")];
  const before = process.exitCode;
  process.exitCode = undefined;
  try {
    result.code = await runCli(args);
  } finally {
    process.exitCode = before;
    spies.forEach((spy) => spy.mockRestore());
  }
  return result;
}

/** The JSON object on the last line of a command's output. */
export function lastJson(text: string): Record<string, unknown> {
  return JSON.parse(text.trimEnd().split("\n").at(-1) as string) as Record<string, unknown>;
}
