// npm run test:export: what `rec-r1 export` writes, loaded elsewhere. Transformers + PEFT must give the same greedy tokens
// and log-probs within 1e-3 from the adapter and from the merged weights, llama.cpp the same greedy text from the F16 GGUF.
// The Python environment is made in .export-python/ on the first run (several GB), node-llama-cpp in bench/llama-cpp.
// Options: --run FOLDER (a run of the local engine; default: one is trained in about a minute), --python PROGRAM (an
// environment that has what requirements.txt names), --threads N (2), --prompts N (24).
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { hasLlama } from "../../bench/parts/llama-peer.mjs";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const here = join(root, "scripts/export");
const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at === -1 ? fallback : process.argv[at + 1];
};
const threads = Number(option("threads", "2"));
const maxTokens = 24;
const maxDifference = 1e-3;

function run(command, args, { capture = false } = {}) {
  const stdio = ["ignore", capture ? "pipe" : "inherit", "inherit"];
  const { status, stdout } = spawnSync(command, args, { stdio, encoding: "utf8", maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with exit code ${status}`);
  return stdout;
}
const recR1 = (...args) => run(process.execPath, [join(root, "dist/cli/main.js"), ...args]);
const lastJson = (text) => JSON.parse(text.trimEnd().split("\n").at(-1));

function findPython() {
  const given = option("python");
  if (given) return given;
  const environment = join(root, ".export-python");
  const program = join(environment, "bin/python");
  if (!existsSync(program)) run(process.env.PYTHON ?? "python3", ["-m", "venv", environment]);
  if (spawnSync(program, ["-c", "import torch, transformers, peft"], { stdio: "ignore" }).status !== 0) {
    run(program, ["-m", "pip", "install", "--quiet", "-r", join(here, "requirements.txt")]);
  }
  return program;
}

function installLlama() {
  if (hasLlama()) return;
  run("npm", ["install", "--silent", "--prefix", join(root, "bench/llama-cpp"), "--ignore-scripts"]);
}

/** Greedy completions of our own engine, with their log-probs. */
async function complete(engine, conversations) {
  const { encodeMessages } = await import("../../dist/rl/prompt.js");
  const prompts = conversations.map((messages) => encodeMessages(engine.tokenizer, messages));
  const samples = await engine.sample(prompts, { n: 1, maxTokens, temperature: 0, seed: 0 });
  const data = prompts.map((prompt, i) => ({ prompt, completion: samples[i][0].ids }));
  const logprobs = await engine.logprobs(data);
  return data.map((datum, i) => ({
    ...datum,
    messages: conversations[i],
    promptText: engine.tokenizer.renderChat(conversations[i]),
    logprobs: [...logprobs[i]],
    text: samples[i][0].text,
  }));
}

const scratch = mkdtempSync(join(tmpdir(), "rec-r1-export-"));
const checks = [];
const check = (name, passed, detail) => {
  checks.push(passed);
  process.stdout.write(`${passed ? "ok  " : "FAIL"} ${name}: ${detail}\n`);
};
try {
  const python = findPython();
  installLlama();
  const runDir = option("run") ?? join(scratch, "run");
  if (!option("run")) {
    recR1("train", join(here, "task.ts"), "--run", runDir, "--steps", "0", "--threads", String(threads));
  }
  const { readManifest, readBest, readNewestRunCheckpoint, readRunCheckpoint } =
    await import("../../dist/runs/run-folder.js");
  const { engineConfigSchema } = await import("../../dist/cli/launch-config.js");
  const { LocalEngine } = await import("../../dist/engines/local/index.js");
  const config = engineConfigSchema.parse((await readManifest(runDir)).launch.engine);
  const best = await readBest(runDir);
  const checkpoint = best
    ? await readRunCheckpoint(runDir, best.step)
    : await readNewestRunCheckpoint(runDir, () => {});
  const folders = Object.fromEntries(
    ["base", "peft", "merged", "f16", "q8"].map((name) => [name, join(scratch, name)]),
  );
  recR1("model", "export", config.model, folders.base);
  const at = ["--checkpoint", String(checkpoint.step)];
  recR1("export", runDir, ...at, "--format", "peft", "--base", folders.base, "--out", folders.peft);
  recR1("export", runDir, ...at, "--format", "safetensors", "--out", folders.merged);
  recR1("export", runDir, ...at, "--format", "gguf", "--out", folders.f16);
  recR1("export", runDir, ...at, "--format", "gguf", "--type", "q8_0", "--out", folders.q8);
  const ggufIn = (folder) =>
    join(
      folder,
      readdirSync(folder).find((name) => name.endsWith(".gguf")),
    );

  const { loadIcons } = await import("../../dist/datasets/icons.js");
  const { test } = await loadIcons();
  const conversations = test.slice(0, Number(option("prompts", "24"))).map(({ query }) => [
    { role: "system", content: "icon search" },
    { role: "user", content: query },
  ]);
  const { loraRank, loraAlpha } = config;
  const engine = await LocalEngine.load(config.model, { loraRank, ...(loraAlpha ? { loraAlpha } : {}), threads });
  const untrained = (await complete(engine, conversations)).map(({ text }) => text);
  await engine.loadState(checkpoint.engineDir);
  const entries = await complete(engine, conversations);
  const endIds = engine.tokenizer.endIds;
  await engine.close();
  const changed = entries.filter(({ text }, i) => text !== untrained[i]).length;
  check("the policy differs from its base", changed > 0, `on ${changed} of ${entries.length} prompts`);

  const reference = join(scratch, "reference.json");
  writeFileSync(reference, JSON.stringify({ entries, maxTokens, endIds, threads }));
  const others = [join(here, "check.py"), reference, folders.base, folders.peft, folders.merged];
  const { results, promptsTokenizedOtherwise } = lastJson(run(python, others, { capture: true }));
  check("Transformers' prompts", promptsTokenizedOtherwise === 0, `${promptsTokenizedOtherwise} tokenized otherwise`);
  for (const { name, largestDifference, different } of results) {
    check(
      `${name}, log-probs`,
      largestDifference <= maxDifference,
      `largest difference ${largestDifference.toExponential(2)}`,
    );
    check(`${name}, greedy tokens`, different === 0, `${entries.length - different} of ${entries.length} the same`);
  }

  for (const [name, folder] of Object.entries({ F16: folders.f16, Q8_0: folders.q8 })) {
    const own = await LocalEngine.load(ggufIn(folder), { threads });
    const ownTexts = (await complete(own, conversations)).map(({ text }) => text);
    await own.close();
    const made = lastJson(
      run(process.execPath, [join(here, "llama.mjs"), ggufIn(folder), reference], { capture: true }),
    );
    const same = (texts) => made.completions.filter((text, i) => text === texts[i]).length;
    const [asRun, asFile] = [same(entries.map(({ text }) => text)), same(ownTexts)];
    const detail = `${asRun} of ${entries.length} the same as the run's, ${asFile} as this file's in our engine`;
    check(
      `llama.cpp's prompts, ${name}`,
      made.promptsTokenizedOtherwise === 0,
      `${made.promptsTokenizedOtherwise} tokenized otherwise`,
    );
    // Eight bits change some answers, in llama.cpp and in our engine alike.
    if (name === "F16") check("llama.cpp's greedy text, F16", asRun === entries.length, detail);
    else process.stdout.write(`     llama.cpp's greedy text, ${name}: ${detail}\n`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
const passed = checks.filter(Boolean).length;
process.stdout.write(`${passed} passed, ${checks.length - passed} failed\n`);
process.exit(passed === checks.length ? 0 : 1);
