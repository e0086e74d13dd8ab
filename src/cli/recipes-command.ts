/** `rec-r1 recipes`: named sets of options, with their sources. */
import type { Command } from "commander";
import { ConfigError } from "../core/errors.ts";
import { suggestion } from "../core/suggest.ts";
import { recipes } from "../rl/recipes.ts";
import { launchConfigSchema, resolveLaunchConfig } from "./launch-config.ts";
import { listOptions } from "../core/config.ts";

export function define(command: Command): void {
  command
    .argument("[name]", "only this recipe, with every option as it comes out")
    .option("--json", "print the result as one JSON object on the last line")
    .action(printRecipes);
}

function printRecipes(name: string | undefined, { json }: { json?: boolean }): void {
  if (name !== undefined && !Object.hasOwn(recipes, name)) {
    throw new ConfigError("UNKNOWN_RECIPE", `Unknown recipe "${name}".${suggestion(name, Object.keys(recipes))}`);
  }
  const shown = Object.entries(recipes)
    .filter(([key]) => name === undefined || key === name)
    .map(([key, recipe]) => ({ name: key, ...recipe, ...(name === undefined ? {} : { options: resolved(key) }) }));
  if (json) {
    process.stdout.write(`${JSON.stringify(name === undefined ? { recipes: shown } : shown[0])}\n`);
    return;
  }
  for (const { name: key, description, source, values, engine, options } of shown) {
    const given = Object.entries({ ...values, ...engine }).map(([option, value]) => `${option} ${String(value)}`);
    process.stdout.write(
      `${key}: ${description}\n  source   ${source}\n  options  ${given.join(", ") || "defaults"}\n`,
    );
    if (options) {
      const flags = new Map(listOptions(launchConfigSchema).map((option) => [option.key, option.flag]));
      for (const [option, value] of Object.entries(options)) {
        process.stdout.write(`  ${(flags.get(option) ?? option).padEnd(24)} ${String(value)}\n`);
      }
    }
  }
}

/** Every option that a run with this recipe would have. */
function resolved(recipe: string): Record<string, unknown> {
  const { train, engine } = resolveLaunchConfig([{ source: "flag", values: { recipe } }]);
  return { ...train, ...engine };
}
