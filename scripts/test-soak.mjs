// A long training in one process: does memory stay flat, does nothing stay open, do steps stay as quick?
// npm run test:soak [-- --steps 10000 --seed 1]
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("soak/train.mjs", import.meta.url));
const { status } = spawnSync(process.execPath, ["--expose-gc", program, ...process.argv.slice(2)], {
  stdio: "inherit",
});
process.exitCode = status ?? 1;
