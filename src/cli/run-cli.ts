/**
 * The command line as a function. Only the module of the command that was asked for is loaded, so that help and errors
 * come at once and no native library is loaded for them.
 */
import { Command } from "commander";
import { packageVersion } from "../core/version.ts";
import { commands } from "./commands.ts";
import { exitCodeOf, explainError } from "./failure.ts";
import { printable } from "./progress.ts";

/** Runs a command line. @param args without the program's name @returns the process's exit code */
export async function runCli(args: readonly string[]): Promise<number> {
  const program = new Command("rec-r1")
    .description("Teach a language model to query your search engine or recommender, with its metric as the reward.")
    .version(packageVersion())
    .option("--debug", "print stack traces (also: REC_R1_DEBUG=1)")
    .configureHelp({ showGlobalOptions: true })
    .exitOverride();
  const isDebug = (): boolean =>
    program.opts<{ debug?: boolean }>().debug === true || Boolean(process.env.REC_R1_DEBUG);
  const asked = args.find((argument) => !argument.startsWith("-"));
  for (const { name, description, load } of commands) {
    const command = program.command(name).description(description);
    if (name === asked || (asked === "help" && args.includes(name))) (await load()).define(command);
  }
  try {
    await program.parseAsync([...args], { from: "user" });
    return typeof process.exitCode === "number" ? process.exitCode : 0;
  } catch (error) {
    const text = explainError(error, isDebug() || args.includes("--debug"));
    // Errors quote data files, replies of servers and what a model wrote.
    if (text !== undefined) process.stderr.write(`${printable(text)}\n`);
    return exitCodeOf(error);
  }
}
