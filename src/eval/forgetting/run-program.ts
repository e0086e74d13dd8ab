/**
 * Runs a generated program in a process of its own, under limits: time, memory, file size, no environment, an empty
 * folder that is deleted. It is still code that a model wrote: only run it where nothing can be lost.
 */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EngineError } from "../../core/errors.ts";

export interface RunLimits {
  /** Default 10. */
  seconds?: number;
  /** Address space, in megabytes. Default 512. */
  megabytes?: number;
  /** Default `python3`. */
  python?: string;
}

/**
 * Sets the limits from inside, before the program is read: they hold for it and for what it starts. A program has no
 * name, as in HumanEval's own harness, so that what it keeps for `__main__` isn't run. One that was run to its last line
 * is told by a file of a name that it can't know: its exit code is 0, too, where it left before its check.
 */
const runner = `
import os, resource, sys
seconds, size = int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (size, size))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with open("token") as file:
    proof = os.path.abspath(file.read())
os.remove("token")
os.environ.clear()
with open(sys.argv[1]) as file:
    source = file.read()
exec(compile(source, "program.py", "exec"), {})
open(proof, "x").close()
`;

/**
 * Whether a program runs to its last line and ends without an error, within its limits.
 * @throws EngineError `NO_PYTHON` when Python can't be started
 */
export async function runsClean(program: string, limits: RunLimits = {}): Promise<boolean> {
  const { seconds = 10, megabytes = 512, python = "python3" } = limits;
  const folder = await mkdtemp(join(tmpdir(), "rec-r1-program-"));
  try {
    const path = join(folder, "program.py");
    await writeFile(path, program);
    const token = randomUUID();
    await writeFile(join(folder, "token"), token);
    const child = spawn(
      python,
      ["-I", "-S", "-c", runner, path, String(Math.ceil(seconds)), String(megabytes * 2 ** 20)],
      {
        cwd: folder,
        // Where Python is looked for. Everything else may be secret, and the program doesn't see this either.
        env: process.env.PATH === undefined ? {} : { PATH: process.env.PATH },
        stdio: "ignore",
        // A group of its own, so that whatever it started ends with it.
        detached: true,
      },
    );
    const stop = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        child.kill("SIGKILL");
      }
    };
    const timer = setTimeout(stop, seconds * 1000);
    try {
      return await new Promise<boolean>((resolve, reject) => {
        child.once("error", (cause) =>
          reject(
            new EngineError(
              "NO_PYTHON",
              `Programs are run by ${python}, which could not be started: ${cause.message}.`,
              { cause },
            ),
          ),
        );
        child.once("close", (code) => resolve(code === 0 && existsSync(join(folder, token))));
      });
    } finally {
      clearTimeout(timer);
      stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
