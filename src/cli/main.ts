#!/usr/bin/env node
/** The command `rec-r1`. */
import { runCli } from "./run-cli.ts";

// Whoever read the output has gone (`| head`, a closed terminal): no reason for work that takes hours to end.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE" && error.code !== "EIO") throw error;
  });
}

process.exitCode = await runCli(process.argv.slice(2));
