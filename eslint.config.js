import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import importX from "eslint-plugin-import-x";
import tseslint from "typescript-eslint";

const root = dirname(fileURLToPath(import.meta.url));

/**
 * The architecture: which folders and files of src/ each folder may import, besides itself. A folder that is not named
 * here may import nothing. `docs/design.md` has the same table in words.
 */
const mayImport = {
  core: [],
  ranking: ["core"],
  datasets: ["core", "ranking"],
  recommenders: ["core"],
  "recommenders/lancedb": ["core", "encoders", "recommenders"],
  "recommenders/sequential": ["core", "graph", "models", "recommenders"],
  graph: ["core"],
  models: ["core", "graph"],
  encoders: ["core", "graph", "models"],
  engines: ["core", "models"],
  "engines/local": [
    "core",
    "models",
    "graph",
    "engines/engine.ts",
    "engines/loss-settings.ts",
    "engines/loss-metrics.ts",
  ],
  rl: [
    "core",
    "ranking",
    "datasets",
    "runs",
    "engines/engine.ts",
    "recommenders/recommender.ts",
    "recommenders/cached.ts",
    "recommenders/validate.ts",
  ],
  eval: [
    "core",
    "ranking",
    "datasets",
    "rl",
    "runs",
    "engines/engine.ts",
    "recommenders/recommender.ts",
    "recommenders/validate.ts",
  ],
  tasks: ["core", "ranking", "datasets", "rl", "engines/engine.ts", "recommenders/recommender.ts"],
  runs: ["core"],
  trackers: ["core", "rl/events.ts"],
};

/** The only folders that choose implementations by name, so that they may import everything. */
const mayImportAll = ["cli", "server"];

/** What the package's main entry may not import: loading it must not load an engine or a search library. */
const heavy = [
  "graph",
  "models",
  "encoders",
  "engines/local",
  "recommenders/lancedb",
  "recommenders/sequential",
  ...mayImportAll,
];

const say = (who, allowed) => `${who} may import only: ${allowed.join(", ") || "nothing"} (see docs/design.md).`;

/** The files that a row is for: those of its folder, but for folders in it that have rows of their own. */
function filesOf(folder) {
  const inner = Object.keys(mayImport).filter((name) => name.startsWith(`${folder}/`));
  const names = inner.map((name) => name.slice(folder.length + 1)).join("|");
  return inner.length === 0 ? `./src/${folder}` : [`./src/${folder}/*.ts`, `./src/${folder}/!(${names})/**/*`];
}

const zones = Object.entries(mayImport).map(([folder, allowed]) => ({
  target: filesOf(folder),
  from: "./src",
  except: [folder, ...allowed].map((path) => `./${path}`),
  message: say(`src/${folder}`, allowed),
}));
zones.push(
  {
    target: filesOf("engines"),
    from: "./src/engines/local",
    message: "Only src/engines/local knows the local engine (see docs/design.md).",
  },
  {
    target: `./src/!(${[...Object.keys(mayImport), ...mayImportAll].filter((name) => !name.includes("/")).join("|")})/**/*`,
    from: "./src",
    message: "This folder has no row in eslint.config.js yet (see docs/design.md).",
  },
  ...heavy.map((path) => ({
    target: "./src/*.ts",
    from: `./src/${path}`,
    message: `The main entry does not import ${path}: it has an entry of its own (see docs/design.md).`,
  })),
);

/** Pages run in a browser: of the package they see what its server says, and no more. */
const pagesZone = {
  target: "./web",
  from: "./src",
  except: ["./server/dashboard/wire.ts"],
  message: "web/ may import only src/server/dashboard/wire.ts (see docs/design.md).",
};

export default tseslint.config(
  {
    ignores: [
      "dist/",
      "runs/",
      "node_modules/",
      "coverage/",
      "bench/trl/.venv/",
      ".skyrl/",
      ".tinker-python/",
      ".export-python/",
      ".trackers/",
    ],
  },
  ...tseslint.configs.recommended,
  {
    files: ["src/**/*.ts", "test/**/*.ts", "web/**/*.{ts,tsx}"],
    plugins: { "import-x": importX },
    languageOptions: { parserOptions: { projectService: existsSync(`${root}/tsconfig.json`), tsconfigRootDir: root } },
    settings: { "import-x/parsers": { "@typescript-eslint/parser": [".ts", ".tsx"] } },
    rules: {
      "import-x/no-cycle": "error",
      "import-x/no-duplicates": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
      // Naming a key beside a rest is how it is left out.
      "@typescript-eslint/no-unused-vars": ["error", { ignoreRestSiblings: true }],
      "@typescript-eslint/switch-exhaustiveness-check": "off",
      "no-console": "error",
      eqeqeq: "error",
    },
  },
  { files: ["src/**/*.ts"], rules: { "import-x/no-restricted-paths": ["error", { zones, basePath: root }] } },
  {
    files: ["web/**/*.{ts,tsx}"],
    rules: { "import-x/no-restricted-paths": ["error", { zones: [pagesZone], basePath: root }] },
  },
  { files: ["test/**/*.ts"], rules: { "no-console": "off" } },
);
