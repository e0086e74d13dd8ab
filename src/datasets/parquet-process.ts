/**
 * Parquet in a process of its own. The library trusts what a file says of itself: a damaged one can make it loop for ever,
 * fail where nobody waits for it, or ask for so much memory at once that Node ends the whole process, thread or not. Here
 * such a file costs the process that reads it.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { AbortError, DataError, throwIfAborted } from "../core/errors.ts";

/** What a file says of itself. */
export interface ParquetShape {
  /** Rows of each row group. */
  groups: number[];
  /** Top-level columns, in the file's order. */
  columns: string[];
}

/** Reading that takes more of the processor's time than this for a file of so many bytes has no end. */
const cpuLimitMs = (fileBytes: number): number => Math.min(2 ** 31 - 1, Math.round(3000 + fileBytes / 100));
/** And that takes so much time by the clock waits for a disk that doesn't answer. */
const limitMs = (fileBytes: number): number => 60_000 + fileBytes / 100;
/** JavaScript objects that a row group may become, in MiB. */
const heapMib = (fileBytes: number): number => Math.ceil(Math.min(16_384, 512 + (100 * fileBytes) / 2 ** 20));
/** The process of a file up to this size is kept for the next, */
const smallBytes = 2 ** 20;
/** but not for longer than this. */
const idleMs = 5000;

interface Request {
  /** Row group whose rows are asked for; without one, the shape. */
  group?: number;
  columns?: readonly string[] | undefined;
}

type Answer =
  /** The libraries are there. */
  | { kind: "ready" }
  /** The next rows of a row group. */
  | { kind: "rows"; rows: Record<string, unknown>[] }
  /** The last of an answer; `shape` where that was asked for. */
  | { kind: "done"; shape?: ParquetShape }
  | { kind: "failure"; message: string };

/**
 * Runs in the process; plain JavaScript, since it is not compiled. Its arguments are the libraries' addresses. After
 * `cpuLimitMs` of a request it ends itself, whether whoever asked is still there or not.
 */
const program = `
const { Worker } = require("node:worker_threads");
// Of several columns that fail, all but the first are waited for by nobody.
process.on("unhandledRejection", () => {});
// Ctrl-C is for whoever asked, who ends this process when it is time.
process.on("SIGINT", () => {});
process.on("disconnect", () => process.exit());
// A loop without end is ended by a thread. Of the two numbers one says which request is worked on, 0 for none, the other
// how much time it may take.
const watched = new Int32Array(new SharedArrayBuffer(8));
const watch = \`
  const { workerData: watched } = require("node:worker_threads");
  const usedMs = () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  };
  for (;;) {
    Atomics.wait(watched, 0, 0);
    const request = Atomics.load(watched, 0);
    const endMs = usedMs() + Atomics.load(watched, 1);
    while (request > 0 && Atomics.load(watched, 0) === request) {
      if (usedMs() > endMs) process.kill(process.pid, process.platform === "win32" ? "SIGKILL" : "SIGXCPU");
      Atomics.wait(watched, 0, request, 200);
    }
  }
\`;
new Worker(watch, { eval: true, workerData: watched }).unref();
let requests = 0;
function workOn(request) {
  Atomics.store(watched, 0, request);
  Atomics.notify(watched, 0);
}
const send = (message) => new Promise((sent) => process.send(message, sent));
const failure = (error) => ({ kind: "failure", message: String((error && error.message) || error) });
const loading = Promise.all(process.argv.slice(1).map((url) => import(url)));
loading.then(() => send({ kind: "ready" }), (error) => send(failure(error)));
let open;
async function read({ path, group, columns }) {
  const [{ asyncBufferFromFile, parquetMetadataAsync, parquetSchema, parquetReadObjects }, { compressors }] = await loading;
  if (!open || open.path !== path || group === undefined) {
    const file = await asyncBufferFromFile(path);
    const metadata = await parquetMetadataAsync(file);
    open = { path, file, metadata };
  }
  const { file, metadata } = open;
  const groups = metadata.row_groups.map(({ num_rows }) => Number(num_rows));
  if (group === undefined) {
    const names = parquetSchema(metadata).children.map(({ element }) => element.name);
    return { kind: "done", shape: { groups, columns: names } };
  }
  const rowStart = groups.slice(0, group).reduce((sum, rows) => sum + rows, 0);
  const options = { file, metadata, compressors, rowStart, rowEnd: rowStart + groups[group] };
  const rows = await parquetReadObjects(columns ? { ...options, columns } : options);
  for (let at = 0; at < rows.length; at += 5000) await send({ kind: "rows", rows: rows.slice(at, at + 5000) });
  return { kind: "done" };
}
process.on("message", async (request) => {
  Atomics.store(watched, 1, request.cpuLimitMs);
  workOn(++requests);
  const answer = await read(request).catch(failure);
  // Before the answer, which may bring the next request.
  workOn(0);
  await send(answer);
});
`;

/** A process that has nothing to do. */
let idle: ChildProcess | undefined;

function start(fileBytes: number): ChildProcess {
  const { resolve } = createRequire(import.meta.url);
  const libraries = ["hyparquet", "hyparquet-compressors"].map((name) => pathToFileURL(resolve(name)).href);
  const child = spawn(
    process.execPath,
    [`--max-old-space-size=${heapMib(fileBytes)}`, "-e", program, "--", ...libraries],
    { stdio: ["ignore", "ignore", "ignore", "ipc"], serialization: "advanced", windowsHide: true },
  );
  hold(child, false);
  // Without a listener, what happens to a process that has nothing to do would end ours.
  child.on("error", () => {});
  return child;
}

const isOver = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null;

/** A process that waits must not keep ours from ending, and one that works must. */
function hold(child: ChildProcess, isHeld: boolean): void {
  for (const handle of [child, child.channel])
    if (isHeld) handle?.ref();
    else handle?.unref();
}

/** One parquet file, read in a process. */
export class ParquetProcess {
  private readonly path: string;
  private readonly fileBytes: number;
  private readonly child: ChildProcess;
  private isReady: boolean;
  private isBroken = false;

  constructor(path: string, fileBytes: number) {
    this.path = path;
    this.fileBytes = fileBytes;
    const known = fileBytes <= smallBytes && idle && !isOver(idle) ? idle : undefined;
    if (known) idle = undefined;
    this.isReady = known !== undefined;
    this.child = known ?? start(Math.max(fileBytes, smallBytes));
  }

  /** @throws Error in the library's words, or ours where it had to be ended; DataError `DATA_NO_READER` */
  async readShape(signal?: AbortSignal): Promise<ParquetShape> {
    const { shape } = await this.ask({}, signal);
    return shape as ParquetShape;
  }

  /** Rows of the row group at `group`, values as the library has them. @throws Error as {@link readShape}; AbortError */
  async readGroup(
    group: number,
    columns: readonly string[] | undefined,
    signal?: AbortSignal,
  ): Promise<Record<string, unknown>[]> {
    const { rows } = await this.ask({ group, columns }, signal);
    return rows;
  }

  close(): void {
    const { child } = this;
    if (this.isBroken || this.fileBytes > smallBytes || (idle && !isOver(idle))) {
      child.kill("SIGKILL");
      return;
    }
    idle = child;
    setTimeout(() => {
      if (idle !== child) return;
      idle = undefined;
      child.kill("SIGKILL");
    }, idleMs).unref();
  }

  private async ask(request: Request, signal: AbortSignal | undefined): Promise<Found> {
    throwIfAborted(signal);
    hold(this.child, true);
    try {
      return await this.exchange(request, signal);
    } catch (error) {
      this.isBroken ||= !(error instanceof FileFault);
      throw error;
    } finally {
      hold(this.child, false);
    }
  }

  private exchange(request: Request, signal: AbortSignal | undefined): Promise<Found> {
    const { child, path, fileBytes } = this;
    const rows: Record<string, unknown>[] = [];
    let timer: NodeJS.Timeout | undefined;
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        child.off("message", onMessage).off("error", onError).off("exit", onExit);
        settle();
      };
      const fail = (error: Error): void => end(() => reject(error));
      const onAbort = (): void => fail(new AbortError());
      const onMessage = (answer: Answer): void => {
        if (answer.kind === "ready") begin();
        else if (answer.kind === "rows") for (const row of answer.rows) rows.push(row);
        else if (answer.kind === "done") end(() => resolve({ rows, shape: answer.shape }));
        else fail(this.isReady ? new FileFault(answer.message) : noReader(path, answer.message));
      };
      const onError = (error: Error): void => fail(noReader(path, error.message, error));
      const onExit = (code: number | null, signalName: string | null): void => {
        // Someone ends the processes of a group, this one before ours.
        if (["SIGINT", "SIGTERM", "SIGHUP"].includes(signalName ?? "")) return fail(new AbortError());
        fail(new Error(endings.get(signalName ?? code ?? 0) ?? `reading it ended with ${signalName ?? code}`));
      };
      /** How long a process takes to start is not the file's fault. */
      const begin = (): void => {
        this.isReady = true;
        const longestMs = limitMs(fileBytes);
        const message = `it takes longer than ${Math.round(longestMs / 1000)} s to read`;
        timer = setTimeout(() => fail(new Error(message)), longestMs);
        child.send({ ...request, path, cpuLimitMs: cpuLimitMs(fileBytes) });
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      child.on("message", onMessage).on("error", onError).on("exit", onExit);
      if (isOver(child)) onExit(child.exitCode, child.signalCode);
      else if (this.isReady) begin();
    });
  }
}

const full = "it asks for more memory than it may have";
/** How a process ends that a file was too much for: where a heap is full V8 aborts, which is a signal or a code. */
const endings = new Map<string | number, string>([
  ["SIGABRT", full],
  [134, full],
  ["SIGXCPU", "it takes more time to read than any file of its size"],
]);

interface Found {
  rows: Record<string, unknown>[];
  shape: ParquetShape | undefined;
}

/** What the library says of a file; the process can be used again. */
class FileFault extends Error {}

function noReader(path: string, reason: string, cause?: Error): DataError {
  const message = `${path}: parquet is read in a process of its own, which couldn't be started (${reason}).`;
  return new DataError("DATA_NO_READER", message, { cause, details: { path } });
}
