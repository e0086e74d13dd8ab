// npm run test:tinker-python: the official Tinker client (Python, from PyPI) against `rec-r1 engine serve` on a tiny random
// model. The environment is made in .tinker-python/ on the first run. Options: --python NAME (python3).
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeRandomModel } from "./random-model.mjs";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const args = process.argv.slice(2);
const python = args.includes("--python") ? args[args.indexOf("--python") + 1] : "python3";
const environment = join(root, ".tinker-python");
const program = join(environment, "bin/python");

function runOrExit(command, given) {
  const { status } = spawnSync(command, given, { stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) process.exit(status ?? 1);
}

if (!existsSync(program)) runOrExit(python, ["-m", "venv", environment]);
if (spawnSync(program, ["-c", "import tinker"], { stdio: "ignore" }).status !== 0) {
  runOrExit(program, ["-m", "pip", "install", "--quiet", "tinker>=0.25"]);
}

const scratch = mkdtempSync(join(tmpdir(), "rec-r1-tinker-python-"));
const model = join(scratch, "tiny");
await writeRandomModel(model);
const serve = ["engine", "serve", "--model", model, "--port", "0", "--dir", join(scratch, "states"), "--threads", "1"];
const server = spawn(process.execPath, [join(root, "dist/cli/main.js"), ...serve], {
  stdio: ["ignore", "pipe", "inherit"],
});
let status = 1;
try {
  const url = await new Promise((resolve, reject) => {
    let text = "";
    server.stdout.on("data", (chunk) => {
      text += chunk;
      const [found] = /http:\/\/127\.0\.0\.1:\d+/.exec(text) ?? [];
      if (found) resolve(found);
    });
    server.once("exit", (code) => reject(new Error(`rec-r1 engine serve ended with exit code ${code}`)));
  });
  const check = join(root, "scripts/tinker-python/check.py");
  const run = spawn(program, [check, url, "tiny"], {
    stdio: "inherit",
    env: { ...process.env, TINKER_TELEMETRY: "0" },
  });
  status = await new Promise((resolve) => run.once("close", (code) => resolve(code ?? 1)));
} finally {
  server.kill("SIGINT");
  await new Promise((resolve) => (server.exitCode === null ? server.once("close", resolve) : resolve()));
  rmSync(scratch, { recursive: true, force: true });
}
process.stdout.write(status === 0 ? "1 passed, 0 failed\n" : "0 passed, 1 failed\n");
process.exit(status);
