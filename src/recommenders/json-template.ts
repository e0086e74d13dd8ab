/**
 * Requests with blanks. A template is JSON; `"{{name}}"` in one of its texts stands for a value, which is put in after
 * the JSON was read. So a value stays a value whatever it holds: it can't close a bracket, add a key or fill another
 * blank.
 */
import { ConfigError } from "../core/errors.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Where a blank is: keys and indices from the top. */
export type JsonPlace = readonly (string | number)[];

const blank = /\{\{\s*([A-Za-z]\w*)\s*\}\}/g;

/** Text that JSON and UTF-8 can carry: unpaired surrogates become U+FFFD. */
export function toWellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}

export class JsonTemplate {
  readonly #template: Json;
  readonly #places = new Map<string, JsonPlace[]>();

  /**
   * @param what Names the template in messages, such as `http: body`.
   * @param blanks Blanks that there may be.
   * @throws ConfigError `CONFIG_BAD_TEMPLATE` for a value that isn't JSON, a blank in a key, or an unknown blank
   */
  constructor(what: string, template: unknown, blanks: readonly string[]) {
    this.#template = this.#check(what, template, blanks, []);
  }

  /** Where the blank `name` is; empty: nowhere. */
  placesOf(name: string): readonly JsonPlace[] {
    return this.#places.get(name) ?? [];
  }

  /** The template as it was given. */
  get source(): Json {
    return this.#template;
  }

  /**
   * The JSON with its blanks filled. A text that is nothing but a blank becomes the value itself, with its type; in
   * longer texts the value's text is inserted.
   */
  fill(values: Readonly<Record<string, Json>>): Json {
    const fillIn = (value: Json): Json => {
      if (typeof value === "string") return fillText(value, values);
      if (Array.isArray(value)) return (value as readonly Json[]).map(fillIn);
      if (typeof value !== "object" || value === null) return value;
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fillIn(item)]));
    };
    return fillIn(this.#template);
  }

  #check(what: string, value: unknown, blanks: readonly string[], place: JsonPlace): Json {
    const bad = (fault: string): ConfigError => {
      const where = place.length === 0 ? "" : ` at ${place.join(".")}`;
      return new ConfigError("CONFIG_BAD_TEMPLATE", `${what}${where}: ${fault}`);
    };
    if (value === null || typeof value === "boolean" || Number.isFinite(value)) return value as Json;
    if (typeof value === "string") {
      for (const [, name] of value.matchAll(blank)) {
        if (!blanks.includes(name as string)) {
          const known = blanks.map((one) => `{{${one}}}`).join(", ");
          throw bad(`there is no blank {{${name}}}; there may be ${known || "none here"}.`);
        }
        this.#places.set(name as string, [...this.placesOf(name as string), place]);
      }
      return value;
    }
    if (Array.isArray(value)) return value.map((item, i) => this.#check(what, item, blanks, [...place, i]));
    if (typeof value !== "object" || (Object.getPrototypeOf(value) as unknown) !== Object.prototype) {
      throw bad(`${String(value)} is no JSON value.`);
    }
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => {
        if (/\{\{/.test(key)) throw bad(`the key "${key}" has a blank; only values may have one.`);
        return [key, this.#check(what, item, blanks, [...place, key])];
      }),
    );
  }
}

function fillText(text: string, values: Readonly<Record<string, Json>>): Json {
  const [whole] = text.matchAll(blank);
  if (whole && whole[0] === text) return values[whole[1] as string] ?? "";
  return text.replace(blank, (_, name: string) => {
    const value = values[name] ?? "";
    return typeof value === "string" ? value : JSON.stringify(value);
  });
}

/** The blanks of a text that is no JSON, such as a URL. */
export function blanksOf(text: string): string[] {
  return [...text.matchAll(blank)].map(([, name]) => name as string);
}

/** A text with its blanks filled by `valueOf`. */
export function fillBlanks(text: string, valueOf: (name: string) => string): string {
  return text.replace(blank, (_, name: string) => valueOf(name));
}
