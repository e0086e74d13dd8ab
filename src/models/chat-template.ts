/**
 * Chat templates as models bring them, run as the untrusted programs they are: Jinja without access to anything but the
 * variables given, with a budget of work and memory, and a time limit for what a single operation can take.
 */
import { withTimeLimit } from "../core/time-limit.ts";

/** The library, as far as it is used here; its own types name files that TypeScript doesn't find. */
interface Jinja {
  Template: new (source: string) => { parsed: unknown };
  Environment: new () => { set(name: string, value: unknown): unknown };
  Interpreter: new (environment: unknown) => Interpreter;
}

interface Interpreter {
  run(program: unknown): { value: unknown };
  evaluate(statement: unknown, environment: unknown): { value: unknown };
}

/**
 * What a rendering may cost: 1 for each evaluation, and 1 for each character or item of its result. A conversation of
 * a million characters costs some ten million.
 */
const maxCost = 20_000_000;
const maxRange = 100_000;
const limitMs = 5000;

/** A parsed template. */
export class ChatTemplate {
  readonly #jinja: Jinja;
  readonly #program: unknown;

  private constructor(jinja: Jinja, source: string) {
    this.#jinja = jinja;
    this.#program = withTimeLimit(limitMs, () => new jinja.Template(source).parsed);
  }

  /** @throws Error where `source` is malformed */
  static async parse(source: string): Promise<ChatTemplate> {
    return new ChatTemplate((await import("@huggingface/jinja")) as unknown as Jinja, source);
  }

  /** @throws Error where the template refuses the variables, or asks for more work, memory or time than it may */
  render(variables: Readonly<Record<string, unknown>>): string {
    const environment = new this.#jinja.Environment();
    for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value);
    const interpreter = makeInterpreter(this.#jinja, environment);
    return withTimeLimit(limitMs, () => String(interpreter.run(this.#program).value));
  }
}

/** An interpreter that adds up what its evaluations cost. */
function makeInterpreter({ Interpreter }: Jinja, environment: unknown): Interpreter {
  let cost = 0;
  return new (class extends Interpreter {
    override evaluate(statement: unknown, scope: unknown): { value: unknown } {
      const result = super.evaluate(statement, scope);
      const { value } = result;
      cost += 1 + (typeof value === "string" || Array.isArray(value) ? value.length : 0);
      if (cost > maxCost) throw new Error("it loops or grows without an end in sight");
      return result;
    }
  })(environment);
}

/** What every template may use (Transformers' own list). */
const globals: Readonly<Record<string, unknown>> = {
  ...{ true: true, false: false, none: null, True: true, False: false, None: null },
  raise_exception: (message: unknown): never => {
    throw new Error(String(message));
  },
  range: (first: number, end?: number, step = 1): number[] => {
    const [start, stop] = end === undefined ? [0, first] : [first, end];
    const length = Math.max(0, Math.ceil((stop - start) / step));
    if (!(length <= maxRange)) throw new Error(`range() of ${length} numbers; ${maxRange} may be`);
    return Array.from({ length }, (_, i) => start + i * step);
  },
  strftime_now: (format: string): string => formatDate(new Date(), format),
};

/** Python's strftime, as far as templates use it; in English, whatever the machine speaks. */
function formatDate(date: Date, format: string): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const month = (style: "long" | "short"): string => new Intl.DateTimeFormat("en", { month: style }).format(date);
  const parts: Readonly<Record<string, () => string>> = {
    Y: () => String(date.getFullYear()),
    m: () => two(date.getMonth() + 1),
    d: () => two(date.getDate()),
    b: () => month("short"),
    B: () => month("long"),
    H: () => two(date.getHours()),
    M: () => two(date.getMinutes()),
    "%": () => "%",
  };
  return format.replace(/%([YmdbBHM%])/g, (_, part: string) => (parts[part] as () => string)());
}
