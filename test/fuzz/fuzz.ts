/**
 * Fuzzing: whatever a parser is given, it gives a value or a refusal of ours with a code, in time and in memory that go
 * with the input's size. REC_R1_FUZZ_CASES says how many inputs are tried (1,000), REC_R1_FUZZ_SEED which.
 */
import fc from "fast-check";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { onTestFinished } from "vitest";
import { RecR1Error } from "../../src/core/errors.ts";

export const cases = Number(process.env.REC_R1_FUZZ_CASES ?? 1000);
const seed = Number(process.env.REC_R1_FUZZ_SEED ?? 1);
/** For a test of so many cases. */
export const timeout = 60_000 + 100 * cases;

/** A case that takes longer hangs. The time limits of ours that are tried are shorter. */
const hangMs = 60_000;
const bytesPerInputByte = 200;
const progressEveryMs = 20_000;

export interface Fuzzed<T> {
  /** For messages. */
  name: string;
  inputs: fc.Arbitrary<T>;
  /** In bytes. */
  sizeOf: (input: T) => number;
  /** Gives a value, or throws. */
  run: (input: T) => unknown;
  /** What is wrong with a refusal; undefined: nothing. Default: see {@link faultOf}. */
  check?: (error: unknown) => string | undefined;
  /** Share of the usual number of cases. Default 1. */
  share?: number;
  /** Share of the cases that have to be refused, so that the inputs are known to be harmful. Default 0.05. */
  leastRefused?: number;
  /** Memory that a case may keep or leave to the garbage collector, whatever its size, in bytes. Default 64 MiB. */
  slackBytes?: number;
}

/** A refusal has to be ours, with a code, and say where: in `details`, or in words. */
export function faultOf(error: unknown): string | undefined {
  if (!(error instanceof RecR1Error)) return "is no RecR1Error";
  if (!/^[A-Z][A-Z0-9_]+$/.test(error.code)) return `has the code ${error.code}`;
  return error.message.length > 5000 ? `has a message of ${error.message.length} characters` : undefined;
}

/** Tries an input after the other; the first that isn't dealt with well is made small and thrown. */
export async function fuzz<T>({
  name,
  inputs,
  sizeOf,
  run,
  check = faultOf,
  share = 1,
  leastRefused = 0.05,
  slackBytes = 64 * 2 ** 20,
}: Fuzzed<T>): Promise<void> {
  const watchdog = new Watchdog(name);
  onTestFinished(() => watchdog.stop());
  let [tried, refused] = [0, 0];
  const wanted = Math.ceil(share * cases);
  const startedAt = performance.now();
  let toldAt = startedAt;
  await fc.assert(
    fc.asyncProperty(inputs, async (input) => {
      watchdog.beginCase();
      tried++;
      if (performance.now() - toldAt > progressEveryMs) {
        toldAt = performance.now();
        const minutesLeft = ((toldAt - startedAt) / tried / 60_000) * (wanted - tried);
        console.log(`${name}: ${tried} of ${wanted} cases, ${refused} refused, ${minutesLeft.toFixed(1)} minutes left`);
      }
      const before = process.memoryUsage();
      try {
        await run(input);
      } catch (error) {
        const fault = check(error);
        if (fault !== undefined) throw new Error(`The error ${fault}: ${String(error)}`, { cause: error });
        refused++;
      }
      const after = process.memoryUsage();
      const grown = after.arrayBuffers - before.arrayBuffers + Math.max(0, after.heapUsed - before.heapUsed);
      const allowed = slackBytes + bytesPerInputByte * sizeOf(input);
      if (grown > allowed) throw new Error(`${grown} bytes for an input of ${sizeOf(input)}`);
    }),
    {
      numRuns: wanted,
      seed,
      interruptAfterTimeLimit: timeout - 30_000,
      markInterruptAsFailure: false,
    },
  );
  watchdog.stop();
  if (refused < leastRefused * tried) throw new Error(`Only ${refused} of ${tried} inputs were refused.`);
  console.log(`${name}: ${tried} cases, ${refused} refused`);
}

/** Ends the process when a case goes on for too long: what hangs in one thread can only be seen from another. */
class Watchdog {
  private readonly count = new Int32Array(new SharedArrayBuffer(4));
  private readonly worker: Worker;

  constructor(name: string) {
    this.worker = new Worker(
      `const { workerData: { count, name, hangMs, seed } } = require("node:worker_threads");
       let last = -1;
       setInterval(() => {
         const now = Atomics.load(count, 0);
         if (now === last) {
           require("node:fs").writeSync(2, name + ": case " + now + " of seed " + seed + " hangs\\n");
           process.kill(process.pid, "SIGKILL");
         }
         last = now;
       }, hangMs);`,
      { eval: true, workerData: { count: this.count, name, hangMs, seed } },
    );
    this.worker.unref();
  }

  beginCase(): void {
    Atomics.add(this.count, 0, 1);
  }

  stop(): void {
    void this.worker.terminate();
  }
}

/** A folder in memory where there is one: so many files are written. */
export async function fuzzFolder(): Promise<string> {
  const folder = await mkdtemp(join(process.platform === "linux" ? "/dev/shm" : tmpdir(), "rec-r1-fuzz-")).catch(() =>
    mkdtemp(join(tmpdir(), "rec-r1-fuzz-")),
  );
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Bytes of a good file with single bytes, fields, and whole stretches changed, cut off or doubled. */
export function damaged(good: Uint8Array, { start = good.length }: { start?: number } = {}): fc.Arbitrary<Buffer> {
  const at = fc.nat(Math.max(0, Math.min(start, good.length) - 1));
  const changes = fc.array(
    fc.oneof(
      { weight: 6, arbitrary: fc.record({ kind: fc.constant("byte" as const), at, value: fc.nat(255) }) },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant("field" as const),
          at,
          value: fc.constantFrom(
            0n,
            1n,
            127n,
            2n ** 31n - 1n,
            2n ** 31n,
            2n ** 32n - 1n,
            2n ** 53n,
            2n ** 63n,
            2n ** 64n - 1n,
          ),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constantFrom("remove" as const, "double" as const), at, length: fc.nat(64) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant("insert" as const), at, bytes: fc.uint8Array({ maxLength: 16 }) }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("cut" as const), at: fc.nat(good.length) }) },
    ),
    { minLength: 1, maxLength: 4 },
  );
  return changes.map((list) => {
    let bytes = Buffer.from(good);
    for (const change of list) {
      const place = Math.min(change.at, bytes.length);
      const end = "length" in change ? Math.min(bytes.length, place + change.length) : place;
      if (change.kind === "byte" && place < bytes.length) bytes[place] = change.value;
      else if (change.kind === "field" && place + 8 <= bytes.length) bytes.writeBigUInt64LE(change.value, place);
      else if (change.kind === "remove") bytes = Buffer.concat([bytes.subarray(0, place), bytes.subarray(end)]);
      else if (change.kind === "double") bytes = Buffer.concat([bytes.subarray(0, end), bytes.subarray(place)]);
      else if (change.kind === "insert")
        bytes = Buffer.concat([bytes.subarray(0, place), change.bytes, bytes.subarray(place)]);
      else if (change.kind === "cut") bytes = bytes.subarray(0, place);
    }
    return bytes;
  });
}

const oddTexts = [
  "",
  " ",
  "__proto__",
  "constructor",
  "\u0000",
  "\u001b[31m",
  "\ud800",
  "../../etc/passwd",
  "x".repeat(5000),
  "NaN",
];
const oddNumbers = [0, -0, -1, 1, 0.5, 2 ** 31, 2 ** 53, -(2 ** 53), 1e308, Number.MAX_VALUE, 5e-324];

/** A value that nobody expects where it stands. */
const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(null, true, false, [], {}, [[]], ...oddTexts, ...oddNumbers),
  fc.jsonValue({ maxDepth: 3 }),
  fc.integer({ min: 1, max: 300 }).map((depth) => JSON.parse(`${"[".repeat(depth)}${"]".repeat(depth)}`) as unknown),
);

/** A good JSON value with some of its parts replaced, removed or doubled; no two inputs share a part. */
export function mutatedJson(good: unknown): fc.Arbitrary<unknown> {
  const change = fc.record({
    path: fc.array(fc.nat(10_000), { minLength: 0, maxLength: 8 }),
    value: oddValue,
    kind: fc.nat(3),
  });
  return fc.array(change, { minLength: 1, maxLength: 3 }).map((changes) => {
    let root = structuredClone(good);
    for (const { path, value, kind } of changes) root = mutate(root, path, structuredClone(value), kind);
    return root;
  });
}

function mutate(node: unknown, path: readonly number[], value: unknown, kind: number): unknown {
  const [step, ...rest] = path;
  if (step === undefined || typeof node !== "object" || node === null) return value;
  const keys = Object.keys(node);
  if (keys.length === 0) return value;
  const key = keys[step % keys.length] as string;
  const container = node as Record<string, unknown>;
  if (rest.length > 0 || kind === 0) {
    container[key] = mutate(container[key], rest, value, kind);
    return node;
  }
  if (kind === 1) delete container[key];
  else if (kind === 2 && Array.isArray(node)) node.push(structuredClone(container[key]));
  else container[key] = value;
  return node;
}

/** Bytes of JSON: of mutated values, and of good ones with bytes changed. */
export function damagedJson(good: unknown): fc.Arbitrary<Buffer> {
  return fc.oneof(
    mutatedJson(good).map((value) => Buffer.from(JSON.stringify(value) ?? "")),
    damaged(Buffer.from(JSON.stringify(good))),
  );
}
