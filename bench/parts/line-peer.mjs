// A peer in a process of its own, which does a round of work for each line "go" and answers with a line of JSON.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Starts `command` and waits for its first line. `round()` resolves to what it reports of one. */
export async function startPeer(name, command, args, env = {}) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...env } });
  let errors = "";
  child.stderr.on("data", (chunk) => (errors = (errors + String(chunk)).slice(-4000)));
  child.stdin.on("error", () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    for (;;) {
      const { value, done } = await lines.next();
      if (done) throw new Error(`${name} ended early:\n${errors}`);
      if (value.startsWith("{")) return JSON.parse(value);
    }
  };
  await next();
  return {
    async round() {
      child.stdin.write("go\n");
      return next();
    },
    async close() {
      child.stdin.end();
      if (child.exitCode === null) await new Promise((resolve) => child.once("exit", resolve));
    },
  };
}
