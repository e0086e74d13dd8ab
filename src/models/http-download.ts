/** Fetches a file over HTTP into the file system: resumable, checked, and in place only when it is whole. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { AbortError, throwIfAborted } from "../core/errors.ts";
import { describeNetworkError, PullFailure } from "./pull-failure.ts";

export interface ExpectedFile {
  byteLength: number;
  /** Of the contents; null where it isn't known. */
  sha256: string | null;
  /** Git's blob id (SHA-1 over a header and the contents); null where it isn't known. */
  gitBlobId: string | null;
}

export interface RequestOptions {
  headers?: Readonly<Record<string, string>>;
  signal?: AbortSignal | undefined;
  /** Until the server's first answer. Default 5,000. */
  connectTimeoutMs?: number | undefined;
  /** Longest silence within an answer. Default 60,000. */
  idleTimeoutMs?: number | undefined;
  /** Before the second attempt; doubled for each further one. Default 500. */
  retryDelayMs?: number | undefined;
}

/** Requests for one answer, the first included. */
export const maxAttempts = 4;
const defaultIdleTimeoutMs = 60_000;

/**
 * One GET; redirects are followed, and the authorization header stays with its own server.
 * @throws PullFailure without an answer or with a status other than `accepted`; AbortError
 */
export async function request(
  url: string,
  accepted: readonly number[],
  options: RequestOptions,
): Promise<{ response: Response; body: AsyncIterable<Uint8Array> }> {
  const controller = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, controller.signal]) : controller.signal;
  const timeoutMs = options.connectTimeoutMs ?? 5000;
  const timer = setTimeout(() => controller.abort(), timeoutMs);
  let response: Response;
  try {
    response = await fetch(url, { headers: { ...options.headers }, signal });
  } catch (cause) {
    throwIfAborted(options.signal);
    const reason = controller.signal.aborted ? `no answer within ${timeoutMs} ms` : describeNetworkError(cause);
    throw new PullFailure(`${url}: ${reason}`, { retryable: true, cause });
  } finally {
    clearTimeout(timer);
  }
  if (!accepted.includes(response.status)) {
    controller.abort();
    throw refusal(url, response.status, options.headers?.Authorization !== undefined);
  }
  return { response, body: readBody(url, response, controller, options) };
}

function refusal(url: string, status: number, withToken: boolean): PullFailure {
  const hint =
    status === 401 || status === 403
      ? withToken
        ? ": HF_TOKEN isn't accepted, or its account hasn't agreed to the model's terms"
        : ": set HF_TOKEN to an access token whose account may read the model"
      : status === 404
        ? ": there is no such model or file"
        : "";
  return new PullFailure(`${url}: HTTP ${status}${hint}`, {
    retryable: status === 429 || status >= 500,
    isAnswered: true,
  });
}

async function* readBody(
  url: string,
  response: Response,
  controller: AbortController,
  options: RequestOptions,
): AsyncGenerator<Uint8Array> {
  const idleMs = options.idleTimeoutMs ?? defaultIdleTimeoutMs;
  let timer = setTimeout(() => controller.abort(), idleMs);
  try {
    for await (const chunk of response.body ?? []) {
      clearTimeout(timer);
      yield chunk as Uint8Array;
      timer = setTimeout(() => controller.abort(), idleMs);
    }
  } catch (cause) {
    throwIfAborted(options.signal);
    const reason = controller.signal.aborted ? `nothing came for ${idleMs} ms` : describeNetworkError(cause);
    throw new PullFailure(`${url}: the answer broke off: ${reason}`, { retryable: true, isAnswered: true, cause });
  } finally {
    clearTimeout(timer);
    // Whoever leaves early must not leave the connection open.
    controller.abort();
  }
}

/**
 * Downloads `url` to `path`, unless it is there already with the due size and hash. Until it is whole and both are right
 * it is `path` + ".part", from which a later call goes on.
 * @param onBytes called with how many bytes of the file are there
 * @returns the file's SHA-256
 * @throws PullFailure, AbortError; errors of the file system as they come
 */
export async function downloadFile(
  url: string,
  path: string,
  expected: ExpectedFile,
  onBytes: (bytes: number) => void,
  options: RequestOptions = {},
): Promise<string> {
  const found = await findWhole(path, expected);
  if (found !== null) {
    onBytes(expected.byteLength);
    return found;
  }
  const part = `${path}.part`;
  for (let attempt = 1; ; attempt++) {
    throwIfAborted(options.signal);
    const resumed = await fileSize(part);
    try {
      await fetchPart(url, part, resumed, expected.byteLength, onBytes, options);
      const sha256 = await verifyFile(part, expected, url);
      await syncAndRename(part, path);
      return sha256;
    } catch (error) {
      if (!(error instanceof PullFailure) || attempt === maxAttempts) throw error;
      const isMismatch = error instanceof Mismatch;
      if (isMismatch) await rm(part, { force: true });
      // A mismatch may come of a bad beginning that was left by an earlier run; a fresh copy decides.
      if (!(error.retryable || (isMismatch && resumed > 0))) throw error;
      await pauseAfter(attempt, options);
    }
  }
}

/** The SHA-256 of a file that an earlier call has finished; null where there is none, or it isn't what is due. */
async function findWhole(path: string, expected: ExpectedFile): Promise<string | null> {
  if (expected.byteLength === 0 || (await fileSize(path)) !== expected.byteLength) return null;
  try {
    return await verifyFile(path, expected, path);
  } catch (error) {
    if (error instanceof Mismatch) return null;
    throw error;
  }
}

class Mismatch extends PullFailure {}

async function fetchPart(
  url: string,
  part: string,
  resumed: number,
  byteLength: number,
  onBytes: (bytes: number) => void,
  options: RequestOptions,
): Promise<void> {
  if (resumed === byteLength) return onBytes(byteLength);
  if (resumed > byteLength) throw new Mismatch(`${url}: ${resumed} bytes came where ${byteLength} were due`);
  const range = resumed > 0 ? { Range: `bytes=${resumed}-` } : {};
  // Compressed answers have other lengths and can't be resumed.
  const headers = { ...options.headers, ...range, "Accept-Encoding": "identity" };
  // The server has been reached before; a large file may take it longer to begin.
  const patient = { ...options, headers, connectTimeoutMs: options.idleTimeoutMs ?? defaultIdleTimeoutMs };
  const { response, body } = await request(url, resumed > 0 ? [200, 206] : [200], patient);
  const continues = response.status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${resumed}-`);
  const handle = await open(part, continues ? "a" : "w");
  let size = continues ? resumed : 0;
  try {
    for await (const chunk of body) {
      size += chunk.length;
      if (size > byteLength) throw new Mismatch(`${url}: more than the due ${byteLength} bytes came`);
      await handle.writeFile(chunk);
      onBytes(size);
    }
  } finally {
    await handle.close();
  }
  if (size < byteLength) {
    throw new PullFailure(`${url}: the answer ended after ${size} of ${byteLength} bytes`, { retryable: true });
  }
}

/**
 * Checks a file's size and hash.
 * @param source what it was made from, for messages
 * @returns its SHA-256
 * @throws PullFailure
 */
export async function verifyFile(path: string, expected: ExpectedFile, source: string): Promise<string> {
  const size = await fileSize(path);
  if (size !== expected.byteLength) {
    throw new Mismatch(`${source}: ${size} bytes came where ${expected.byteLength} were due`);
  }
  const { sha256, gitBlobId } = await hashFile(path, size);
  for (const [kind, due, got] of [
    ["SHA-256", expected.sha256, sha256],
    ["git blob id", expected.gitBlobId, gitBlobId],
  ]) {
    if (due && got !== due) throw new Mismatch(`${source}: its ${kind} is ${got}, and it must be ${due}`);
  }
  return sha256;
}

/** SHA-256 and git blob id of a file, as hexadecimal digits. */
export async function hashFile(path: string, byteLength: number): Promise<{ sha256: string; gitBlobId: string }> {
  const sha256 = createHash("sha256");
  const git = createHash("sha1").update(`blob ${byteLength}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
    sha256.update(chunk as Buffer);
    git.update(chunk as Buffer);
  }
  return { sha256: sha256.digest("hex"), gitBlobId: git.digest("hex") };
}

/** Moves a finished file into place after its bytes are on the disk. */
export async function syncAndRename(from: string, to: string): Promise<void> {
  const handle = await open(from, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(from, to);
}

/** Bytes of a file; 0 where there is none. */
async function fileSize(path: string): Promise<number> {
  const stats = await stat(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  });
  return stats?.size ?? 0;
}

/** Waits before the next attempt. @throws AbortError */
export async function pauseAfter(attempt: number, { retryDelayMs = 500, signal }: RequestOptions): Promise<void> {
  try {
    await sleep(retryDelayMs * 2 ** (attempt - 1), undefined, signal ? { signal } : {});
  } catch {
    throw new AbortError();
  }
}
