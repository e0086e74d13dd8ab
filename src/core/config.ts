/**
 * One zod object schema is the single source of an option's name, type, default, help text, command-line flag and key
 * in a config file. Layers of settings are merged in order and checked together.
 */
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { suggestion } from "./suggest.ts";

/** A flat object schema; every field has a description and a default or is optional. */
export type ConfigSchema = z.ZodObject<z.ZodRawShape>;

/** What help, flags and documentation need to know of one option. */
export interface ConfigOption {
  /** Key in config files and in code, `camelCase`. */
  key: string;
  /** Command-line flag without its argument, `--kebab-case`. */
  flag: string;
  type: "integer" | "number" | "boolean" | "string";
  /** Where only some strings are allowed. */
  choices?: readonly string[];
  defaultValue?: unknown;
  description: string;
}

/** Where a value came from, named in errors: `flag`, a file's path, `recipe small` … */
export interface ConfigLayer {
  source: string;
  values: Readonly<Record<string, unknown>>;
}

/** `groupSize` as a flag: `--group-size`. */
export function flagOf(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

interface JsonSchemaProperty {
  type?: string;
  enum?: string[];
  default?: unknown;
  description?: string;
}

/** Lists the options of `schema`, in its order. */
export function listOptions(schema: ConfigSchema): ConfigOption[] {
  const properties = (z.toJSONSchema(schema, { io: "input" }).properties ?? {}) as Record<string, JsonSchemaProperty>;
  return Object.entries(properties).map(([key, property]) => ({
    key,
    flag: flagOf(key),
    type: optionType(property.type),
    ...(property.enum ? { choices: property.enum } : {}),
    ...(property.default === undefined ? {} : { defaultValue: property.default }),
    description: property.description ?? "",
  }));
}

function optionType(type: string | undefined): ConfigOption["type"] {
  return type === "integer" || type === "number" || type === "boolean" ? type : "string";
}

/**
 * The value of a flag as its option's type; text that doesn't fit is returned as it is, for the schema to refuse with
 * the option's own bounds in the message.
 */
export function parseFlagValue(option: ConfigOption, text: string): unknown {
  if (option.type === "boolean") return text === "true" ? true : text === "false" ? false : text;
  if (option.type === "string") return text;
  const number = Number(text);
  return text.trim() === "" || Number.isNaN(number) ? text : number;
}

/** A name as its source spells it: flags for the command line, keys elsewhere. */
function spelled(key: string, source: string): string {
  return source === "flag" ? flagOf(key) : `"${key}"`;
}

/**
 * Merges layers, later ones win, fills in defaults and checks every value.
 * @throws ConfigError `UNKNOWN_OPTION` (with the nearest name) or `BAD_OPTION`, naming the layer
 */
export function resolveConfig<S extends ConfigSchema>(schema: S, layers: readonly ConfigLayer[]): z.output<S> {
  const known = Object.keys(schema.shape);
  const merged: Record<string, unknown> = {};
  const sources: Record<string, string> = {};
  for (const { source, values } of layers) {
    for (const [key, value] of Object.entries(values)) {
      if (!known.includes(key)) throw unknownOption(key, source, known);
      if (value === undefined) continue;
      merged[key] = value;
      sources[key] = source;
    }
  }
  const result = schema.safeParse(merged);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => {
    const key = String(issue.path[0] ?? "");
    const source = sources[key] ?? "default";
    const got = JSON.stringify(merged[key]) ?? String(merged[key]);
    return `${spelled(key, source)} (from ${source}): ${issue.message}, got ${got.slice(0, 100)}`;
  });
  throw new ConfigError("BAD_OPTION", `${problems.join("; ")}.`, { details: { options: Object.keys(merged) } });
}

/** The error for a key that no option has. */
export function unknownOption(key: string, source: string, known: readonly string[]): ConfigError {
  const names = source === "flag" ? known.map(flagOf) : known;
  const got = source === "flag" ? flagOf(key) : key;
  const what = source === "flag" ? "flag" : `key in ${source}`;
  return new ConfigError("UNKNOWN_OPTION", `Unknown ${what}: "${got}".${suggestion(got, names)}`, {
    details: { key, source },
  });
}
