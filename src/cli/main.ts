#!/usr/bin/env node
/** The command `rec-r1`. */
import { runCli } from "./run-cli.ts";

process.exitCode = await runCli(process.argv.slice(2));
