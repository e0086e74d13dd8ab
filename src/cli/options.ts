/** Options of a schema as flags of a command, and the values that were given back as a layer of settings. */
import { readFile } from "node:fs/promises";
import { Option } from "commander";
import type { Command } from "commander";
import { describeFileError } from "../core/atomic-write.ts";
import { listOptions, parseFlagValue } from "../core/config.ts";
import type { ConfigLayer, ConfigOption, ConfigSchema } from "../core/config.ts";
import { ConfigError } from "../core/errors.ts";

/** Adds a flag for every option of `schema`; booleans get `--flag` and `--no-flag`. */
export function addSchemaOptions(command: Command, schema: ConfigSchema): void {
  for (const option of listOptions(schema)) {
    const description = describe(option);
    if (option.type === "boolean") {
      command.addOption(new Option(option.flag, description));
      command.addOption(new Option(offFlagOf(option), `not ${option.flag}`).hideHelp());
    } else {
      const argument = option.type === "string" ? (option.choices ? "<name>" : "<text>") : "<number>";
      command.addOption(new Option(`${option.flag} ${argument}`, description));
    }
  }
}

const offFlagOf = ({ flag }: ConfigOption): string => flag.replace("--", "--no-");

function describe(option: ConfigOption): string {
  const { description, defaultValue, choices } = option;
  const notes = [
    ...(choices ? [choices.join(" | ")] : []),
    ...(defaultValue === undefined ? [] : [`default: ${String(defaultValue)}`]),
    ...(defaultValue === true ? [`off: ${offFlagOf(option)}`] : []),
  ];
  return notes.length > 0 ? `${description} (${notes.join("; ")})` : description;
}

/** The flags of `schema` that were given on the command line. */
export function flagLayer(command: Command, schema: ConfigSchema): ConfigLayer {
  const values: Record<string, unknown> = {};
  for (const option of listOptions(schema)) {
    if (command.getOptionValueSource(option.key) !== "cli") continue;
    const given = command.getOptionValue(option.key) as unknown;
    values[option.key] = typeof given === "string" ? parseFlagValue(option, given) : given;
  }
  return { source: "flag", values };
}

/**
 * Settings of a JSON file.
 * @throws ConfigError `BAD_CONFIG_FILE`; RecR1Error `NOT_FOUND` …
 */
export async function fileLayer(path: string): Promise<ConfigLayer> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw describeFileError(error, "read the config file", path);
  }
  const bad = (what: string, cause?: unknown): ConfigError =>
    new ConfigError("BAD_CONFIG_FILE", `${path}: ${what}; expected one JSON object such as {"groupSize": 8}.`, {
      cause,
      details: { path },
    });
  let values: unknown;
  try {
    values = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw bad(`not JSON (${(error as Error).message})`, error);
  }
  if (typeof values !== "object" || values === null || Array.isArray(values)) throw bad("not an object");
  return { source: path, values: values as Record<string, unknown> };
}

/** A whole number from a flag, 0 or more. @throws ConfigError `BAD_OPTION` */
export function parseCount(text: string, flag: string): number {
  const count = Number(text);
  if (text.trim() !== "" && Number.isSafeInteger(count) && count >= 0) return count;
  throw new ConfigError("BAD_OPTION", `${flag}: expected a whole number, 0 or more, got "${text}".`);
}

/** How fast attention falls with the position, from a flag. @throws ConfigError `BAD_OPTION` */
export function parseEta(text: string): number | "auto" {
  if (text === "auto") return text;
  const eta = Number(text);
  if (text.trim() !== "" && eta >= 0 && eta <= 4) return eta;
  throw new ConfigError("BAD_OPTION", `--eta: expected auto or a number from 0 to 4, got "${text}".`);
}
