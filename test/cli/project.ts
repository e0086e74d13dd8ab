/** A small project on disk (catalogue, examples, task file, random model) and the command line run in it. */
import { spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { wordLetters, writeTinyModelFolder } from "../support/tiny-model-folder.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const require = createRequire(import.meta.url);
const jiti = join(dirname(require.resolve("jiti/package.json")), "lib/jiti-register.mjs");

const taskFile = `
import { join } from "node:path";
import { defineTask, ndcg, type TaskContext } from "rec-r1";
import { LanceDbRecommender } from "rec-r1/recommenders/lancedb";

export const recommender = ({ data }: TaskContext) =>
  LanceDbRecommender.fromJsonl(join(data ?? ".", "catalogue.jsonl"), { text: ["title"] });

// The raw words find nothing and the splits are the same file, which the doctor would refuse.
export const config = { doctor: false, maxTokens: 4, promptsPerStep: 4, groupSize: 8, learningRate: 0.05, warmupSchedule: "linear", evalEvery: 2, evalLimit: 4 };

export default ({ data }: TaskContext) =>
  defineTask({
    name: "letters",
    data: {
      train: join(data ?? ".", "examples.jsonl"),
      valid: join(data ?? ".", "examples.jsonl"),
      test: join(data ?? ".", "examples.jsonl"),
    },
    prompt: ({ query }) => query,
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : -0.5),
  });
`;

/** Writes the project to `folder`: items titled by one letter, asked for by its double. */
export async function writeProject(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const lines = (records: readonly unknown[]): string =>
    records.map((record) => `${JSON.stringify(record)}\n`).join("");
  await writeFile(join(folder, "catalogue.jsonl"), lines(wordLetters.map((letter) => ({ id: letter, title: letter }))));
  const examples = wordLetters.map((letter) => ({ query: `${letter}${letter}`, relevant: [letter] }));
  await writeFile(join(folder, "examples.jsonl"), lines(examples));
  await writeFile(join(folder, "task.ts"), taskFile);
  await writeTinyModelFolder(join(folder, "model"));
}

export interface CliResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/**
 * Runs the command line from its sources in a process of its own.
 * @param options.interrupt sends the signal, or calls the function, when stderr or stdout shows the text
 * @param options.hangUpOn nobody reads what it says once this text is there
 * @param options.limits what a shell does to itself before the process takes its place, such as `ulimit -n 64`
 */
export async function runProcess(
  folder: string,
  args: readonly string[],
  {
    interrupt,
    hangUpOn,
    limits,
    nodeOptions = "",
  }: {
    interrupt?: { on: RegExp; signal: NodeJS.Signals | ((pid: number) => void) };
    hangUpOn?: RegExp;
    limits?: string;
    nodeOptions?: string;
  } = {},
): Promise<CliResult> {
  const main = join(root, "src/cli/main.ts");
  const command = [process.execPath, "--import", pathToFileURL(jiti).href, main, ...args];
  const [program = "", ...rest] =
    limits === undefined ? command : ["sh", "-c", `${limits}; exec "$0" "$@"`, ...command];
  const child = spawn(program, rest, {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", NODE_OPTIONS: nodeOptions },
  });
  let [stdout, stderr] = ["", ""];
  let sent = false;
  const interruptWhenDue = (): void => {
    if (hangUpOn?.test(stderr)) for (const output of [child.stdout, child.stderr]) output.destroy();
    if (!interrupt || sent || !(interrupt.on.test(stderr) || interrupt.on.test(stdout))) return;
    sent = true;
    if (typeof interrupt.signal === "string") child.kill(interrupt.signal);
    else interrupt.signal(child.pid as number);
  };
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
    interruptWhenDue();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
    interruptWhenDue();
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, stdout, stderr };
}
