/** One flag moves training to a server: the same task file, the key nowhere on disk, gone on with after the server died. */
import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { LocalEngine } from "../../src/engines/local/index.ts";
import { loadModel } from "../../src/models/load.ts";
import { readMetrics } from "../../src/runs/run-folder.ts";
import { listenTinker, type TinkerServer } from "../../src/server/tinker/listen.ts";
import { runProcess, writeProject, type CliResult } from "./project.ts";

vi.setConfig({ testTimeout: 300_000 });

const key = "tml-key-that-nobody-may-see";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-remote-"));
  await writeProject(folder);
  process.env.TINKER_API_KEY = key;
});
afterAll(async () => {
  delete process.env.TINKER_API_KEY;
  await rm(folder, { recursive: true, force: true });
});

async function serve(states: string, port = 0, apiKey = key): Promise<TinkerServer> {
  const model = await loadModel(join(folder, "model"));
  const server = await listenTinker({
    modelName: model.name,
    contextLength: model.config.contextLength,
    openPolicy: async ({ loraRank, seed }) => new LocalEngine(model, { loraRank, seed, threads: 1 }),
    dir: join(folder, states),
    port,
    apiKey,
  });
  onTestFinished(() => server.close());
  return server;
}

const train = (url: string, run: string, ...more: string[]): Promise<CliResult> =>
  runProcess(folder, [
    ...["train", "task.ts", "--data", folder, "--model", join(folder, "model"), "--run", run],
    ...["--engine", url, "--lora-rank", "4", ...more],
  ]);

/** Every byte of every file below. */
async function contents(dir: string): Promise<string> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return (await Promise.all(files.map((file) => readFile(file, "latin1")))).join("\n");
}

const expectNoKeyIn = (text: string): void => expect(text).not.toContain(key);

describe("rec-r1 train --engine URL", () => {
  it("trains as it does here, and keeps the key out of everything", async () => {
    const { url } = await serve("states-a");
    const options = ["--steps", "3", "--eval-every", "0"];
    const there = await train(url, "there", ...options, "--overlap-steps", "1");
    expect(there.code, there.stderr).toBe(0);
    const here = await train("local", "here", ...options, "--threads", "1");
    expect(here.code, here.stderr).toBe(0);
    const reward = async (run: string): Promise<number | undefined> => {
      const [first] = await readMetrics(join(folder, run));
      return first?.kind === "step" ? first.values.reward : undefined;
    };
    expect(await reward("there")).toBe(await reward("here"));
    const manifest = await readFile(join(folder, "there/config.json"), "utf8");
    expect(manifest).toContain(url);
    expectNoKeyIn((await contents(folder)) + there.stdout + there.stderr);

    const evaluated = await runProcess(folder, [
      "eval",
      "there",
      "--split",
      "test",
      "--limit",
      "4",
      "--checkpoint",
      "last",
    ]);
    expect(evaluated.code, evaluated.stderr).toBe(0);
    expect(evaluated.stdout).toMatch(/tuned, step 3/);
  });

  it("says what to do when the key is wrong, the server away or its model another", async () => {
    const { url } = await serve("states-b", 0, "another key");
    const wrong = await train(url, "wrong", "--steps", "1");
    expect(wrong.code).not.toBe(0);
    expect(wrong.stderr).toMatch(/refused the key \(401\); check the environment variable TINKER_API_KEY/);
    expectNoKeyIn(wrong.stdout + wrong.stderr);
    expectNoKeyIn(await contents(folder));
    const misplaced = await train(url, "misplaced", "--steps", "1", "--api-key-env", key);
    expect(misplaced.stderr).toMatch(/KEY_NAME/);
    expectNoKeyIn(misplaced.stdout + misplaced.stderr);
    const full = await train(url, "full", "--steps", "1", "--full");
    expect(full.stderr).toMatch(/full: an engine on a server trains an adapter/);
    const secret = await train("http://user:hunter2@127.0.0.1:9", "secret", "--steps", "1");
    expect(secret.code).not.toBe(0);
    expect(secret.stderr).not.toContain("hunter2");
  });

  it("goes on from the last saved state after the server died in the middle of a step", async () => {
    const first = await serve("states-c");
    const { port } = new URL(first.url);
    const options = ["--steps", "60", "--eval-every", "0", "--checkpoint-every", "2"];
    const running = train(first.url, "killed", ...options);
    const stepsDone = async (): Promise<number> =>
      (await readMetrics(join(folder, "killed")).catch(() => [])).filter(({ kind }) => kind === "step").length;
    while ((await stepsDone()) < 5) await new Promise((resolve) => setTimeout(resolve, 50));
    await first.close();
    const stopped = await running;
    expect(stopped.code).not.toBe(0);
    expect(stopped.stderr).toMatch(/Go on with: rec-r1 train task\.ts --run killed --resume/);
    expectNoKeyIn((await contents(join(folder, "killed"))) + stopped.stdout + stopped.stderr);
    const done = await stepsDone();
    expect(done).toBeLessThan(60);

    await serve("states-c", Number(port));
    const resumed = await runProcess(folder, [
      "train",
      "task.ts",
      "--run",
      "killed",
      "--resume",
      "--steps",
      String(done + 3),
    ]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(await stepsDone()).toBe(done + 3);
  });
});

describe("a failure that no other try helps", () => {
  it("stops the run, which is saved up to its last whole step, and goes on later", async () => {
    let steps = 0;
    const model = await loadModel(join(folder, "model"));
    const failing = (engine: LocalEngine): LocalEngine => {
      const forwardBackward = engine.forwardBackward.bind(engine);
      engine.forwardBackward = async (...given) => {
        if (++steps === 4) throw new Error("out of memory");
        return forwardBackward(...given);
      };
      return engine;
    };
    const server = await listenTinker({
      modelName: model.name,
      contextLength: model.config.contextLength,
      openPolicy: async ({ loraRank, seed }) => failing(new LocalEngine(model, { loraRank, seed, threads: 1 })),
      dir: join(folder, "states-d"),
      port: 0,
    });
    onTestFinished(() => server.close());
    const options = ["--steps", "6", "--eval-every", "0", "--checkpoint-every", "100"];
    const stopped = await train(server.url, "saved", ...options);
    expect(stopped.code).not.toBe(0);
    expect(stopped.stderr).toMatch(/TINKER_FUTURE_FAILED/);
    expect(stopped.stderr).toMatch(/out of memory/);
    const more = ["--resume", "--checkpoint-every", "1"];
    const resumed = await runProcess(folder, ["train", "task.ts", "--run", "saved", ...more]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(resumed.stdout + resumed.stderr).toMatch(/resumed after step 3/);
    // Of the four states that were saved, the server holds those of the checkpoints that were kept.
    const states = await readdir(join(folder, "states-d/weights"), { recursive: true, withFileTypes: true });
    const checkpoints = await readdir(join(folder, "saved/checkpoints"));
    expect(checkpoints).toHaveLength(2);
    expect(states.filter((entry) => entry.isDirectory() && entry.name.startsWith("rec-r1-"))).toHaveLength(2);
  });
});

describe("rec-r1 engine serve", () => {
  it("serves a model until it is stopped, and leaves the port", async () => {
    const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
    const jiti = join(dirname(createRequire(import.meta.url).resolve("jiti/package.json")), "lib/jiti-register.mjs");
    const args = ["engine", "serve", "--model", join(folder, "model"), "--port", "0", "--threads", "1"];
    const child = spawn(
      process.execPath,
      ["--import", pathToFileURL(jiti).href, join(root, "src/cli/main.ts"), ...args],
      { cwd: folder, stdio: ["ignore", "pipe", "inherit"] },
    );
    const url = await new Promise<string>((resolve) => {
      let text = "";
      child.stdout.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        const [found] = /http:\/\/127\.0\.0\.1:\d+/.exec(text) ?? [];
        if (found) resolve(found);
      });
    });
    const answer = await fetch(`${url}/api/v1/get_server_capabilities`);
    expect(await answer.json()).toEqual({ supported_models: [{ model_name: "model", max_context_length: 128 }] });
    child.kill("SIGINT");
    expect(await new Promise((resolve) => child.once("close", resolve))).toBe(0);
    await expect(fetch(url)).rejects.toThrow();
  });
});
