// `rec-r1 serve` under load: at 80 % of what it can do for as long as asked, then at 300 %, then at 80 % again.
// npm run test:soak:serve [-- --minutes 60]
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createJiti } from "jiti";
import { formatMinutes, leastOfEach, medianOf, slopeOf } from "./trend.mjs";

const { values } = parseArgs({ options: { minutes: { type: "string", default: "60" } } });
const minutes = Number(values.minutes);
// Memory is looked at every five seconds.
if (!(minutes >= 0.1)) throw new Error(`--minutes ${values.minutes}: expected a number from 0.1 on.`);
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
const limits = ["--port", "0", "--rate", "1000000", "--threads", "1", "--no-gate"];
const server = start("serve", "run", "--checkpoint", "last", ...limits);
process.once("exit", () => server.child.kill("SIGKILL"));
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

/**
 * Lets go of idle connections before the service does (75 s), as HTTP clients do: who asks on one that is being closed at
 * that moment is cut off.
 */
const agent = new Agent({ keepAlive: true, maxSockets: 512, timeout: 60_000 });
/** When a connection last gave an answer, in milliseconds of this process. */
const answeredAt = new WeakMap();
let counter = 0;
/** A query that nobody has asked before, so that nothing answers it from memory. */
const nextQuery = () => [...(counter++).toString(18)].map((digit) => wordLetters[parseInt(digit, 18)]).join("");

/**
 * Status and milliseconds of a request, whether the policy was passed over for want of time, and what went wrong where
 * there was no answer (status 0).
 */
function ask() {
  const body = JSON.stringify({ query: nextQuery(), topK: 5 });
  const begun = performance.now();
  return new Promise((resolve) => {
    let text = "";
    let connection;
    const done = (status, error) => {
      const isRaw = status === 200 && ["busy", "time_limit"].includes(JSON.parse(text).reason);
      const ms = performance.now() - begun;
      if (status === 200 || status === 503) return resolve({ status, ms, isRaw });
      const idleSeconds = Math.round((begun - answeredAt.get(connection)) / 1000);
      const where = answeredAt.has(connection) ? `a connection that was idle for ${idleSeconds} s` : "a new connection";
      const fault = error
        ? `${error.code} after ${text.length} characters on ${where}`
        : `${status} ${text.slice(0, 200)}`;
      resolve({ status, ms, isRaw, fault });
    };
    const sent = request(
      `${url}/search`,
      {
        agent,
        method: "POST",
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
      },
      (reply) => {
        reply.setEncoding("utf8");
        reply.on("data", (chunk) => (text += chunk));
        reply.on("end", () => {
          answeredAt.set(connection, performance.now());
          done(reply.statusCode);
        });
        reply.on("error", (error) => done(0, error));
      },
    );
    sent.on("socket", (socket) => (connection = socket));
    sent.on("error", (error) => done(0, error));
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

/** A pause after which what was due meanwhile would be a crowd, and not the load that is asked for. */
const stallMs = 250;
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Requests that arrive at a rate, whether the others were answered or not.
 * @param onTick told every five seconds how many seconds have passed, and of the answers so far
 */
async function load(perSecond, seconds, onTick = () => {}) {
  const tally = { ok: 0, shed: 0, failed: 0, raw: 0, stalls: 0, times: [], shedTimes: [], faults: new Map() };
  const count = ({ status, ms, isRaw, fault }) => {
    if (status === 200) tally.ok++;
    else if (status === 503) tally.shed++;
    else {
      tally.failed++;
      const kind = `${fault} (${ms < 1000 ? "within" : "after more than"} a second)`;
      tally.faults.set(kind, (tally.faults.get(kind) ?? 0) + 1);
    }
    if (isRaw) tally.raw++;
    (status === 503 ? tally.shedTimes : tally.times).push(ms);
  };
  const open = new Set();
  let begun = performance.now();
  for (let sent = 0, ticks = 0, last = begun; ;) {
    const now = performance.now();
    // Where this process stood still there were no requests: they are not to come all at once.
    if (now - last > stallMs) {
      begun += now - last;
      tally.stalls++;
    }
    last = now;
    const passed = (now - begun) / 1000;
    if (passed >= seconds) break;
    for (const due = Math.floor(passed * perSecond); sent < due; sent++) {
      const answer = ask()
        .then(count)
        .finally(() => open.delete(answer));
      open.add(answer);
    }
    if (passed > 5 * (ticks + 1)) {
      ticks++;
      onTick(passed, tally);
    }
    await wait(5);
  }
  await Promise.all(open);
  return tally;
}

/** Of the server: memory of its own in MB, and open files. */
const memoryOfServer = () =>
  Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${server.child.pid}/status`, "utf8"))[1]) / 1024;
const filesOfServer = () => readdirSync(`/proc/${server.child.pid}/fd`).length;

/** The median and what 99 % are within, of milliseconds. */
function describeTimes(times) {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share) => (sorted[Math.floor(share * (sorted.length - 1))] ?? 0).toFixed(0);
  return `in ${at(0.5)} ms, 99 % within ${at(0.99)} ms`;
}

const describeFaults = (faults) =>
  faults.size > 0 ? ` (${[...faults].map(([kind, count]) => `${count} times ${kind}`).join("; ")})` : "";

function describe({ ok, shed, failed, raw, stalls, times, shedTimes, faults }) {
  const refusals = shed > 0 ? ` ${describeTimes(shedTimes)}` : "";
  return (
    `${ok + shed + failed} requests, ${ok} answered ${describeTimes(times)} (${raw} of them without the policy, for want of time), ` +
    `${shed} told to come back (503)${refusals}, ${failed} failed${describeFaults(faults)}; the program that asked stood still ${stalls} times`
  );
}

const results = [];
const expect = (isFine, what) => {
  results.push(isFine);
  console.log(`${isFine ? "ok    " : "failed"}  ${what}`);
};
let interrupted = false;
process.once("SIGINT", () => {
  interrupted = true;
  server.child.kill("SIGINT");
});
try {
  const filesAtFirst = filesOfServer();
  await measureCapacity(5);
  const rounds = [];
  for (let round = 0; round < 3; round++) rounds.push(await measureCapacity(10));
  const capacity = medianOf(rounds);
  console.log(
    `capacity: ${capacity.toFixed(0)} requests a second with 32 at a time (three rounds of 10 s: ${rounds.map((perSecond) => perSecond.toFixed(0)).join(", ")})`,
  );

  const memory = [];
  const seconds = 60 * minutes;
  const ticksPerLine = minutes > 5 ? 12 : 2;
  const calm = await load(0.8 * capacity, seconds, (second, tally) => {
    if (interrupted) throw new Error("stopped");
    memory.push([second, memoryOfServer()]);
    if (memory.length % ticksPerLine !== 0) return;
    console.log(
      `at 80 %: ${formatMinutes(second)} of ${formatMinutes(seconds)}, ${formatMinutes(seconds - second)} left: ${tally.ok} answered, ${tally.shed} told to come back, ${tally.failed} failed${describeFaults(tally.faults)}, ` +
        `median of the last ${medianOf(tally.times.slice(-1000)).toFixed(0)} ms, ${memory.at(-1)[1].toFixed(0)} MB, ${filesOfServer()} files open`,
    );
  });
  console.log(`at 80 % (${(0.8 * capacity).toFixed(0)} a second) for ${formatMinutes(seconds)}: ${describe(calm)}`);
  expect(calm.shed + calm.failed === 0, "no error at 80 %");
  // The first third is the warm-up: memories of rewrites and hits fill, and the heap finds its size.
  // Garbage waits until it is collected; what is kept is the least of each minute.
  const after = leastOfEach(memory.slice(Math.floor(memory.length / 3)), minutes < 10 ? 1 : 12);
  const slope = slopeOf(after);
  const middle = medianOf(after.map(([, mb]) => mb));
  const rise = slope * (after.at(-1)[0] - after[0][0]);
  const figure = `${middle.toFixed(0)} MB, ${(3600 * slope).toFixed(1)} MB an hour (${((1e6 * slope) / (0.8 * capacity)).toFixed(1)} MB for a million requests)`;
  if (minutes >= 10) expect(rise < 0.05 * middle, `memory flat after a third of it: ${figure}`);
  else console.log(`memory after a third of it: ${figure}; it is judged from --minutes 10 on`);

  const crowd = await load(3 * capacity, 30);
  console.log(`at 300 % for 30 s: ${describe(crowd)}`);
  expect(crowd.shed > 0 && crowd.ok > 0, "load is shed with 503 at 300 %, and others are answered");
  expect(crowd.failed === 0, "no other error at 300 %");
  await wait(2000);
  const again = await load(0.8 * capacity, 30);
  console.log(`at 80 % again for 30 s: ${describe(again)}`);
  expect(again.shed + again.failed === 0, "no error when the crowd has gone");
  agent.destroy();
  await wait(1000);
  const files = filesOfServer();
  expect(files <= filesAtFirst + 1, `open files: ${filesAtFirst} before the first request, ${files} after the last`);
} catch (error) {
  if (!interrupted) throw error;
  console.log("stopped, without a verdict");
} finally {
  server.child.kill("SIGINT");
  const code = await server.ended;
  expect(code === 0 || code === 130, `the service ends when it is asked to (code ${code})`);
  if (server.said.stderr !== "") console.log(`it said: ${server.said.stderr.slice(0, 2000)}`);
  await rm(folder, { recursive: true, force: true });
}
if (interrupted) process.exit(130);
const isGood = results.every((isFine) => isFine);
console.log(isGood ? "passed" : "failed");
process.exitCode = isGood ? 0 : 1;
