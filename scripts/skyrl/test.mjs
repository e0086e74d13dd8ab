// npm run test:skyrl: rec-r1 on a real SkyRL server (JAX on the CPU) with SmolLM2-135M-Instruct. Log-probs and loss of a
// fixed batch agree with the local engine; ten GRPO steps of examples/icon-search/task.ts there and on the local engine; in
// the middle of those there the server is killed and started anew. The first run installs several gigabytes into .skyrl/.
// Options: --python NAME (python3.12), --url URL (a server that already runs; it isn't killed), --steps N (10), --prompts N
// (4), --group-size N (4), --port N (8123), --no-compare (only the training).
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { LocalEngine } from "../../dist/engines/local/index.js";
import { TinkerEngine } from "../../dist/engines/tinker/index.js";
import { exportModel } from "../../dist/models/export-folder.js";
import { prepareEnvironment, startSkyrl } from "./server.mjs";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const modelName = "smollm2-135m-instruct";
const args = process.argv.slice(2);
const option = (name, fallback) => (args.includes(`--${name}`) ? args[args.indexOf(`--${name}`) + 1] : fallback);
const start = performance.now();
const say = (line) => process.stderr.write(`[${((performance.now() - start) / 1000).toFixed(0)} s] ${line}\n`);
const failures = [];
const figures = {};

function check(name, value, isRight, expected) {
  figures[name] = value;
  say(`${isRight ? "ok  " : "FAIL"} ${name}: ${value} (${expected})`);
  if (!isRight) failures.push(name);
}

/** A batch that is the same every time: prompts of the icon task, completions by the untrained policy. */
async function makeBatch(local) {
  const words = ["bell", "car", "hospital", "shopping cart"];
  const prompts = words.map((content) =>
    local.tokenizer.encodeChat([{ role: "user", content: `An icon of: ${content}` }]),
  );
  const samples_P_G = await local.sample(prompts, { n: 2, maxTokens: 12, temperature: 1, seed: 3 });
  return samples_P_G.flatMap((samples, p) =>
    samples.map(({ ids, logprobs }, g) => ({
      prompt: prompts[p],
      completion: ids,
      oldLogprobs: logprobs.map((logprob, t) => logprob + 0.1 * Math.sin(t + g)),
      advantage: g === 0 ? 0.7 : -0.4,
    })),
  );
}

const largestDifference = (a, b) =>
  Math.max(...a.flatMap((row, i) => Array.from(row, (x, t) => Math.abs(x - b[i][t]))));

async function compareEngines(url) {
  const remote = await TinkerEngine.connect({ url, model: modelName, loraRank: 8 });
  const local = await LocalEngine.load(modelName, { loraRank: 8 });
  try {
    say(`connected: ${JSON.stringify(remote.description)}`);
    const data = await makeBatch(local);
    const logprobs = largestDifference(await remote.logprobs(data), await local.logprobs(data));
    check("logprobs_difference", logprobs, logprobs <= 1e-3, "at most 1e-3");
    const reference = { weights: "reference" };
    const references = largestDifference(await remote.logprobs(data, reference), await local.logprobs(data, reference));
    check("reference_logprobs_difference", references, references <= 1e-3, "at most 1e-3");
    for (const name of ["importance_sampling", "grpo", "gspo"]) {
      const [there, here] = [await remote.forwardBackward(data, { name }), await local.forwardBackward(data, { name })];
      const difference = Math.abs(there.loss - here.loss);
      check(`${name}_loss_difference`, difference, difference <= 1e-3, "at most 1e-3");
      // A rate of 0 moves nothing; the norms are those of gradients that must agree.
      const still = { learningRate: 0, maxGradNorm: Infinity };
      const [norm, expected] = [await remote.optimStep(still), await local.optimStep(still)].map(
        ({ gradNorm }) => gradNorm,
      );
      check(
        `${name}_gradient_norm_ratio`,
        norm / expected,
        true,
        "for information: the adapters' first weights differ",
      );
    }
  } finally {
    await remote.close();
    await local.close();
  }
}

/** Runs `rec-r1 train` with the engine at `url`, or `local`; `onStep` is told of each step that was finished. */
function train(engine, runDir, more, onStep) {
  const task = join(root, "examples/icon-search/task.ts");
  const [steps, prompts, groupSize] = [option("steps", "10"), option("prompts", "4"), option("group-size", "4")];
  const settings = [
    ...[
      "--engine",
      engine,
      "--run",
      runDir,
      "--steps",
      steps,
      "--prompts-per-step",
      prompts,
      "--group-size",
      groupSize,
    ],
    ...["--max-tokens", "12", "--lora-rank", "8", "--eval-every", "0", "--checkpoint-every", "2", "--no-doctor"],
  ];
  const child = spawn(process.execPath, [join(root, "dist/cli/main.js"), "train", task, ...settings, ...more], {
    cwd: root,
    env: { ...process.env, NO_COLOR: "1" },
  });
  training = child;
  let output = "";
  const read = (chunk) => {
    output += chunk;
    process.stderr.write(chunk);
    for (const [, step] of String(chunk).matchAll(/\bstep +(\d+)\b/g)) onStep?.(Number(step));
  };
  child.stdout.on("data", read);
  child.stderr.on("data", read);
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, output })));
}

const readSteps = (runDir) =>
  existsSync(join(runDir, "metrics.jsonl"))
    ? readFileSync(join(runDir, "metrics.jsonl"), "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line))
        .filter(({ kind }) => kind === "step")
    : [];

const scratch = mkdtempSync(join(tmpdir(), "rec-r1-skyrl-"));
const stateDir = join(scratch, "server");
let server;
let training;
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    training?.kill();
    await server?.kill();
    process.exit(130);
  });
}
try {
  const given = option("url");
  const startServer = async () => {
    if (given) return { url: given, kill: async () => {} };
    const folder = join(root, ".skyrl");
    const environment = prepareEnvironment(option("env", join(folder, "env")), option("python", "python3.12"));
    const model = join(folder, modelName);
    if (!existsSync(join(model, "config.json"))) await exportModel(modelName, model);
    return startSkyrl({ environment, model, stateDir, port: Number(option("port", "8123")), say });
  };
  server = await startServer();
  if (!args.includes("--no-compare")) await compareEngines(server.url);

  const steps = Number(option("steps", "10"));
  const runDir = join(scratch, "run");
  const rewardsOf = (dir) => readSteps(dir).map(({ values }) => values.reward);
  const killAfter = given ? Infinity : Math.ceil(steps / 2);
  let killed;
  const first = await train(server.url, runDir, [], (step) => {
    // A moment later the next step is under way.
    if (step >= killAfter) killed ??= new Promise((done) => setTimeout(done, 3000)).then(() => server.kill());
  });
  await killed;
  if (killed) {
    check("exit_code_when_the_server_was_killed", first.code, first.code !== 0, "not 0");
    figures.rewards_before_the_kill = rewardsOf(runDir);
    say(`the server was killed after ${readSteps(runDir).length} steps; starting it anew on what it saved`);
    server = await startServer();
    const second = await train(server.url, runDir, ["--resume"]);
    check("exit_code_after_going_on", second.code, second.code === 0, "0");
    const saved = killAfter - (killAfter % 2);
    const resumedAt = Number(/resumed after step (\d+)/.exec(second.output)?.[1]);
    check("resumed_after_step", resumedAt, resumedAt === saved, `${saved}, the last that was saved`);
  } else check("exit_code", first.code, first.code === 0, "0");
  const records = readSteps(runDir);
  const isWhole = records.length === steps && records.every(({ step }, i) => step === i + 1);
  check("steps", records.length, isWhole, `1 to ${steps}, each once`);
  figures.rewards = rewardsOf(runDir);
  figures.sampler_difference = Math.max(...records.map(({ values }) => values.samplerDifference ?? 0));
  figures.step_seconds = readFileSync(join(runDir, "timings.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => Math.round(JSON.parse(line).seconds.total));

  await server.kill();
  const localDir = join(scratch, "run-local");
  const local = await train("local", localDir, []);
  check("local_exit_code", local.code, local.code === 0, "0");
  figures.local_rewards = rewardsOf(localDir);
} finally {
  await server?.kill();
  if (failures.length === 0) rmSync(scratch, { recursive: true, force: true });
  else say(`what was left behind is in ${scratch}`);
}
process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
process.stdout.write(`${Object.keys(figures).length - failures.length} passed, ${failures.length} failed\n`);
process.exit(failures.length > 0 ? 1 : 0);
