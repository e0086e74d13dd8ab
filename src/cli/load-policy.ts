/** A run's trained policy, put into an engine that was opened as the run says. */
import { CheckpointError } from "../core/errors.ts";
import type { Engine } from "../engines/engine.ts";
import { listRunCheckpoints, readBest, readNewestRunCheckpoint, readRunCheckpoint } from "../runs/run-folder.ts";
import { parseCount } from "./options.ts";
import type { Reporter } from "./progress.ts";

/**
 * Puts a run's checkpoint into the engine. @returns its step; 0: the policy as it was before training
 * @throws CheckpointError
 */
export async function loadPolicy(engine: Engine, dir: string, which: string, reporter: Reporter): Promise<number> {
  let step: number;
  const best = which === "best" ? await readBest(dir) : undefined;
  if (best) step = best.step;
  else if (which === "best" || which === "last") {
    if (which === "best") reporter.line(`${dir} has no evaluation yet: its newest checkpoint is used`);
    const newest = await readNewestRunCheckpoint(dir, (damaged) => reporter.line(`warning: ${damaged.message}`));
    if (!newest) throw new CheckpointError("CHECKPOINT_MISSING", `${dir} has no checkpoint yet.`, { details: { dir } });
    step = newest.step;
  } else step = parseCount(which, "--checkpoint");
  if (step === 0) reporter.line(`the best policy of ${dir} on validation is the untrained one`);
  else await engine.loadState((await readRunCheckpoint(dir, step)).engineDir);
  return step;
}

/** What {@link loadPolicy} would take as "best" now, by a name that changes with it; null where there is nothing yet. */
export async function namePolicy(dir: string): Promise<string | null> {
  const best = await readBest(dir);
  if (best) return `best ${best.step}`;
  const newest = (await listRunCheckpoints(dir)).at(-1);
  return newest === undefined ? null : `newest ${newest}`;
}
