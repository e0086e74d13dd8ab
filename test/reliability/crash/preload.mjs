// Loaded into rec-r1 before anything else (`node --import`): marks what the process is doing, and kills it with SIGKILL
// at the moment that REC_R1_CRASH asks for: {"phase", "occurrence", "moment"}. Moments `before`, `half` and `after` are
// those of a file operation (`half` leaves half of the bytes); a number is microseconds after the phase began, at which
// a second thread strikes, whatever the first one is doing. What was going on goes to file descriptor 3.
import { writeSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { Worker } from "node:worker_threads";

const { phase: wanted, occurrence, moment } = JSON.parse(process.env.REC_R1_CRASH ?? "{}");
const names = [
  "start",
  "model pull",
  "index build",
  "sampling",
  "backward",
  "optimizer",
  "checkpoint write",
  "metrics append",
  "record write",
];
/** How often each phase is under way, and (last) the microseconds that the second thread has to wait. */
const shared = new Int32Array(new SharedArrayBuffer(4 * (names.length + 1)));
const delayAt = names.length;
const seen = new Map();

const killer = new Worker(
  `const { workerData: { shared, names, delayAt, pid } } = require("node:worker_threads");
   const { writeSync } = require("node:fs");
   Atomics.wait(shared, delayAt, 0);
   const until = process.hrtime.bigint() + BigInt(Atomics.load(shared, delayAt)) * 1000n;
   while (process.hrtime.bigint() < until);
   const active = names.filter((_, i) => Atomics.load(shared, i) > 0);
   writeSync(3, JSON.stringify({ killed: active.at(-1) ?? "between" }) + "\\n");
   process.kill(pid, "SIGKILL");`,
  { eval: true, workerData: { shared, names, delayAt, pid: process.pid } },
);
killer.unref();

function die(phase) {
  writeSync(3, `${JSON.stringify({ killed: phase })}\n`);
  process.kill(process.pid, "SIGKILL");
}

/** Runs `work` as a part of `phase`; `half` does half of it, for file operations that can be cut off. */
async function during(phase, work, half) {
  const at = names.indexOf(phase);
  const count = (seen.get(phase) ?? 0) + 1;
  seen.set(phase, count);
  const isIt = phase === wanted && count === occurrence;
  const start = process.hrtime.bigint();
  Atomics.add(shared, at, 1);
  if (isIt && typeof moment === "number") {
    Atomics.store(shared, delayAt, Math.max(1, moment));
    Atomics.notify(shared, delayAt);
  }
  if (isIt && (moment === "before" || moment === "half")) {
    if (moment === "half") await half?.();
    die(phase);
  }
  try {
    return await work();
  } finally {
    if (isIt && moment === "after") die(phase);
    Atomics.sub(shared, at, 1);
    const us = Number((process.hrtime.bigint() - start) / 1000n);
    if (wanted === undefined) writeSync(3, `${JSON.stringify({ phase, us })}\n`);
  }
}

/** The phase that an operation on `path` belongs to. */
function phaseOf(path) {
  const text = String(path);
  if (/[\\/]models[\\/]/.test(text)) return "model pull";
  if (/[\\/]index[\\/]/.test(text)) return "index build";
  if (/[\\/]checkpoints[\\/]/.test(text)) return "checkpoint write";
  if (/metrics\.jsonl$/.test(text)) return "metrics append";
  if (/[\\/]run[\\/]/.test(text)) return "record write";
  return undefined;
}

const halfOf = (data) =>
  typeof data === "string" ? data.slice(0, data.length >> 1) : data.subarray(0, data.length >> 1);

for (const name of ["appendFile", "writeFile"]) {
  const original = fs[name];
  fs[name] = (path, data, ...rest) => {
    const phase = typeof path === "object" ? undefined : phaseOf(path);
    if (!phase) return original(path, data, ...rest);
    return during(
      phase,
      () => original(path, data, ...rest),
      () => original(path, halfOf(data), ...rest),
    );
  };
}
for (const name of ["mkdir", "rename", "rm", "link"]) {
  const original = fs[name];
  fs[name] = (path, ...rest) => {
    const phase = phaseOf(path);
    return phase ? during(phase, () => original(path, ...rest)) : original(path, ...rest);
  };
}
const pathOf = new WeakMap();
const openFile = fs.open;
fs.open = async (path, ...rest) => {
  const handle = await openFile(path, ...rest);
  pathOf.set(handle, path);
  return handle;
};
const probe = await openFile(process.execPath, "r");
const prototype = Object.getPrototypeOf(probe);
await probe.close();
for (const name of ["writeFile", "sync"]) {
  const original = prototype[name];
  prototype[name] = function (...args) {
    const phase = pathOf.has(this) ? phaseOf(pathOf.get(this)) : undefined;
    if (!phase) return original.apply(this, args);
    const half = name === "sync" ? undefined : () => original.call(this, halfOf(args[0]), ...args.slice(1));
    return during(phase, () => original.apply(this, args), half);
  };
}
syncBuiltinESMExports();

/** Makes every call of a method a part of a phase. */
function mark(object, method, phase) {
  const original = object[method];
  object[method] = function (...args) {
    return during(phase, () => original.apply(this, args));
  };
}
/** A module of rec-r1, as built or from its sources (whose loader may put everything into `default`). */
async function load(path) {
  const module = await import(`${process.env.REC_R1_CRASH_ROOT}/${path}.${process.env.REC_R1_CRASH_EXT}`);
  return { ...module.default, ...module };
}
const { LocalEngine } = await load("engines/local/local-engine");
mark(LocalEngine.prototype, "sample", "sampling");
mark(LocalEngine.prototype, "forwardBackward", "backward");
mark(LocalEngine.prototype, "optimStep", "optimizer");
const { LanceDbRecommender } = await load("recommenders/lancedb/index");
mark(LanceDbRecommender, "fromJsonl", "index build");
await during("start", async () => {});
