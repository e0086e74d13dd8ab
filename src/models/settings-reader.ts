import { ModelError } from "../core/errors.ts";

interface Bounds {
  min?: number;
  max?: number;
  /** Used where the setting is absent or null; without it an absent setting is an error. */
  fallback?: number;
}

/**
 * Typed access to a model's settings, whether they come from config.json or from GGUF metadata: a wrong one is named
 * with its key, what was got and what was expected.
 */
export class SettingsReader {
  readonly #where: string;
  readonly #lookUp: (key: string) => unknown;

  /**
   * @param where the file, for messages
   * @param lookUp value of a key; undefined or null where it is absent
   */
  constructor(where: string, lookUp: (key: string) => unknown) {
    this.#where = where;
    this.#lookUp = lookUp;
  }

  /** The raw value; undefined where it is absent or null. */
  get(key: string): unknown {
    return this.#lookUp(key) ?? undefined;
  }

  /** @throws ModelError */
  integer(key: string, bounds: Bounds = {}): number {
    const value = this.number(key, { min: 1, max: 2 ** 31 - 1, ...bounds });
    if (!Number.isInteger(value)) throw this.wrong(key, value, "an integer");
    return value;
  }

  /** @throws ModelError */
  number(key: string, { min = -Infinity, max = Infinity, fallback }: Bounds = {}): number {
    const value = this.get(key) ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value)) throw this.wrong(key, value, "a number");
    if (value < min || value > max) throw this.wrong(key, value, `a number from ${min} to ${max}`);
    return value;
  }

  /** @throws ModelError */
  boolean(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    if (typeof value !== "boolean") throw this.wrong(key, value, "true or false");
    return value;
  }

  /** @throws ModelError */
  string(key: string, fallback?: string): string {
    const value = this.get(key) ?? fallback;
    if (typeof value !== "string") throw this.wrong(key, value, "a string");
    return value;
  }

  /** Refuses a value that this package doesn't compute. @throws ModelError naming what is supported */
  refuse(key: string, isUnsupported: (value: unknown) => boolean, supported: string): void {
    const value = this.get(key);
    if (isUnsupported(value)) throw this.unsupported(key, value, supported);
  }

  /** The error for a setting that is missing or malformed. */
  wrong(key: string, got: unknown, expected: string): ModelError {
    return new ModelError(
      "MODEL_CONFIG_INVALID",
      `${this.#where}: "${key}" must be ${expected}; got ${got === undefined ? "nothing" : shorten(got)}.`,
      { details: { path: this.#where, key } },
    );
  }

  /** The error for a setting that asks for something this package doesn't compute. */
  unsupported(key: string, got: unknown, supported: string): ModelError {
    return new ModelError(
      "MODEL_UNSUPPORTED",
      `${this.#where}: "${key}" is ${shorten(got)}, which is not supported. Supported: ${supported}.`,
      { details: { path: this.#where, key } },
    );
  }
}

function shorten(value: unknown): string {
  const text =
    typeof value === "bigint" || typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
