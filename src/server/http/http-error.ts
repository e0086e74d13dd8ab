/** A request that is refused, with what its sender is told. Anything else that is thrown is a fault of this side. */
export class HttpError extends Error {
  /** HTTP status, 400 or above. */
  readonly status: number;
  /** Stable, for programs: `BAD_HOST`, `TOO_LARGE` … */
  readonly code: string;
  /** Sent along, such as `retry-after`. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = "HttpError";
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

/** The body of a refusal. */
export interface ErrorReply {
  error: { code: string; message: string };
}
