// A SkyRL Tinker server on this machine's loopback address, on the CPU: its Python environment, the model, the process.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const packages = ["skyrl[tinker,jax]==0.4.0", "aiohttp"];

function runOrThrow(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { stdio: "inherit", ...options });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed: ${error?.message ?? `exit code ${status}`}`);
}

/** The environment's folder; made on first use, which installs several gigabytes. */
export function prepareEnvironment(folder, python) {
  const program = join(folder, "bin/python");
  const works = (code) => spawnSync(program, ["-c", code], { stdio: "ignore" }).status === 0;
  if (existsSync(program) && works("import skyrl, aiohttp, jax")) return folder;
  mkdirSync(folder, { recursive: true });
  runOrThrow(python, ["-m", "venv", folder]);
  runOrThrow(program, ["-m", "pip", "install", "--quiet", "uv"]);
  runOrThrow(join(folder, "bin/uv"), ["pip", "install", "--quiet", ...packages], {
    env: { ...process.env, VIRTUAL_ENV: folder },
  });
  return folder;
}

/**
 * Starts the server; the same `stateDir` again finds the states that were saved.
 * @returns its address, and how to kill it as a power cut would
 */
export async function startSkyrl({ environment, model, stateDir, port, say, waitSeconds = 900 }) {
  mkdirSync(stateDir, { recursive: true });
  const log = join(stateDir, "server.log");
  const output = openSync(log, "a");
  const backend = {
    max_lora_adapters: 3,
    max_lora_rank: 16,
    train_micro_batch_size: 8,
    sample_max_num_sequences: 16,
  };
  const child = spawn(
    "uv",
    [
      ...["run", "--no-project", "--active", "-m", "skyrl.tinker.api", "--base-model", model, "--backend", "jax"],
      ...["--host", "127.0.0.1", "--port", String(port), "--checkpoints-base", join(stateDir, "checkpoints")],
      ...["--database-url", `sqlite:///${join(stateDir, "tinker.db")}`, "--backend-config", JSON.stringify(backend)],
    ],
    {
      cwd: stateDir,
      detached: true,
      stdio: ["ignore", output, output],
      env: {
        ...process.env,
        VIRTUAL_ENV: environment,
        PATH: `${join(environment, "bin")}:${process.env.PATH}`,
        JAX_PLATFORMS: "cpu",
        HF_HUB_OFFLINE: "1",
        // Compiling takes longer than computing: what one start compiled, the next one finds.
        JAX_COMPILATION_CACHE_DIR: join(environment, "jax-cache"),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS: "1",
      },
    },
  );
  let hasEnded = false;
  child.once("exit", () => (hasEnded = true));
  const url = `http://127.0.0.1:${port}`;
  const start = performance.now();
  for (;;) {
    if (hasEnded) throw new Error(`The SkyRL server ended: ${readFileSync(log, "utf8").slice(-2000)}`);
    const answer = await fetch(`${url}/api/v1/healthz`).catch(() => undefined);
    if (answer?.ok) break;
    if (performance.now() - start > waitSeconds * 1000)
      throw new Error(`No SkyRL server after ${waitSeconds} s (${log}).`);
    await sleep(1000);
  }
  say(`SkyRL answers at ${url} after ${((performance.now() - start) / 1000).toFixed(0)} s`);
  return {
    url,
    log,
    /** Ends the server and its engine process at once. */
    async kill() {
      if (hasEnded) return;
      process.kill(-child.pid, "SIGKILL");
      while (!hasEnded) await sleep(50);
    },
  };
}
