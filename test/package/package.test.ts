/**
 * The package as its users get it: packed, installed in a folder elsewhere, imported, type-checked against and run from
 * the shell. What is packed is `dist/` where it is newer than the sources, and a build of its own where it isn't.
 */
import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { builtinModules, createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  version: string;
  files: string[];
  dependencies: Record<string, string>;
};

const folder = mkdtempSync(join(tmpdir(), "rec-r1-package-"));
const consumer = join(folder, "consumer");
const installed = join(consumer, "node_modules/rec-r1");
let packed: { path: string; size: number }[] = [];

function run(command: string, args: readonly string[], cwd: string): SpawnSyncReturns<string> {
  return spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    maxBuffer: 64 << 20,
    env: { ...process.env, NO_COLOR: "1" },
  });
}

function runChecked(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = run(command, args, cwd);
  if (status !== 0) {
    throw new Error(`${command} ${args.join(" ")} ended with ${status ?? error?.message}:\n${stdout}\n${stderr}`);
  }
  return stdout;
}

function listFiles(path: string): string[] {
  return readdirSync(path, { recursive: true, encoding: "utf8" }).filter((name) => statSync(join(path, name)).isFile());
}

/** Whether dist/ was built after the last change to what it is built from, and has a file for every source. */
function isDistFresh(): boolean {
  if (!existsSync(join(root, "dist"))) return false;
  const pages = join(root, "dist/web/app.js");
  const newestPage = Math.max(...listFiles(join(root, "web")).map((name) => statSync(join(root, "web", name)).mtimeMs));
  if (!existsSync(pages) || statSync(pages).mtimeMs < newestPage) return false;
  const sources = listFiles(join(root, "src")).filter((name) => name.endsWith(".ts"));
  return sources.every((name) => {
    const output = join(root, "dist", name.replace(/\.ts$/, ".js"));
    return existsSync(output) && statSync(output).mtimeMs >= statSync(join(root, "src", name)).mtimeMs;
  });
}

beforeAll(() => {
  const staging = join(folder, "staging");
  mkdirSync(staging);
  for (const name of ["package.json", ...manifest.files]) {
    if (name !== "dist" && existsSync(join(root, name))) cpSync(join(root, name), join(staging, name));
  }
  if (isDistFresh()) cpSync(join(root, "dist"), join(staging, "dist"), { recursive: true });
  else {
    runChecked(
      process.execPath,
      [tsc, "-p", join(root, "tsconfig.build.json"), "--outDir", join(staging, "dist")],
      root,
    );
    runChecked(process.execPath, [join(root, "scripts/build-web.mjs"), join(staging, "dist/web")], root);
  }

  mkdirSync(consumer);
  const [pack] = JSON.parse(
    runChecked("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", consumer], staging),
  ) as [{ filename: string; files: { path: string; size: number }[] }];
  packed = pack.files;
  writeFileSync(join(consumer, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }));
  // Install scripts stay off, because everything has to work without them.
  runChecked(
    "npm",
    ["install", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", `./${pack.filename}`],
    consumer,
  );
}, 600_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Native libraries and packages that load one, by what the process has mapped or loaded when it ends. */
function listNative(args: readonly string[]): { stdout: string; native: string[] } {
  const report = join(folder, "native.json");
  const hook = `import { writeFileSync } from "node:fs";
    process.on("exit", () => {
      process.report.excludeNetwork = true;
      writeFileSync(${JSON.stringify(report)}, JSON.stringify(process.report.getReport().sharedObjects));
    });`;
  const stdout = runChecked(
    process.execPath,
    ["--import", `data:text/javascript,${encodeURIComponent(hook)}`, ...args],
    consumer,
  );
  const objects = JSON.parse(readFileSync(report, "utf8")) as string[];
  return { stdout, native: objects.filter((path) => path.endsWith(".node") || path.includes("node_modules")) };
}

describe("the tarball", () => {
  it("holds the build and what a user reads, and nothing of tests and benchmarks", () => {
    const paths = packed.map(({ path }) => path);
    expect(paths).toContain("dist/index.js");
    expect(paths).toContain("dist/index.d.ts");
    expect(paths).toContain("dist/web/index.html");
    expect(paths).toContain("LICENSE");
    const expected =
      /^(dist\/.+\.(js|d\.ts)|dist\/web\/(index\.html|index\.css|icon\.svg)|package\.json|README\.md|CHANGELOG\.md|LICENSE)$/;
    expect(paths.filter((path) => !expected.test(path))).toEqual([]);
    expect(paths.filter((path) => /(^|\/)(test|tests|bench|fixtures)\/|\.test\./.test(path))).toEqual([]);
    for (const name of manifest.files.filter((name) => name !== "dist")) expect(paths, name).toContain(name);
  });

  it("is small", () => {
    expect(packed.reduce((sum, { size }) => sum + size, 0)).toBeLessThan(3_000_000);
  });

  it("imports only what it declares, inside the package or out", () => {
    // Texts may have `from ","` in them, too: a specifier has no space and no comma.
    const specifier = /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\(\s*)"([^"\s,]+)"/g;
    const declared = new Set(Object.keys(manifest.dependencies));
    const wrong: string[] = [];
    for (const name of listFiles(join(installed, "dist"))) {
      const file = join(installed, "dist", name);
      for (const [, target = ""] of readFileSync(file, "utf8").matchAll(specifier)) {
        if (target.startsWith(".")) {
          const path = join(dirname(file), target);
          const present = existsSync(path) || existsSync(path.replace(/\.ts$/, ".d.ts"));
          if (!present) wrong.push(`${name}: ${target} is missing`);
        } else if (!target.startsWith("node:") && !builtinModules.includes(target)) {
          const owner = target
            .split("/")
            .slice(0, target.startsWith("@") ? 2 : 1)
            .join("/");
          // The command-line programs write task files for users, which import the package by its name.
          if (!declared.has(owner) && owner !== "rec-r1") wrong.push(`${name}: ${target} is not in dependencies`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe("the installed package", () => {
  it("exports what the README uses", () => {
    const script = `
      const main = await import("rec-r1");
      const { LanceDbRecommender } = await import("rec-r1/recommenders/lancedb");
      const { LocalEngine } = await import("rec-r1/engines/local");
      console.log(JSON.stringify([main.defineTask, main.ndcg, main.train, LanceDbRecommender, LocalEngine].map((x) => typeof x)));
      console.log(main.ndcg([{ id: "a" }, { id: "b" }], ["b"], { k: 10 }).toFixed(4));`;
    const [types, score] = runChecked(process.execPath, ["--input-type=module", "-e", script], consumer)
      .trim()
      .split("\n");
    expect(JSON.parse(types ?? "")).toEqual(Array.from({ length: 5 }, () => "function"));
    expect(score).toBe("0.6309");
  });

  it("imports none of the sources that it was compiled from", () => {
    const files = packed.map(({ path }) => path).filter((path) => path.endsWith(".js"));
    expect(files.length).toBeGreaterThan(100);
    const wrong = files.filter((path) =>
      /(?:from |import\()"\.[^"]*\.ts"/.test(readFileSync(join(installed, path), "utf8")),
    );
    expect(wrong).toEqual([]);
  });

  it("has an entry for every engine and recommender", () => {
    for (const kind of ["engines", "recommenders"]) {
      const names = readdirSync(join(installed, "dist", kind), { withFileTypes: true }).filter((e) => e.isDirectory());
      expect(names.length).toBeGreaterThan(0);
      for (const { name } of names) {
        const index = join(installed, "dist", kind, name, "index.js");
        expect(existsSync(index) && existsSync(index.replace(/js$/, "d.ts")), `${kind}/${name}`).toBe(true);
      }
    }
  });

  it("keeps its insides to itself", () => {
    const inside = run(
      process.execPath,
      ["--input-type=module", "-e", `await import("rec-r1/dist/index.js")`],
      consumer,
    );
    expect(inside.status).toBe(1);
    expect(inside.stderr).toContain("ERR_PACKAGE_PATH_NOT_EXPORTED");
  });

  it("loads no native library until one is needed", () => {
    const load = (specifier: string): string[] => {
      const file = join(consumer, "load.mjs");
      writeFileSync(file, `await import(${JSON.stringify(specifier)});\n`);
      return listNative([file]).native;
    };
    expect(load("rec-r1")).toEqual([]);
    expect(load("rec-r1/engines/local")).toEqual([]);
    expect(load("rec-r1/recommenders/lancedb")).toEqual([]);
    // What the other expectations would see if a library were loaded.
    expect(load("onnxruntime-node").join()).toContain("onnxruntime");
  });

  it("type-checks in a strict project, and its types are not any", { timeout: 300_000 }, () => {
    mkdirSync(join(consumer, "node_modules/@types"), { recursive: true });
    const types = join(consumer, "node_modules/@types/node");
    if (!existsSync(types)) symlinkSync(join(root, "node_modules/@types/node"), types, "junction");
    writeFileSync(
      join(consumer, "consumer.ts"),
      `import { defineTask, ndcg, train, type Recommender, type Engine, type Hit } from "rec-r1";
import { LanceDbRecommender } from "rec-r1/recommenders/lancedb";
import { LocalEngine } from "rec-r1/engines/local";

const recommender = await LanceDbRecommender.fromJsonl("catalogue.jsonl", { text: ["title"] });
const task = defineTask({
  name: "product-search",
  data: { train: "train.jsonl", valid: "valid.jsonl", test: "test.jsonl" },
  prompt: (example) => [{ role: "user", content: \`Write a search query for: \${example.query}\` }],
  reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 100 }) : -0.5),
});
await using engine = await LocalEngine.load("smollm2-135m-instruct", { loraRank: 16 });
await train({ task, recommender, engine, runDir: "runs/first", steps: 100, promptsPerStep: 16, groupSize: 8 });

export const asInterfaces: [Recommender, Engine] = [recommender, engine];
export const hits: Hit[][] = await recommender.search([{ text: "chair" }], { topK: 5 });
// @ts-expect-error the number of hits has no default
await recommender.search([{ text: "chair" }], {});
// @ts-expect-error a task needs a reward
defineTask({ name: "x", data: { train: [] }, prompt: () => "" });
// @ts-expect-error NDCG is a number
export const text: string = ndcg([], []);
`,
    );
    writeFileSync(
      join(consumer, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          target: "ES2022",
          lib: ["ES2022", "ESNext.Disposable"],
          module: "NodeNext",
          strict: true,
          exactOptionalPropertyTypes: true,
          types: ["node"],
          noEmit: true,
        },
        files: ["consumer.ts"],
      }),
    );
    const { stdout } = run(process.execPath, [tsc, "-p", "tsconfig.json"], consumer);
    // Declarations of other packages are checked along; only ours and the consumer's own are ours to answer for.
    const ours = stdout.split("\n").filter((line) => /^(consumer\.ts|node_modules\/rec-r1\/)/.test(line));
    expect(ours).toEqual([]);
  });
});

describe("the command", () => {
  const command = join(consumer, "node_modules/.bin/rec-r1");

  it("is installed and prints its help and version", () => {
    const help = runChecked(command, ["--help"], consumer);
    for (const name of ["demo", "index", "train", "eval", "model"])
      expect(help).toMatch(new RegExp(`^\\s+${name}\\b`, "m"));
    expect(runChecked(command, ["--version"], consumer).trim()).toBe(manifest.version);
  });

  it("prints its help without loading a native library, at once", () => {
    const main = join(installed, "dist/cli/main.js");
    const start = performance.now();
    const { stdout, native } = listNative([main, "--help"]);
    expect(performance.now() - start).toBeLessThan(5000);
    expect(stdout).toContain("rec-r1");
    expect(native).toEqual([]);
  });

  it("refuses an unknown flag, and says so on standard error", () => {
    const { status, stdout, stderr } = run(command, ["train", "--no-such-flag"], consumer);
    expect(status).not.toBe(0);
    expect(stdout).toBe("");
    expect(stderr).toContain("--no-such-flag");
    expect(stderr).not.toMatch(/^\s+at .*\.js:\d+/m);
  });

  it("runs from another folder, by the path that npm put in place", () => {
    const elsewhere = mkdtempSync(join(folder, "elsewhere-"));
    expect(runChecked(command, ["--version"], elsewhere).trim()).toBe(manifest.version);
    const url = pathToFileURL(join(installed, "package.json"));
    expect((JSON.parse(readFileSync(url, "utf8")) as { version: string }).version).toBe(manifest.version);
  });
});
