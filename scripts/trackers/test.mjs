// npm run test:trackers: what a run writes for TensorBoard and MLflow, read by their own Python packages, and Weights &
// Biases' offline mode fed by the script of docs/trackers.md. The environment is made in .trackers/ on the first run
// (about 1 GB). Options: --python NAME (python3).
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeRandomModel } from "../tinker-python/random-model.mjs";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const args = process.argv.slice(2);
const python = args.includes("--python") ? args[args.indexOf("--python") + 1] : "python3";
const environment = join(root, ".trackers");
const program = join(environment, "bin/python");
const results = [];

function runOrExit(command, given) {
  const { status } = spawnSync(command, given, { stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) process.exit(status ?? 1);
}

function check(name, command, given, options = {}) {
  const { status } = spawnSync(command, given, { stdio: ["ignore", "inherit", "inherit"], ...options });
  results.push(status === 0);
  process.stdout.write(`${status === 0 ? "ok" : "FAILED"}: ${name}\n`);
}

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

if (!existsSync(program)) runOrExit(python, ["-m", "venv", environment]);
if (spawnSync(program, ["-c", "import tensorboard, mlflow, wandb"], { stdio: "ignore" }).status !== 0) {
  runOrExit(program, ["-m", "pip", "install", "--quiet", "tensorboard", "mlflow", "wandb"]);
}

const scratch = mkdtempSync(join(tmpdir(), "rec-r1-trackers-"));
const port = await freePort();
const url = `http://127.0.0.1:${port}`;
mkdirSync(join(scratch, "mlflow"));
const store = `sqlite:///${join(scratch, "mlflow/mlflow.db")}`;
const server = spawn(
  program,
  ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", String(port), "--workers", "1"].concat([
    "--backend-store-uri",
    store,
    "--default-artifact-root",
    join(scratch, "mlflow/artifacts"),
  ]),
  { stdio: ["ignore", "ignore", "ignore"], cwd: scratch, detached: true },
);

try {
  for (let attempt = 0; ; attempt++) {
    const health = await fetch(`${url}/health`).catch(() => undefined);
    if (health?.ok) break;
    if (attempt > 120) throw new Error("MLflow did not start within two minutes");
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  const lines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const letters = [..."abcdefgh"];
  writeFileSync(join(scratch, "catalogue.jsonl"), lines(letters.map((letter) => ({ id: letter, title: letter }))));
  writeFileSync(
    join(scratch, "examples.jsonl"),
    lines(letters.map((letter) => ({ query: letter, relevant: [letter] }))),
  );
  writeFileSync(
    join(scratch, "task.ts"),
    `import { defineTask, ndcg } from "rec-r1";
import { LanceDbRecommender } from "rec-r1/recommenders/lancedb";
export const recommender = () => LanceDbRecommender.fromJsonl("catalogue.jsonl", { text: ["title"] });
export default defineTask({
  name: "letters",
  data: { train: "examples.jsonl", valid: "examples.jsonl" },
  prompt: ({ query }) => query,
  reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : 0),
});
`,
  );
  await writeRandomModel(join(scratch, "tiny"));
  const options = [
    "--model",
    "tiny",
    "--threads",
    "1",
    "--no-doctor",
    "--max-tokens",
    "4",
    "--prompts-per-step",
    "4",
    "--eval-every",
    "2",
  ];
  const train = ["train", "task.ts", "--run", "runs/tracked", "--steps", "4", "--checkpoint-every", "1", ...options];
  const main = join(root, "dist/cli/main.js");
  check("train", process.execPath, [main, ...train, "--tensorboard", "--mlflow", url], { cwd: scratch });
  const resume = ["train", "task.ts", "--run", "runs/tracked", "--resume", "--steps", "6"];
  check("resume, told the same", process.execPath, [main, ...resume], { cwd: scratch });
  const script = join(root, "scripts/trackers");
  check("TensorBoard reads the event files", program, [join(script, "check_tensorboard.py"), "runs/tracked"], {
    cwd: scratch,
  });
  check("MLflow has the run", program, [join(script, "check_mlflow.py"), "runs/tracked", url], { cwd: scratch });
  const page = readFileSync(join(root, "docs/trackers.md"), "utf8");
  writeFileSync(join(scratch, "to_wandb.py"), /```python\n([^]*?)```/.exec(page)?.[1] ?? "raise SystemExit(1)");
  check("Weights & Biases takes the run offline", program, ["to_wandb.py", "runs/tracked"], {
    cwd: scratch,
    env: { ...process.env, WANDB_MODE: "offline", WANDB_SILENT: "true" },
  });
  results.push(existsSync(join(scratch, "wandb/latest-run")));
} finally {
  try {
    process.kill(-server.pid, "SIGKILL");
  } catch {
    // It never started.
  }
  rmSync(scratch, { recursive: true, force: true });
}
const passed = results.filter(Boolean).length;
process.stdout.write(`${passed} passed, ${results.length - passed} failed\n`);
process.exit(passed === results.length ? 0 : 1);
