/**
 * Errors that users see. Each says what happened, what was got, what was expected and what to do, and carries a stable
 * `code` for programs. Infrastructure failures (`RecommenderError`, `EngineError`) never become a reward.
 */
export interface RecR1ErrorOptions {
  /** The error that led to this one. */
  cause?: unknown;
  /** Facts for programs: file, line, field … Never secrets. */
  details?: Record<string, unknown>;
}

/** Longest message, in UTF-16 units: what a damaged file calls itself may be megabytes. */
const maxMessage = 4000;

/** Cuts what is long in one word first, so that what is said around it stays. */
function shorten(message: string): string {
  if (message.length <= maxMessage) return message;
  const cut = message.replace(/\S{400,}/g, (word) => `${word.slice(0, 200)} … ${word.slice(-100)}`);
  return cut.length <= maxMessage ? cut : `${cut.slice(0, maxMessage - 1000)} … ${cut.slice(-990)}`;
}

/** Base of every error that rec-r1 throws on purpose. A message that is very long loses its middle. */
export class RecR1Error extends Error {
  readonly code: string;
  readonly details: Record<string, unknown>;

  constructor(code: string, message: string, options: RecR1ErrorOptions = {}) {
    super(shorten(message), options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** A flag, config key or argument is wrong. */
export class ConfigError extends RecR1Error {}

/** A data file (catalogue, examples, judgments) is missing, malformed or inconsistent. */
export class DataError extends RecR1Error {}

/** The user's own task code threw or returned something unusable. */
export class TaskError extends RecR1Error {}

/** A model file or its tokenizer can't be used. */
export class ModelError extends RecR1Error {}

export interface RecommenderErrorOptions extends RecR1ErrorOptions {
  /** HTTP status, where there was one. */
  status?: number;
  /** Whether the same call may succeed later. Default false. */
  retryable?: boolean;
  /** Whether the service did answer, though nothing can be made of it: it is there. Default false. */
  answered?: boolean;
}

/** The recommender failed to answer; the rollout is dropped and counted, never scored. */
export class RecommenderError extends RecR1Error {
  readonly status: number | undefined;
  readonly retryable: boolean;
  readonly answered: boolean;

  constructor(code: string, message: string, options: RecommenderErrorOptions = {}) {
    super(code, message, options);
    this.status = options.status;
    this.retryable = options.retryable ?? false;
    this.answered = options.answered ?? false;
  }
}

/** The policy's engine failed. */
export class EngineError extends RecR1Error {}

/** A checkpoint or run folder is missing, damaged or in use. */
export class CheckpointError extends RecR1Error {}

/** The user asked to stop (Ctrl-C or an abort signal). */
export class AbortError extends RecR1Error {
  constructor(message = "Stopped on request.") {
    super("ABORTED", message);
  }
}

/** Throws {@link AbortError} when `signal` has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortError();
}
