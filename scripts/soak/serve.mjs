// `rec-r1 serve` under load: at 80 % of what it can do for as long as asked, then at 300 %, then at 80 % again.
// npm run test:soak:serve [-- --minutes 60]
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createJiti } from "jiti";
import { slopeOf } from "./trend.mjs";

const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" } } });
const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const { wordLetters, writeTinyModelFolder } = await createJiti(import.meta.url).import(
  "../../test/support/tiny-model-folder.ts",
);
const folder = await mkdtemp(join(tmpdir(), "rec-r1-soak-"));

const items = wordLetters.flatMap((letter) =>
  Array.from({ length: 50 }, (_, i) => ({ id: `${letter}${i}`, title: `${letter} ${wordLetters[i % 18]}` })),
);
const examples = wordLetters.map((letter) => ({ query: letter.repeat(2), relevant: [`${letter}3`] }));
const lines = (records) => records.map((record) => `${JSON.stringify(record)}\n`).join("");
await writeTinyModelFolder(join(folder, "model"));
await writeFile(join(folder, "catalogue.jsonl"), lines(items));
await writeFile(join(folder, "examples.jsonl"), lines(examples));
await writeFile(
  join(folder, "task.mjs"),
  `import { join } from "node:path";
import { defineTask, ndcg } from "rec-r1";
import { LanceDbRecommender } from "rec-r1/recommenders/lancedb";
export const recommender = ({ data }) =>
  LanceDbRecommender.fromJsonl(join(data, "catalogue.jsonl"), { text: ["title"], indexDir: join(data, "index") });
export const config = { doctor: false, steps: 2, promptsPerStep: 4, groupSize: 4, maxTokens: 4, evalEvery: 0, checkpointEvery: 1 };
export default ({ data }) =>
  defineTask({
    name: "soak",
    data: { train: join(data, "examples.jsonl"), valid: join(data, "examples.jsonl") },
    prompt: ({ query }) => query,
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : -0.5),
  });
`,
);

/** rec-r1 in a process of its own, with what it says. */
function start(...args) {
  const child = spawn(process.execPath, [main, ...args], { cwd: folder, env: { ...process.env, NO_COLOR: "1" } });
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) child[name].on("data", (chunk) => (said[name] += chunk));
  const ended = new Promise((resolve) => child.once("close", resolve));
  return { child, said, ended };
}

const training = start("train", "task.mjs", "--data", folder, "--model", "model", "--threads", "1", "--run", "run");
if ((await training.ended) !== 0) throw new Error(training.said.stderr);
const limits = ["--port", "0", "--rate", "1000000", "--threads", "1", "--no-gate", "--max-in-flight", "64"];
const server = start("serve", "run", "--checkpoint", "last", ...limits);
const url = await new Promise((resolve, reject) => {
  const poll = setInterval(() => {
    const found = /served at (http:\S+)/.exec(server.said.stdout);
    if (found) {
      clearInterval(poll);
      resolve(found[1]);
    }
  }, 50);
  void server.ended.then((code) => reject(new Error(`serve ended with ${code}: ${server.said.stderr}`)));
});

const agent = new Agent({ keepAlive: true, maxSockets: 512 });
let counter = 0;
/** A query that nobody has asked before, so that nothing answers it from memory. */
const nextQuery = () => [...(counter++).toString(18)].map((digit) => wordLetters[parseInt(digit, 18)]).join("");

/** Status and milliseconds of a request; status 0: none. */
function ask() {
  const body = JSON.stringify({ query: nextQuery(), topK: 5 });
  const begun = performance.now();
  return new Promise((resolve) => {
    const done = (status) => resolve({ status, ms: performance.now() - begun });
    const sent = request(
      `${url}/search`,
      {
        agent,
        method: "POST",
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
      },
      (reply) => {
        reply.resume();
        reply.on("end", () => done(reply.statusCode));
        reply.on("error", () => done(0));
      },
    );
    sent.on("error", () => done(0));
    sent.end(body);
  });
}

/** As many requests a second as are answered when 32 clients ask one after the other. */
async function measureCapacity(seconds) {
  const until = performance.now() + 1000 * seconds;
  let answered = 0;
  const client = async () => {
    while (performance.now() < until) if ((await ask()).status === 200) answered++;
  };
  await Promise.all(Array.from({ length: 32 }, client));
  return answered / seconds;
}

/** Requests that arrive at a rate, whether the others were answered or not. */
async function load(perSecond, seconds, onTick = () => {}) {
  const begun = performance.now();
  const answers = [];
  const open = [];
  for (let sent = 0, tick = 0; performance.now() - begun < 1000 * seconds;) {
    const due = Math.floor(((performance.now() - begun) / 1000) * perSecond);
    for (; sent < due; sent++) open.push(ask().then((answer) => answers.push(answer)));
    if (performance.now() - begun > 5000 * (tick + 1)) {
      tick++;
      onTick((performance.now() - begun) / 1000);
      open.splice(0, Math.max(0, open.length - 4096));
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await Promise.all(open);
  return answers;
}

const memoryOf = (pid) => Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
function describe(name, answers) {
  const count = (status) => answers.filter((answer) => answer.status === status).length;
  const times = answers.map(({ ms }) => ms).sort((a, b) => a - b);
  const at = (share) => (times[Math.floor(share * (times.length - 1))] ?? 0).toFixed(0);
  const others = answers.filter(({ status }) => status !== 200 && status !== 503).length;
  console.log(
    `${name}: ${answers.length} requests, ${count(200)} answered, ${count(503)} told to come back (503), ${others} failed; ${at(0.5)} ms, 99 % within ${at(0.99)} ms`,
  );
  return { ok: count(200), shed: count(503), failed: others };
}

let isGood = true;
const expect = (condition, what) => {
  if (!condition) console.log(`failed: ${what}`);
  isGood &&= condition;
};
try {
  await measureCapacity(5);
  const capacity = await measureCapacity(10);
  console.log(`capacity: ${capacity.toFixed(0)} requests a second`);
  const memory = [];
  const steady = await load(0.8 * capacity, 60 * Number(values.minutes), (second) => {
    memory.push([second, memoryOf(server.child.pid)]);
    if (memory.length % 12 === 0) console.log(`after ${second.toFixed(0)} s: ${memory.at(-1)[1].toFixed(0)} MB`);
  });
  const calm = describe("at 80 %", steady);
  const slope = slopeOf(memory.slice(memory.length >> 1)) * 60;
  console.log(`memory: ${memory.at(-1)[1].toFixed(0)} MB, ${slope.toFixed(2)} MB a minute over the second half`);
  expect(calm.shed + calm.failed === 0, "errors at 80 %");
  expect(slope < 0.5, "memory grows");
  const crowd = describe("at 300 %", await load(3 * capacity, 30));
  expect(crowd.shed > 0 && crowd.ok > 0, "no load was shed");
  expect(crowd.failed === 0, "other errors than 503");
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const after = describe("at 80 % again", await load(0.8 * capacity, 20));
  expect(after.shed + after.failed === 0, "errors after the load has gone");
} finally {
  server.child.kill("SIGINT");
  const code = await server.ended;
  expect(code === 0 || code === 130, `serve ended with ${code}: ${server.said.stderr}`);
  await rm(folder, { recursive: true, force: true });
}
process.exitCode = isGood ? 0 : 1;
