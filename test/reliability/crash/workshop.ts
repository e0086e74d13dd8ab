/**
 * What a run that gets killed works with: a small project (catalogue, examples, task file), a model hub on this machine
 * that has a random model, and rec-r1 in a process of its own that can be killed at a given moment.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { wordLetters, writeTinyModelFolder } from "../../support/tiny-model-folder.ts";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../../..");
const jiti = join(dirname(createRequire(import.meta.url).resolve("jiti/package.json")), "lib/jiti-register.mjs");

/** What a process was doing when it was killed. */
export const phases = [
  "model pull",
  "index build",
  "sampling",
  "backward",
  "optimizer",
  "checkpoint write",
  "metrics append",
  "record write",
] as const;
export type Phase = (typeof phases)[number];

export interface Kill {
  phase: Phase;
  /** Which time that the phase begins; 1 is the first. */
  occurrence: number;
  /** Of a file operation, or microseconds after the phase began. */
  moment: "before" | "half" | "after" | number;
}

export interface Attempt {
  /** The exit code; null where it was killed. */
  code: number | null;
  stderr: string;
  /** What was under way at the kill. */
  killed: string | undefined;
  /** Microseconds that every part of a phase took, in order; only where nothing was to be killed. */
  spans: { phase: string; us: number }[];
}

/** Whose code runs: the package as built, or its sources. */
export type Tree = "dist" | "src";

const taskFile = `
import { join } from "node:path";
import { defineTask, ndcg } from "rec-r1";
import { LanceDbRecommender } from "rec-r1/recommenders/lancedb";

const path = (data, name) => join(data, name);
export const recommender = ({ data }) =>
  LanceDbRecommender.fromJsonl(path(data, "catalogue.jsonl"), { text: ["title"], indexDir: path(data, "index") });

export const config = {
  doctor: false, steps: 10, promptsPerStep: 4, groupSize: 8, maxTokens: 4, learningRate: 0.05, epochsPerBatch: 2,
  warmupSteps: 2, warmupBatch: 4, evalEvery: 3, evalLimit: 4, checkpointEvery: 2, keepCheckpoints: 2,
};

export default ({ data }) =>
  defineTask({
    name: "letters",
    data: { train: path(data, "examples.jsonl"), valid: path(data, "examples.jsonl") },
    prompt: ({ query }) => query,
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : -0.5),
    warmup: {
      examples: ({ task, train }) =>
        train.slice(0, 8).map(({ example }) => ({ messages: task.prompt(example), completion: " " + example.relevant[0] })),
    },
  });
`;

/** Writes the project of one trial to `folder`. */
export async function writeTrial(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const lines = (records: readonly unknown[]): string =>
    records.map((record) => `${JSON.stringify(record)}\n`).join("");
  const items = wordLetters.flatMap((letter) =>
    Array.from({ length: 4 }, (_, i) => ({ id: `${letter}${i}`, title: letter })),
  );
  await writeFile(join(folder, "catalogue.jsonl"), lines(items));
  const examples = wordLetters.map((letter) => ({
    query: `${letter}${letter}`,
    relevant: [`${letter}1`, `${letter}3`],
  }));
  await writeFile(join(folder, "examples.jsonl"), lines(examples));
  await writeFile(join(folder, "task.mjs"), taskFile);
}

/** A model hub that has one model, whose weights come in several pieces. */
export async function startHub(modelFolder: string): Promise<{ endpoint: string; close: () => Promise<void> }> {
  await writeTinyModelFolder(modelFolder);
  const files = new Map<string, Buffer>();
  for (const name of await readdir(modelFolder)) files.set(name, await readFile(join(modelFolder, name)));
  const hash = (algorithm: string, ...parts: (string | Buffer)[]): string =>
    parts.reduce((sum, part) => sum.update(part), createHash(algorithm)).digest("hex");
  const siblings = [...files].map(([rfilename, bytes]) => ({
    rfilename,
    size: bytes.length,
    blobId: hash("sha1", `blob ${bytes.length}\0`, bytes),
    ...(rfilename.endsWith(".safetensors") ? { lfs: { sha256: hash("sha256", bytes), size: bytes.length } } : {}),
  }));
  const server = createServer((request, response) => {
    const { url = "/" } = request;
    if (url.startsWith("/api/")) return void response.end(JSON.stringify({ sha: "0123456789abcdef", siblings }));
    const bytes = files.get(url.slice(url.lastIndexOf("/") + 1));
    if (!bytes) return void response.writeHead(404).end();
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const range = { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
    response.writeHead(from > 0 ? 206 : 200, from > 0 ? range : {});
    void (async () => {
      for (let at = from; at < bytes.length; at += 4096) {
        response.write(bytes.subarray(at, at + 4096));
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      response.end();
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Trains in a process of its own, or takes up again what is in the trial's folder; killed as `kill` says. */
export async function attemptTraining(
  folder: string,
  { tree, endpoint, kill }: { tree: Tree; endpoint: string; kill: Kill | undefined },
): Promise<Attempt> {
  const extension = tree === "dist" ? "js" : "ts";
  const main = join(root, tree, `cli/main.${extension}`);
  const preloads = [...(tree === "src" ? [jiti] : []), join(here, "preload.mjs")];
  const args = [
    ...preloads.flatMap((path) => ["--import", pathToFileURL(path).href]),
    main,
    ...["train", "task.mjs", "--data", folder, "--model", "smollm2-135m-instruct", "--threads", "1"],
    ...["--run", join(folder, "run"), "--resume"],
  ];
  const child = spawn(process.execPath, args, {
    cwd: folder,
    stdio: ["ignore", "ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      NO_COLOR: "1",
      HF_ENDPOINT: endpoint,
      REC_R1_HOME: folder,
      REC_R1_CRASH: JSON.stringify(kill ?? {}),
      REC_R1_CRASH_ROOT: pathToFileURL(join(root, tree)).href,
      REC_R1_CRASH_EXT: extension,
    },
  });
  let [stderr, marks] = ["", ""];
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdio[3]?.on("data", (chunk: Buffer) => (marks += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  const records = marks
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as { killed?: string; phase?: string; us?: number });
  return {
    code,
    stderr,
    killed: records.find(({ killed }) => killed !== undefined)?.killed,
    spans: records.flatMap(({ phase, us }) => (phase !== undefined && us !== undefined ? [{ phase, us }] : [])),
  };
}

/** What has to be the same for equal runs, by file name: SHA-256 or content; and names of files that nobody needs. */
export async function readOutcome(folder: string): Promise<{ files: Record<string, string>; leftovers: string[] }> {
  const runDir = join(folder, "run");
  const files: Record<string, string> = {};
  const leftovers: string[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(folder.length + 1);
    if (/\.tmp-|\.part$|\.lock|takeover/.test(name)) {
      leftovers.push(name);
      continue;
    }
    // Times and addresses differ from run to run, and LanceDB names its files at random.
    if (!entry.isFile() || !path.startsWith(runDir) || /timings\.jsonl$|[\\/]run[\\/]config\.json$/.test(path))
      continue;
    const bytes = await readFile(path);
    files[name] = createHash("sha256").update(bytes).digest("hex");
  }
  return { files, leftovers };
}
