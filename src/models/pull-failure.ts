/** Why one source of a model didn't give it; the next source is tried. Never holds a secret. */
export class PullFailure extends Error {
  /** Whether the same request may succeed a moment later. */
  readonly retryable: boolean;
  /** Whether the source was there and answered. */
  readonly isAnswered: boolean;

  constructor(reason: string, options: { retryable?: boolean; isAnswered?: boolean; cause?: unknown } = {}) {
    super(withoutSecrets(reason), { cause: options.cause });
    this.name = "PullFailure";
    this.retryable = options.retryable ?? false;
    this.isAnswered = options.isAnswered ?? false;
  }
}

/** `text` without passwords in addresses and without the hub's token. */
export function withoutSecrets(text: string): string {
  const token = process.env.HF_TOKEN?.trim();
  const clean = text.replace(/\/\/[^/\s@]+@/g, "//***@");
  return token ? clean.replaceAll(token, "***") : clean;
}

/** What a failed request says, its innermost cause first: "connect ECONNREFUSED 127.0.0.1:80". */
export function describeNetworkError(error: unknown): string {
  let current = error;
  while (current instanceof Error && current.cause instanceof Error) current = current.cause;
  if (current instanceof AggregateError && current.errors.length > 0) return describeNetworkError(current.errors[0]);
  if (!(current instanceof Error)) return String(current);
  const code = (current as NodeJS.ErrnoException).code;
  return code && !current.message.includes(code) ? `${current.message} (${code})` : current.message;
}
