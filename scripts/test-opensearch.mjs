// Starts a real OpenSearch, runs the tests against it, stops it. Arguments go to Vitest.
// Where Java 17 or Maven is absent, says so and runs nothing; with REC_R1_TEST_OPENSEARCH set, uses the server there.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { startOpenSearch, whyNot } from "./opensearch.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const vitest = join(dirname(createRequire(import.meta.url).resolve("vitest/package.json")), "vitest.mjs");
const given = process.env.REC_R1_TEST_OPENSEARCH;
const reason = given ? undefined : whyNot();
if (reason) {
  console.log(`The tests against a real OpenSearch were skipped: ${reason}.`);
  process.exit(0);
}
const server = given ? undefined : await startOpenSearch((line) => console.log(line));
try {
  const args = [vitest, "run", "test/recommenders/opensearch/real-server.test.ts", ...process.argv.slice(2)];
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, REC_R1_TEST_OPENSEARCH: given ?? server.url },
  });
  process.exitCode = await new Promise((resolve) => child.once("close", (code) => resolve(code ?? 1)));
} finally {
  await server?.stop();
}
