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
  if (isOutOfMemory(error)) {
    return "rec-r1: There is not enough memory. Use a smaller model, shorter texts or smaller batches, or free some; a run goes on from its last checkpoint with --resume. [OUT_OF_MEMORY]";
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return `rec-r1: unexpected ${message}\nRun it again with --debug for the stack trace.`;
}

/** Whether an allocation failed, in the words of V8, of native libraries or of the system. */
function isOutOfMemory(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (/bad_alloc|array buffer allocation failed|out of memory|cannot allocate memory|ENOMEM/i.test(error.message)) {
    return true;
  }
  return isOutOfMemory(error.cause);
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\nCaused by: ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
