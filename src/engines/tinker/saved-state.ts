/** What a checkpoint of a policy on a Tinker server holds here: where the weights and the optimizer's state are there. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { makeEmptyFolder } from "../../core/atomic-write.ts";
import { CheckpointError } from "../../core/errors.ts";

const stateFile = "engine.json";

const stateSchema = z.object({
  format: z.literal(1),
  engine: z.literal("tinker"),
  /** Where the server keeps it, such as `tinker://model_1/weights/name`. */
  address: z.string().min(1),
  /** The server that has it. */
  server: z.string(),
  baseModel: z.string(),
  loraRank: z.number(),
});

export type SavedState = z.output<typeof stateSchema>;

/** Writes `state` to the folder `dir`. @throws CheckpointError where it isn't empty or absent, or can't be written */
export async function writeSavedState(dir: string, state: Omit<SavedState, "format" | "engine">): Promise<void> {
  try {
    await makeEmptyFolder(dir);
    const json: SavedState = { format: 1, engine: "tinker", ...state };
    await writeFile(join(dir, stateFile), `${JSON.stringify(json, null, 2)}\n`);
  } catch (cause) {
    throw new CheckpointError(
      "CHECKPOINT_NOT_WRITTEN",
      `The engine's state can't be written to ${dir}: ${(cause as Error).message}.`,
      { cause },
    );
  }
}

/**
 * Reads what {@link writeSavedState} wrote.
 * @throws CheckpointError `CHECKPOINT_DAMAGED`, or `CHECKPOINT_OTHER_MODEL` where it is of another model or rank
 */
export async function readSavedState(
  dir: string,
  expected: { baseModel: string; loraRank: number },
): Promise<SavedState> {
  const path = join(dir, stateFile);
  let state: SavedState;
  try {
    state = stateSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (cause) {
    throw new CheckpointError(
      "CHECKPOINT_DAMAGED",
      `${path} is not the state of a policy on a Tinker server: ${(cause as Error).message.slice(0, 200)}. A state of the local engine can't be moved there.`,
      { cause },
    );
  }
  for (const key of ["baseModel", "loraRank"] as const) {
    if (state[key] === expected[key]) continue;
    throw new CheckpointError(
      "CHECKPOINT_OTHER_MODEL",
      `${path} is of ${key} ${state[key]}, the engine has ${expected[key]}. Give the one that the run began with.`,
    );
  }
  return state;
}
