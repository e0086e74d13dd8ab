/**
 * Parquet in a thread of its own. The library trusts what a file says of itself: a damaged one can make it loop for ever,
 * fill the memory, or fail where nobody waits for it. Here such a file costs a thread, which is ended, and not the process.
 */
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { AbortError, throwIfAborted } from "../core/errors.ts";

/** What a file says of itself. */
export interface ParquetShape {
  /** Rows of each row group. */
  groups: number[];
  /** Top-level columns, in the file's order. */
  columns: string[];
}

/** Reading that takes longer than this for a file of so many bytes has no end. */
const limitMs = (fileBytes: number): number => 10_000 + fileBytes / 100;
/** JavaScript objects that a row group may become, in MiB. */
const heapMib = (fileBytes: number): number => Math.min(16_384, 512 + (100 * fileBytes) / 2 ** 20);
/** The thread of a file up to this size is kept for the next. */
const smallBytes = 2 ** 20;

/** Runs in the thread; plain JavaScript, since a thread's program is not compiled. */
const program = `
const { parentPort, workerData } = require("node:worker_threads");
// Of several columns that fail, all but the first are waited for by nobody.
process.on("unhandledRejection", () => {});
const loading = Promise.all(workerData.libraries.map((url) => import(url)));
let open;
loading.then(() => parentPort.postMessage({ ready: true }));
parentPort.on("message", async ({ path, group, columns }) => {
  try {
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
      return parentPort.postMessage({ value: { groups, columns: names } });
    }
    const rowStart = groups.slice(0, group).reduce((sum, rows) => sum + rows, 0);
    const options = { file, metadata, compressors, rowStart, rowEnd: rowStart + groups[group] };
    parentPort.postMessage({ value: await parquetReadObjects(columns ? { ...options, columns } : options) });
  } catch (error) {
    parentPort.postMessage({ failure: String((error && error.message) || error) });
  }
});
`;

/** A thread that has nothing to do. */
let idle: Worker | undefined;

function startWorker(fileBytes: number): Worker {
  const { resolve } = createRequire(import.meta.url);
  const libraries = ["hyparquet", "hyparquet-compressors"].map((name) => pathToFileURL(resolve(name)).href);
  const worker = new Worker(program, {
    eval: true,
    workerData: { libraries },
    resourceLimits: { maxOldGenerationSizeMb: heapMib(fileBytes) },
    execArgv: [],
  });
  worker.unref();
  return worker;
}

/** One parquet file, read in a thread. */
export class ParquetThread {
  private readonly path: string;
  private readonly fileBytes: number;
  private readonly worker: Worker;
  private readonly ready: Promise<void>;
  private isBroken = false;

  constructor(path: string, fileBytes: number) {
    this.path = path;
    this.fileBytes = fileBytes;
    const known = fileBytes <= smallBytes ? idle : undefined;
    if (known) idle = undefined;
    this.worker = known ?? startWorker(Math.max(fileBytes, smallBytes));
    // The first message of a thread says that its libraries are there; how long that takes is not the file's fault.
    this.ready = known
      ? Promise.resolve()
      : new Promise((done, fail) => this.worker.once("message", () => done()).once("error", fail));
  }

  /** @throws Error in the library's words, or ours where it had to be ended */
  async readShape(signal?: AbortSignal): Promise<ParquetShape> {
    return (await this.ask({ path: this.path }, signal)) as ParquetShape;
  }

  /** Rows of the row group at `group`, values as the library has them. @throws Error as {@link readShape}; AbortError */
  async readGroup(
    group: number,
    columns: readonly string[] | undefined,
    signal?: AbortSignal,
  ): Promise<Record<string, unknown>[]> {
    return (await this.ask({ path: this.path, group, columns }, signal)) as Record<string, unknown>[];
  }

  async close(): Promise<void> {
    if (this.isBroken || this.fileBytes > smallBytes || idle) await this.worker.terminate();
    else idle = this.worker;
  }

  private async ask(request: object, signal: AbortSignal | undefined): Promise<unknown> {
    const { worker } = this;
    throwIfAborted(signal);
    // A thread that waits must not keep the process from ending, and one that works must.
    worker.ref();
    try {
      await this.ready;
      return await this.exchange(request, signal);
    } catch (error) {
      this.isBroken ||= !(error instanceof FileFault);
      throw error;
    } finally {
      worker.unref();
    }
  }

  private exchange(request: object, signal: AbortSignal | undefined): Promise<unknown> {
    const { worker } = this;
    const longestMs = limitMs(this.fileBytes);
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        worker.off("message", onMessage).off("error", onError).off("exit", onExit);
        settle();
      };
      const fail = (error: Error): void => end(() => reject(error));
      const onAbort = (): void => fail(new AbortError());
      const onMessage = ({ value, failure }: { value?: unknown; failure?: string }): void =>
        failure === undefined ? end(() => resolve(value)) : fail(new FileFault(failure));
      const onError = (error: NodeJS.ErrnoException): void =>
        fail(error.code === "ERR_WORKER_OUT_OF_MEMORY" ? new Error("it asks for more memory than it may have") : error);
      const onExit = (code: number): void => fail(new Error(`reading it ended with ${code}`));
      const timer = setTimeout(
        () => fail(new Error(`it takes longer than ${Math.round(longestMs / 1000)} s to read`)),
        longestMs,
      );
      signal?.addEventListener("abort", onAbort, { once: true });
      worker.on("message", onMessage).on("error", onError).on("exit", onExit);
      worker.postMessage(request);
    });
  }
}

/** What the library says of a file; the thread can be used again. */
class FileFault extends Error {}
