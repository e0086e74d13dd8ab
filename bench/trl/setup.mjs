// Makes the Python environment of the peer, bench/trl/.venv, with what requirements.txt names (several GB):
//   node bench/trl/setup.mjs
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL(".", import.meta.url));
const venv = `${folder}.venv`;

function run(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: "inherit" });
  if (status === 0) return;
  process.stderr.write(`${command} ${args.join(" ")} failed${error ? `: ${error.message}` : ""}.\n`);
  process.exit(1);
}

if (!existsSync(`${venv}/bin/python`)) run(process.env.PYTHON ?? "python3", ["-m", "venv", venv]);
run(`${venv}/bin/python`, ["-m", "pip", "install", "--quiet", "-r", `${folder}requirements.txt`]);
