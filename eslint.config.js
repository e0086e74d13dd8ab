import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import importX from "eslint-plugin-import-x";
import tseslint from "typescript-eslint";

const root = dirname(fileURLToPath(import.meta.url));

/**
 * The architecture: which folders of src/ each folder may import. Everything else is refused, so a new folder
 * imports nothing until it is named here. `docs/design.md` has the same table in words.
 */
const mayImport = {
  core: [],
  ranking: ["core"],
  datasets: ["core", "ranking"],
  recommenders: ["core"],
  graph: ["core"],
  models: ["core", "graph"],
  engines: ["core", "models"],
  "engines/local": ["core", "models", "graph", "engines/engine.ts"],
  rl: ["core", "ranking", "datasets", "runs", "engines/engine.ts", "recommenders/recommender.ts"],
  eval: ["core", "ranking", "datasets", "rl", "runs", "engines/engine.ts", "recommenders/recommender.ts"],
  runs: ["core"],
};

/** Folders whose own subfolders have a rule of their own. */
const nested = { engines: ["local"] };

const zones = Object.entries(mayImport).map(([folder, allowed]) => ({
  target: nested[folder]?.length
    ? nested[folder].map((sub) => `./src/${folder}/!(${sub})/**/*`).concat(`./src/${folder}/*.ts`)
    : `./src/${folder}`,
  from: "./src",
  except: [folder, ...allowed].map((path) => `./${path}`),
  message: `src/${folder} may import only: ${allowed.join(", ") || "nothing"} (see docs/design.md).`,
}));

export default tseslint.config(
  { ignores: ["dist/", "runs/", "node_modules/", "coverage/"] },
  ...tseslint.configs.recommended,
  {
    files: ["src/**/*.ts", "test/**/*.ts"],
    plugins: { "import-x": importX },
    languageOptions: { parserOptions: { projectService: existsSync(`${root}/tsconfig.json`), tsconfigRootDir: root } },
    settings: { "import-x/parsers": { "@typescript-eslint/parser": [".ts"] } },
    rules: {
      "import-x/no-cycle": "error",
      "import-x/no-duplicates": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/switch-exhaustiveness-check": "off",
      "no-console": "error",
      eqeqeq: "error",
    },
  },
  { files: ["src/**/*.ts"], rules: { "import-x/no-restricted-paths": ["error", { zones, basePath: root }] } },
  { files: ["test/**/*.ts"], rules: { "no-console": "off" } },
);
