/** The import table of docs/design.md, tried out: the project's own lint configuration refuses every import outside it. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { ESLint } from "eslint";
import { describe, expect, it } from "vitest";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const rule = "import-x/no-restricted-paths";

/** Only the rule in question, without types, so that files can be linted that don't exist. */
const eslint = new ESLint({
  cwd: root,
  ruleFilter: ({ ruleId }) => ruleId === rule,
  overrideConfig: { languageOptions: { parserOptions: { projectService: false } } },
});

/** For a file at `from`, which of the existing files `targets` it may not import. Paths are relative to src/. */
async function findRefused(from: string, targets: readonly string[]): Promise<string[]> {
  const filePath = join(root, "src", from);
  const specifiers = targets.map((target) => {
    const path = relative(dirname(filePath), join(root, "src", target));
    return path.startsWith(".") ? path : `./${path}`;
  });
  const text = specifiers.map((path) => `import ${JSON.stringify(path)};\n`).join("");
  const [result] = await eslint.lintText(text, { filePath });
  expect(result?.fatalErrorCount).toBe(0);
  return (result?.messages ?? []).map(({ ruleId, line }) => {
    expect(ruleId).toBe(rule);
    return targets[line - 1] as string;
  });
}

/** A file to import from each folder: by folder, the first TypeScript file that lies directly in it or below. */
function firstFile(folder: string): string | undefined {
  const path = join(root, "src", folder);
  if (!existsSync(path)) return undefined;
  for (const name of readdirSync(path, { recursive: true, encoding: "utf8" }).sort()) {
    if (name.endsWith(".ts") && !(folder === "engines" && name.startsWith("local"))) return join(folder, name);
  }
  return undefined;
}

const folders = [
  "core",
  "ranking",
  "datasets",
  "graph",
  "models",
  "encoders",
  "engines/local",
  "rl",
  "tasks",
  "eval",
  "runs",
  "trackers",
  "cli",
];
const targets = [
  ...folders.map(firstFile).filter((file) => file !== undefined),
  "engines/engine.ts",
  "recommenders/recommender.ts",
];

/** What each file may import of `targets`, as docs/design.md has it. */
const interfaces = ["engines/engine.ts", "recommenders/recommender.ts"];
const allowed: Record<string, readonly string[]> = {
  "core/new-file.ts": ["core"],
  "ranking/new-file.ts": ["core", "ranking"],
  "datasets/new-file.ts": ["core", "ranking", "datasets"],
  "recommenders/recommender.ts": ["core", "recommenders"],
  "recommenders/opensearch/client.ts": ["core", "recommenders"],
  "recommenders/lancedb/new-file.ts": ["core", "encoders", "recommenders"],
  "recommenders/sequential/deep/new-file.ts": ["core", "graph", "models", "recommenders"],
  "graph/new-file.ts": ["core", "graph"],
  "models/new-file.ts": ["core", "graph", "models"],
  "encoders/new-file.ts": ["core", "graph", "models", "encoders"],
  "engines/engine.ts": ["core", "models", "engines/engine.ts"],
  "engines/tinker/client.ts": ["core", "models", "engines/engine.ts"],
  "engines/tinker/deep/wire.ts": ["core", "models", "engines/engine.ts"],
  "engines/local/new-file.ts": ["core", "models", "graph", "engines"],
  "engines/local/deep/new-file.ts": ["core", "models", "graph", "engines"],
  "rl/new-file.ts": ["core", "ranking", "datasets", "runs", "rl", ...interfaces],
  "eval/report/new-file.ts": ["core", "ranking", "datasets", "rl", "runs", "eval", ...interfaces],
  "tasks/new-file.ts": ["core", "ranking", "datasets", "rl", "tasks", ...interfaces],
  "runs/new-file.ts": ["core", "runs"],
  "trackers/new-file.ts": ["core", "trackers"],
  "unheard-of/new-file.ts": [],
  "index.ts": ["core", "ranking", "datasets", "rl", "tasks", "eval", "runs", "trackers", ...interfaces],
  "cli/new-file.ts": [
    "core",
    "ranking",
    "datasets",
    "recommenders",
    "graph",
    "models",
    "encoders",
    "engines",
    "rl",
    "tasks",
    "eval",
    "runs",
    "trackers",
    "cli",
  ],
  "server/new-file.ts": [
    ...["core", "ranking", "datasets", "recommenders", "graph", "models", "encoders", "engines"],
    ...["rl", "tasks", "eval", "runs", "trackers", "cli"],
  ],
};

describe("the lint configuration", () => {
  it.each(Object.keys(allowed))("holds src/%s to the import table", async (from) => {
    const may = allowed[from] ?? [];
    const expected = targets.filter((target) => !may.some((path) => target === path || target.startsWith(`${path}/`)));
    expect(await findRefused(from, targets)).toEqual(expected);
  });

  it("has targets to try in every folder that exists", () => {
    expect(targets.length).toBeGreaterThanOrEqual(10);
    for (const target of targets) expect(existsSync(join(root, "src", target)), target).toBe(true);
  });

  it("gives a row to every folder of src/", () => {
    const config = readFileSync(join(root, "eslint.config.js"), "utf8");
    const present = readdirSync(join(root, "src")).filter((name) => statSync(join(root, "src", name)).isDirectory());
    for (const name of present) expect(config, name).toMatch(new RegExp(`\\b${name}\\b`));
  });

  it("lets the pages see what their server says, and nothing else of src/", async () => {
    expect(await findRefused("../web/src/api.ts", ["server/dashboard/wire.ts"])).toEqual([]);
    const others = ["server/dashboard/rollouts.ts", "core/errors.ts", "index.ts"];
    expect(await findRefused("../web/src/api.ts", others)).toEqual(others);
  });

  it("refuses types and imports at run time alike", async () => {
    const filePath = join(root, "src/graph/new-file.ts");
    const text = `import type { X } from "../eval/significance.ts";\nexport const y: X = await import("../eval/compare.ts");\n`;
    const [result] = await eslint.lintText(text, { filePath });
    expect(result?.messages.map(({ ruleId, line }) => [ruleId, line])).toEqual([
      [rule, 1],
      [rule, 2],
    ]);
    expect(result?.messages[0]?.message).toContain("src/graph may import only: core");
  });
});
