/** A sample of what `npm run test:crash` does, on the package as built: `npm test` builds it first. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { runCrashTest } from "./crash.ts";

const built = join(dirname(fileURLToPath(import.meta.url)), "../../../dist/cli/main.js");

it("a training killed at ten moments ends like one that was left alone", { timeout: 600_000 }, async (context) => {
  if (!existsSync(built)) return context.skip("needs npm run build");
  const { kills, hit, failures } = await runCrashTest({ kills: 10, seed: 7, tree: "dist" });
  expect(failures).toEqual([]);
  expect(kills).toBe(10);
  expect(Object.keys(hit).length).toBeGreaterThan(4);
});
