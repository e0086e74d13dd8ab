// Kills a short training at random moments and checks that it ends as if nothing had happened:
// npm run test:crash [-- --kills 200 --seed 1]
import { createJiti } from "jiti";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { kills: { type: "string", default: "200" }, seed: { type: "string", default: "1" } },
});
const { runCrashTest } = await createJiti(import.meta.url).import("../test/reliability/crash/crash.ts");
const start = performance.now();
const report = await runCrashTest({
  kills: Number(values.kills),
  seed: Number(values.seed),
  tree: "dist",
  onEvent: (line) => console.log(line),
});
const { runs, kills, hit, missed, failures } = report;
console.log(`\n${kills} kills in ${runs} trainings, ${((performance.now() - start) / 60_000).toFixed(1)} minutes`);
for (const [phase, times] of Object.entries(hit).sort(([, a], [, b]) => b - a))
  console.log(`${String(times).padStart(5)}  ${phase}`);
if (missed > 0) console.log(`${String(missed).padStart(5)}  moments came after the training's end`);
console.log(`\n${failures.length} failures`);
process.exitCode = failures.length === 0 ? 0 : 1;
