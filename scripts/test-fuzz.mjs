// Fuzzes the parsers: npm run test:fuzz [-- --cases 100000 --seed 1] [-- test/fuzz/model-files.test.ts -t GGUF]
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const vitest = join(dirname(createRequire(import.meta.url).resolve("vitest/package.json")), "vitest.mjs");
const { values, positionals } = parseArgs({
  options: {
    cases: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
    t: { type: "string", short: "t" },
  },
  allowPositionals: true,
});
const tests = positionals.length > 0 ? positionals : ["test/fuzz"];
const child = spawn(process.execPath, [vitest, "run", ...tests, ...(values.t ? ["-t", values.t] : [])], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, REC_R1_FUZZ_CASES: values.cases, REC_R1_FUZZ_SEED: values.seed },
});
process.exitCode = await new Promise((resolve) => child.once("close", (code) => resolve(code ?? 1)));
