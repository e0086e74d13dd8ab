/** A sample of what `npm run test:crash` does. */
import { expect, it } from "vitest";
import { runCrashTest } from "./crash.ts";

it("a training killed at ten moments ends like one that was left alone", { timeout: 600_000 }, async () => {
  const { kills, hit, failures } = await runCrashTest({ kills: 10, seed: 7, tree: "src" });
  expect(failures).toEqual([]);
  expect(kills).toBe(10);
  expect(Object.keys(hit).length).toBeGreaterThan(4);
});
