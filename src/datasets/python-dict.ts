/**
 * Dictionaries as Python prints them: text in single or double quotes, `None`, `True`, `False`. The metadata files of
 * Amazon Reviews 2014 hold one a line. Reads values only; nothing is evaluated.
 */
import type { JsonObject } from "../core/data-lines.ts";
import { DataError } from "../core/errors.ts";

/** Deeper nesting is refused. */
const deepest = 64;

const escapes: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", b: "\b", f: "\f", v: "\v", a: "\x07" };
const words: Readonly<Record<string, unknown>> = { None: null, True: true, False: false };

/**
 * The dictionary in `text`.
 * @param where names the text in errors
 * @throws DataError `DATA_NOT_JSON` where it is none
 */
export function parsePythonDict(text: string, where: string): JsonObject {
  const reader = new Reader(text, where);
  const value = reader.value(0);
  reader.end();
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw reader.fault("a dictionary");
}

class Reader {
  private at = 0;
  private readonly text: string;
  private readonly where: string;

  constructor(text: string, where: string) {
    this.text = text;
    this.where = where;
  }

  fault(expected: string): DataError {
    const near = this.text.slice(this.at, this.at + 20);
    return new DataError("DATA_NOT_JSON", `${this.where}: expected ${expected} at character ${this.at}: ${near}`);
  }

  end(): void {
    this.blank();
    if (this.at < this.text.length) throw this.fault("the end");
  }

  value(depth: number): unknown {
    if (depth > deepest) throw this.fault("less nesting");
    this.blank();
    const char = this.text[this.at];
    if (char === "{") return this.dict(depth);
    if (char === "[" || char === "(") return this.list(depth, char === "[" ? "]" : ")");
    if (char === "'" || char === '"') return this.string();
    if (char === "u" && /['"]/.test(this.text[this.at + 1] ?? "")) {
      this.at++;
      return this.string();
    }
    const [word] = /^[-+.\w]+/.exec(this.text.slice(this.at, this.at + 40)) ?? [];
    if (word === undefined) throw this.fault("a value");
    const isWord = Object.hasOwn(words, word);
    const number = Number(word.replace(/L$/, ""));
    if (!isWord && Number.isNaN(number)) throw this.fault("a value");
    this.at += word.length;
    return isWord ? words[word] : number;
  }

  private dict(depth: number): JsonObject {
    const entries: [string, unknown][] = [];
    this.at++;
    for (;;) {
      this.blank();
      if (this.take("}")) return Object.fromEntries(entries);
      const key = this.value(depth + 1);
      this.blank();
      if (!this.take(":")) throw this.fault('":"');
      entries.push([String(key), this.value(depth + 1)]);
      this.blank();
      if (!this.take(",") && this.text[this.at] !== "}") throw this.fault('"," or "}"');
    }
  }

  private list(depth: number, close: string): unknown[] {
    const values: unknown[] = [];
    this.at++;
    for (;;) {
      this.blank();
      if (this.take(close)) return values;
      values.push(this.value(depth + 1));
      this.blank();
      if (!this.take(",") && this.text[this.at] !== close) throw this.fault(`"," or "${close}"`);
    }
  }

  private string(): string {
    const quote = this.text[this.at++] as string;
    let out = "";
    for (;;) {
      const char = this.text[this.at++];
      if (char === undefined) throw this.fault("a closing quote");
      if (char === quote) return out;
      out += char === "\\" ? this.escape() : char;
    }
  }

  private escape(): string {
    const char = this.text[this.at++] ?? "";
    const digits = { x: 2, u: 4, U: 8 }[char];
    if (digits === undefined) return escapes[char] ?? (/['"\\]/.test(char) ? char : `\\${char}`);
    const code = Number.parseInt(this.text.slice(this.at, this.at + digits), 16);
    if (Number.isNaN(code) || code > 0x10ffff) throw this.fault("a character's code");
    this.at += digits;
    return String.fromCodePoint(code);
  }

  private blank(): void {
    while (/\s/.test(this.text[this.at] ?? "")) this.at++;
  }

  private take(char: string): boolean {
    if (this.text[this.at] !== char) return false;
    this.at++;
    return true;
  }
}
