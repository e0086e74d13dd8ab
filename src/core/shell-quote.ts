/** An argument as a POSIX shell takes it, in quotes where it needs them: for commands that people are told to run. */
export function quoteForShell(argument: string): string {
  return /^[\w./:@%+=,-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
}
