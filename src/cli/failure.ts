/** What the terminal shows of an error, and the exit code that goes with it. */
import { CommanderError } from "commander";
import { isAbort } from "../core/abort.ts";
import { RecR1Error } from "../core/errors.ts";

/** 0 success (help, version), 1 error, 130 interrupted. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode;
  return isAbort(error) ? 130 : 1;
}

/** The message for people; undefined where it has been shown already. @param debug adds stacks and causes */
export function explainError(error: unknown, debug: boolean): string | undefined {
  if (error instanceof CommanderError) return undefined;
  if (debug) return `rec-r1: ${stackOf(error)}`;
  if (isAbort(error)) return `rec-r1: ${(error as Error).message}`;
  if (error instanceof RecR1Error) return `rec-r1: ${error.message} [${error.code}]`;
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return `rec-r1: unexpected ${message}\nRun it again with --debug for the stack trace.`;
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\nCaused by: ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
