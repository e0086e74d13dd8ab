/** `rec-r1 dashboard`: runs in a browser, while they train and afterwards. */
import { Option } from "commander";
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { ConfigError } from "../core/errors.ts";
import { Closing } from "./closing.ts";
import { parseCount } from "./options.ts";
import { Reporter } from "./progress.ts";

interface DashboardFlags {
  host: string;
  port: string;
  tokenEnv: string;
  allowHost: string[];
  images: string[];
  threads?: string;
  task?: string;
  data?: string;
}

export function define(command: Command): void {
  command
    .argument("[runs]", "folder of runs, or one run", "runs")
    .option("--port <number>", "0: any free one", "8320")
    .option("--host <address>", "address to listen on; any but this machine's own asks for a token", "127.0.0.1")
    .option("--token-env <name>", "environment variable with the token; default: a new one", "REC_R1_DASHBOARD_TOKEN")
    .option("--allow-host <names...>", "names by which browsers may ask, such as that of a proxy", [])
    .option("--images <origins...>", "where pictures of items may come from, such as https://images.shop.example", [])
    .addOption(new Option("--threads <number>", "CPU threads for trying a policy (default: 1, training has the rest)"))
    .option("--task <file>", "task file, if it has moved since the runs")
    .option("--data <folder>", "folder of the data, if it has moved since the runs")
    .addHelpText(
      "after",
      `
Shows curves of runs in progress and of others, their rollouts, queries before and after, and lets you try a policy.
Reads run folders and never writes to them; stop it with Ctrl-C.

  rec-r1 dashboard                     runs in ./runs, at http://127.0.0.1:8320
  rec-r1 dashboard runs/first          one run
  ssh -L 8320:127.0.0.1:8320 HOST      from another machine, without opening the port to others`,
    )
    .action(runDashboard);
}

async function runDashboard(runs: string, flags: DashboardFlags): Promise<void> {
  const port = parsePort(flags.port);
  const imageHosts = flags.images.map(parseOrigin);
  const threads = flags.threads === undefined ? 1 : Math.max(1, parseCount(flags.threads, "--threads"));
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const closing = new Closing();
  try {
    const [{ startDashboard }, { RunPlayground }] = await Promise.all([
      import("../server/dashboard/dashboard.ts"),
      import("./run-playground.ts"),
    ]);
    const token = process.env[flags.tokenEnv];
    const { task, data } = flags;
    const places = { ...(task === undefined ? {} : { task }), ...(data === undefined ? {} : { data }) };
    const dashboard = closing.add(
      await startDashboard({
        runs,
        host: flags.host,
        port,
        allowedHosts: flags.allowHost,
        imageHosts,
        ...(token ? { token } : {}),
        openPlayground: ({ dir }, signal) => RunPlayground.open(dir, { ...places, reporter, signal, threads }),
        onFault: (error) => reporter.line(`error: ${error instanceof Error ? error.message : String(error)}`),
      }),
    );
    process.stdout.write(`Runs of ${runs}: ${dashboard.url}\n`);
    await new Promise<void>((done) => {
      if (interrupt.signal.aborted) done();
      interrupt.signal.addEventListener("abort", () => done(), { once: true });
    });
  } finally {
    reporter.clear();
    await closing.close();
    interrupt.dispose();
  }
}

function parsePort(text: string): number {
  const port = parseCount(text, "--port");
  if (port <= 65_535) return port;
  throw new ConfigError("BAD_OPTION", `--port is ${text}; expected a whole number up to 65535.`);
}

/** An origin for the content security policy, in which nothing else may be smuggled. */
function parseOrigin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "https:" && text.replace(/\/$/, "") === url.origin) return url.origin;
  throw new ConfigError(
    "BAD_OPTION",
    `--images: "${text}" is no origin; expected one like https://images.shop.example.`,
  );
}
