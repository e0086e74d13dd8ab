/** docs/reference.md is made from the program. Bring it up to date with `npm run docs:reference`. */
import { Command } from "commander";
import type { Option } from "commander";
import { it } from "vitest";
import { commands } from "../../src/cli/commands.ts";
import { launchConfigSchema } from "../../src/cli/launch-config.ts";
import { listOptions } from "../../src/core/config.ts";
import { recipes } from "../../src/rl/recipes.ts";
import { trainConfigSchema } from "../../src/rl/train-config.ts";
import { expectPage } from "./expect-page.ts";

const cell = (text: string): string => text.replace(/\s+/g, " ").replace(/[|<>*[\]\\]/g, (char) => `\\${char}`);
const code = (text: string): string => `\`${text.replaceAll("|", "\\|")}\``;

/** Flags of a run's options: listed once, and not again with every command that takes them. */
const runFlags = new Set(listOptions(launchConfigSchema).map(({ flag }) => flag));

function describeCommand(command: Command, name: string, level: string): string {
  const lines = [`${level} rec-r1 ${name}`, "", `${cell(command.description())}.`, ""];
  const args = command.registeredArguments;
  if (args.length > 0) {
    lines.push("| argument | |", "|---|---|");
    for (const argument of args) {
      const shown = `${argument.name()}${argument.variadic ? "..." : ""}`;
      lines.push(`| ${code(argument.required ? `<${shown}>` : `[${shown}]`)} | ${cell(argument.description)} |`);
    }
    lines.push("");
  }
  const shared = command.options.filter(({ long }) => long !== undefined && runFlags.has(long));
  const isRunCommand = shared.length > 10;
  const own = command.options.filter((option) => !option.hidden && !(isRunCommand && shared.includes(option)));
  if (own.length > 0) {
    lines.push("| option | |", "|---|---|");
    for (const option of own) lines.push(`| ${code(option.flags)} | ${cell(describeOption(option))} |`);
    lines.push("");
  }
  if (isRunCommand) lines.push("And the [options of a run](#options-of-a-run).", "");
  for (const inner of command.commands) lines.push(describeCommand(inner, `${name} ${inner.name()}`, `${level}#`));
  return lines.join("\n");
}

function describeOption({ description, defaultValue }: Option): string {
  const isPlain = typeof defaultValue === "string" || typeof defaultValue === "number";
  const isTold = /default:/.test(description) || !isPlain || defaultValue === "";
  return isTold ? description : `${description} (default: ${String(defaultValue)})`;
}

function describeOptions(): string {
  const trainKeys = new Set(Object.keys(trainConfigSchema.shape));
  const rows = listOptions(launchConfigSchema).map(({ key, flag, type, choices, defaultValue, description }) => {
    const kind = choices ? choices.map(code).join(", ") : type;
    const fallback = defaultValue === undefined ? "" : code(String(defaultValue));
    return {
      isTraining: trainKeys.has(key),
      line: `| ${code(flag)} | ${code(key)} | ${kind} | ${fallback} | ${cell(description)} |`,
    };
  });
  const table = (isTraining: boolean): string =>
    [
      "| flag | key | type | default | |",
      "|---|---|---|---|---|",
      ...rows.filter((row) => row.isTraining === isTraining).map(({ line }) => line),
    ].join("\n");
  return `## Options of a run

Flags of \`rec-r1 train\`, keys of a \`--config\` file and of a task's \`config\`. A boolean has a \`--no-\` form, too. Flags go
before the config file, that before the task's own options, these before the recipe, and that before the defaults.

### Training

Arguments of \`train()\`, too.

${table(true)}

### Engine, search, trackers

${table(false)}`;
}

async function renderReference(): Promise<string> {
  const parts: string[] = [];
  for (const { name, description, load } of commands) {
    const command = new Command(name).description(description);
    (await load()).define(command);
    parts.push(describeCommand(command, name, "###"));
  }
  const named = Object.entries(recipes).map(([name, { description }]) => `| ${code(name)} | ${cell(description)} |`);
  return `# Reference

Made from the program by \`npm run docs:reference\`; a test holds it up to date.

${describeOptions()}

### Recipes

| recipe | |
|---|---|
${named.join("\n")}

\`rec-r1 recipes NAME\` prints every option as it comes out.

## Commands

Every command has \`--help\` and takes \`--debug\` (stack traces). Results go to standard output, progress to standard error;
exit code 0 is success, 1 an error, 130 stopped by Ctrl-C.

${parts.join("\n")}`;
}

it("is up to date", async () => {
  await expectPage("reference.md", await renderReference());
});
