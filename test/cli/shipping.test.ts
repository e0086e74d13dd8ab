/** `rec-r1 serve`, `export` and `distill` on a real run: a tiny model, the embedded search engine, a validation split. */
import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel } from "../../src/models/load.ts";
import { wordLetters } from "../support/tiny-model-folder.ts";
import { writeProject } from "./project.ts";
import { lastJson, runInProcess } from "./run-in-process.ts";

let folder: string;
let run: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-serve-"));
  run = join(folder, "run");
  await writeProject(folder);
  // Twice the letters, so that there are enough examples for a gate.
  const examples = wordLetters.flatMap((letter) => [
    { query: `${letter}${letter}`, relevant: [letter] },
    { query: letter, relevant: [letter] },
  ]);
  await writeFile(join(folder, "examples.jsonl"), examples.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const train = ["train", join(folder, "task.ts"), "--data", folder, "--model", join(folder, "model"), "--run", run];
  const kept = ["--cache-dir", join(folder, "answers")];
  const trained = await runInProcess(...train, "--steps", "2", "--threads", "1", ...kept);
  expect(trained.code, trained.stderr).toBe(0);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Starts the program in a process of its own. @returns its address, and how to stop it */
async function serve(
  ...args: string[]
): Promise<{ url: string; stop: () => Promise<number | null>; output: () => string }> {
  const require = createRequire(import.meta.url);
  const jiti = join(dirname(require.resolve("jiti/package.json")), "lib/jiti-register.mjs");
  const main = new URL("../../src/cli/main.ts", import.meta.url).pathname;
  const command = ["--import", pathToFileURL(jiti).href, main, "serve", run, "--port", "0", ...args];
  const child = spawn(process.execPath, command, { cwd: folder });
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      const [, address] = /is served at (\S+)/.exec(output) ?? [];
      if (address !== undefined) resolve(address);
    });
    child.once("close", () => reject(new Error(output)));
  });
  const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
  return {
    url,
    output: () => output,
    stop: async () => {
      child.kill("SIGTERM");
      return closed;
    },
  };
}

const post = async (url: string, body: unknown): Promise<Record<string, unknown>> => {
  const reply = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return (await reply.json()) as Record<string, unknown>;
};

describe("rec-r1 serve", () => {
  it("calibrates the gate once, serves the run, and ends with what was begun", async () => {
    const calibrated = await runInProcess("serve", run, "--calibrate-only", "--checkpoint", "last");
    expect(calibrated.code, calibrated.stderr).toBe(0);
    expect(calibrated.stdout).toMatch(/always rewritten +\d\.\d{4} .*%.*\n +with the gate/);
    const kept = await readFile(join(run, "serve/gate.json"), "utf8");
    const answers = await readdir(join(folder, "answers"));
    expect(answers).toHaveLength(1);
    // As a machine leaves it that went down in the middle of a write.
    await writeFile(join(run, "serve/shadow.jsonl"), '{"rawQu');

    const { url, stop, output } = await serve("--checkpoint", "last", "--shadow", "--time-limit-ms", "60000");
    expect(await post(`${url}/search`, { query: "b", topK: 3 })).toMatchObject({
      source: "raw",
      reason: "shadow",
      hits: [{ id: "b" }],
    });
    const rewrite = await post(`${url}/rewrite`, { query: "b" });
    expect(rewrite).toMatchObject({ rawQuery: "b" });
    const chat = { messages: [{ role: "user", content: "b" }], temperature: 0, max_tokens: 4 };
    const reply = await post(`${url}/v1/chat/completions`, chat);
    expect(reply).toMatchObject({ model: "run", choices: [{ message: { content: rewrite.completion } }] });
    expect(await (await fetch(`${url}/health`)).json()).toMatchObject({ mode: "shadow", gate: { metric: "ndcg@10" } });
    expect(await stop()).toBe(0);
    expect(output()).toMatch(/shadow mode: 1 searches compared/);
    const shadow = JSON.parse(await readFile(join(run, "serve/shadow.jsonl"), "utf8")) as object;
    expect(shadow).toMatchObject({ rawQuery: "b", rawIds: ["b"] });
    expect(await readFile(join(run, "serve/gate.json"), "utf8")).toBe(kept);
    // Nothing is served from what training kept on disk, nor added to it.
    expect(await readdir(join(folder, "answers"))).toEqual(answers);
  });

  it.each([
    [["serve", "nowhere"], /nowhere is not a run folder/],
    [["serve", "RUN", "--host", "0.0.0.0"], /Set a token.*REC_R1_SERVE_TOKEN/],
    [["serve", "RUN", "--port", "99999"], /--port/],
    [["serve", "RUN", "--allow-origin", "https://shop.example/"], /no slash at the end/],
    [["serve", "RUN", "--allow-origin", "shop.example"], /such as https:\/\/shop\.example/],
    [["serve", "RUN", "--hit-cache-seconds", "31536000"], /hit-cache-seconds/],
    [["serve", "RUN", "--checkpoint", "99"], /no checkpoint/],
  ])("says what is wrong with %j", async (args, message) => {
    const { code, stderr } = await runInProcess(...args.map((arg) => (arg === "RUN" ? run : arg)));
    expect(code).not.toBe(0);
    expect(stderr).toMatch(message);
  });
});

describe("rec-r1 export", () => {
  it.each([
    [
      "peft",
      [],
      ["README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"],
    ],
    [
      "safetensors",
      ["--type", "bf16"],
      [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
      ],
    ],
    ["gguf", ["--name", "My tiny/model"], ["My-tiny-model.F16.gguf", "README.md"]],
  ])("writes %s with a model card", async (format, more, files) => {
    const out = join(folder, `out-${format}`);
    const args = ["export", run, "--format", format, "--out", out, "--checkpoint", "last", ...more, "--json"];
    const { code, stderr, stdout } = await runInProcess(...args);
    expect(code, stderr).toBe(0);
    expect(lastJson(stdout)).toMatchObject({ format, step: 2 });
    expect((await readdir(out)).sort()).toEqual(files);
    const card = await readFile(join(out, "README.md"), "utf8");
    expect(card).toMatch(/Task: `letters`; checkpoint after step 2/);
    expect(card).toMatch(/step 2, was not measured yet/);
    expect(card).toMatch(/user: bb/);
    if (format === "gguf") expect((await loadModel(join(out, files[0] as string))).tokenizer).not.toBeNull();
    if (format === "safetensors") expect((await loadModel(out)).config.layers).toBe(2);
  });

  it.each([
    [["--format", "onnx", "--out", "x"], /peft, safetensors, gguf/],
    [["--format", "peft", "--type", "q8_0", "--out", "x"], /--format peft is written as f32/],
    [["--format", "gguf", "--out", "RUN"], /is not empty/],
    [["--format", "gguf"], /--out/],
  ])("says what is wrong with %j", async (args, message) => {
    const { code, stderr } = await runInProcess("export", run, ...args.map((arg) => (arg === "RUN" ? run : arg)));
    expect(code).not.toBe(0);
    expect(stderr).toMatch(message);
  });
});

describe("rec-r1 distill", () => {
  it("writes rules in every format, and measures them", async () => {
    const out = join(folder, "rules");
    const { code, stderr, stdout } = await runInProcess("distill", run, "--out", out, "--checkpoint", "last", "--json");
    expect(code, stderr).toBe(0);
    const result = lastJson(stdout);
    expect(result).toMatchObject({ trainQueries: 36, test: { metric: "ndcg@10", systems: [{}, {}, {}] } });
    expect((await readdir(out)).sort()).toEqual([
      "analysis.json",
      "distilled.json",
      "querqy.txt",
      "rules.tsv",
      "synonyms-set.json",
      "synonyms.txt",
    ]);
    const lines = (await readFile(join(out, "rules.tsv"), "utf8")).trimEnd().split("\n");
    expect(lines).toHaveLength((result.rules as number) + 1);
  });
});
