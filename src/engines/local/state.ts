/**
 * What a checkpoint of the local engine holds: trained weights, optimizer moments, and which model they belong to.
 * Folders are written by the run folder's rules (temporary name, then renamed); this module writes plain files.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeEmptyFolder } from "../../core/atomic-write.ts";
import { CheckpointError } from "../../core/errors.ts";
import { readSafetensorsFile } from "../../models/read-tensors.ts";
import { type NamedTensor, writeSafetensors } from "../../models/safetensors-writer.ts";
import type { AdamState } from "../../graph/adamw.ts";

const weightsFile = "trained.safetensors";
const momentsFile = "optimizer.safetensors";
const stateFile = "engine.json";

export interface EngineState {
  description: Readonly<Record<string, unknown>>;
  trained: ReadonlyMap<string, Float32Array>;
  shapes: ReadonlyMap<string, readonly number[]>;
  adam: AdamState | undefined;
}

/**
 * Writes `state` to the folder `dir`, which must be empty or absent, in one that is there.
 * @throws CheckpointError where it is neither, or can't be written
 */
export async function writeState(dir: string, state: EngineState): Promise<void> {
  try {
    await makeEmptyFolder(dir);
    await writeFiles(dir, state);
  } catch (cause) {
    throw new CheckpointError(
      "CHECKPOINT_NOT_WRITTEN",
      `The engine's state can't be written to ${dir}: ${(cause as Error).message}.`,
      { cause },
    );
  }
}

async function writeFiles(dir: string, { description, trained, shapes, adam }: EngineState): Promise<void> {
  const named = (arrays: ReadonlyMap<string, Float32Array>, suffix = ""): NamedTensor[] =>
    [...arrays].map(([name, data]) => ({ name: name + suffix, shape: shapes.get(name) as readonly number[], data }));
  await writeSafetensors(join(dir, weightsFile), named(trained));
  if (adam) {
    await writeSafetensors(join(dir, momentsFile), [...named(adam.first, ".first"), ...named(adam.second, ".second")]);
  }
  const state = { format: 1, description, optimizerStep: adam?.step ?? 0 };
  await writeFile(join(dir, stateFile), `${JSON.stringify(state, null, 2)}\n`);
}

/**
 * Reads what {@link writeState} wrote, for the engine of this description and weights of these shapes.
 * @throws CheckpointError where files are missing or damaged, or belong to another model or adapter
 */
export async function readState(
  dir: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  description: Readonly<Record<string, unknown>>,
): Promise<{ trained: Map<string, Float32Array>; adam: AdamState | undefined }> {
  const state = await readStateFile(join(dir, stateFile));
  if (state.description["fingerprint"] !== description["fingerprint"]) {
    throw new CheckpointError(
      "CHECKPOINT_MODEL",
      `The checkpoint ${dir} belongs to another model (${String(state.description["model"])}) than ` +
        `${String(description["model"])} as loaded. Load the model that it was trained from.`,
    );
  }
  if (state.description["training"] !== description["training"]) {
    throw new CheckpointError(
      "CHECKPOINT_TRAINING",
      `The checkpoint ${dir} was trained as "${String(state.description["training"])}", the engine trains ` +
        `"${String(description["training"])}". Load it with the settings that it was trained with.`,
    );
  }
  const [trained] = await readArrays(join(dir, weightsFile), shapes, [""]);
  if (state.optimizerStep === 0) return { trained: trained as Map<string, Float32Array>, adam: undefined };
  const [first, second] = await readArrays(join(dir, momentsFile), shapes, [".first", ".second"]);
  const adam = { step: state.optimizerStep, first, second } as AdamState;
  return { trained: trained as Map<string, Float32Array>, adam };
}

async function readStateFile(path: string): Promise<{ optimizerStep: number; description: Record<string, unknown> }> {
  try {
    const state = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
    const { format, optimizerStep, description } = state;
    if (format !== 1 || !isCount(optimizerStep) || typeof description !== "object" || !description) {
      throw new Error("it is not an engine state of format 1");
    }
    return { optimizerStep, description: description as Record<string, unknown> };
  } catch (cause) {
    throw new CheckpointError(
      "CHECKPOINT_DAMAGED",
      `The checkpoint's ${path} can't be read: ${(cause as Error).message}.`,
      {
        cause,
      },
    );
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** For each suffix the arrays named so, in the order of `shapes`. */
async function readArrays(
  path: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  suffixes: readonly string[],
): Promise<Map<string, Float32Array>[]> {
  const stored = await readSafetensorsFile(path).catch((cause: unknown) => {
    throw new CheckpointError(
      "CHECKPOINT_DAMAGED",
      `The checkpoint's ${path} can't be read: ${(cause as Error).message}`,
      { cause },
    );
  });
  const refuse = (what: string): never => {
    throw new CheckpointError(
      "CHECKPOINT_SHAPE",
      `The checkpoint's ${path} has ${what}. Load it with the model, rank and target layers that it was trained with.`,
    );
  };
  const arrays = suffixes.map(
    (suffix) =>
      new Map(
        [...shapes].map(([name, shape]) => {
          const tensor = stored.get(name + suffix);
          if (tensor?.shape.join() !== shape.join()) {
            return refuse(`${name + suffix} as [${tensor?.shape.join() ?? "absent"}], expected [${shape.join()}]`);
          }
          return [name, tensor.data] as const;
        }),
      ),
  );
  if (stored.size !== suffixes.length * shapes.size) {
    refuse(`${stored.size} weights, ${suffixes.length * shapes.size} of which the engine trains`);
  }
  return arrays;
}
