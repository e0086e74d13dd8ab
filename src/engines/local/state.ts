/**
 * What a checkpoint of the local engine holds: trained weights, optimizer moments, and which model they belong to.
 * Folders are written by the run folder's rules (temporary name, then renamed); this module writes plain files.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointError } from "../../core/errors.ts";
import { readSafetensorsFile } from "../../models/read-tensors.ts";
import { type NamedTensor, writeSafetensors } from "../../models/safetensors-writer.ts";
import type { AdamState } from "./adamw.ts";

const weightsFile = "trained.safetensors";
const momentsFile = "optimizer.safetensors";
const stateFile = "engine.json";

export interface EngineState {
  description: Readonly<Record<string, unknown>>;
  trained: ReadonlyMap<string, Float32Array>;
  shapes: ReadonlyMap<string, readonly number[]>;
  adam: AdamState | undefined;
}

/** Writes `state` to the folder `dir`, which is made. */
export async function writeState(dir: string, { description, trained, shapes, adam }: EngineState): Promise<void> {
  const named = (arrays: ReadonlyMap<string, Float32Array>, suffix = ""): NamedTensor[] =>
    [...arrays].map(([name, data]) => ({ name: name + suffix, shape: shapes.get(name) as readonly number[], data }));
  await mkdir(dir, { recursive: true });
  await writeSafetensors(join(dir, weightsFile), named(trained));
  if (adam) {
    await writeSafetensors(join(dir, momentsFile), [...named(adam.first, ".first"), ...named(adam.second, ".second")]);
  }
  const state = { format: 1, description, optimizerStep: adam?.step ?? 0 };
  await writeFile(join(dir, stateFile), `${JSON.stringify(state, null, 2)}\n`);
}

/**
 * Reads what {@link writeState} wrote, for weights of the given shapes.
 * @throws CheckpointError where files are missing, damaged, or of another shape
 */
export async function readState(
  dir: string,
  shapes: ReadonlyMap<string, readonly number[]>,
): Promise<{ trained: Map<string, Float32Array>; adam: AdamState | undefined; fingerprint: unknown }> {
  const state = await readStateFile(join(dir, stateFile));
  const trained = await readArrays(join(dir, weightsFile), shapes, "");
  if (state.optimizerStep === 0) return { trained, adam: undefined, fingerprint: state.description["fingerprint"] };
  const moments = join(dir, momentsFile);
  const adam = {
    step: state.optimizerStep,
    first: await readArrays(moments, shapes, ".first"),
    second: await readArrays(moments, shapes, ".second"),
  };
  return { trained, adam, fingerprint: state.description["fingerprint"] };
}

async function readStateFile(path: string): Promise<{ optimizerStep: number; description: Record<string, unknown> }> {
  try {
    const state = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
    const { format, optimizerStep, description } = state;
    if (format !== 1 || typeof optimizerStep !== "number" || typeof description !== "object" || !description) {
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

async function readArrays(
  path: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  suffix: string,
): Promise<Map<string, Float32Array>> {
  const stored = await readSafetensorsFile(path).catch((cause: unknown) => {
    throw new CheckpointError(
      "CHECKPOINT_DAMAGED",
      `The checkpoint's ${path} can't be read: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  });
  return new Map(
    [...shapes].map(([name, shape]) => {
      const tensor = stored.get(name + suffix);
      if (!tensor || tensor.shape.join() !== shape.join()) {
        throw new CheckpointError(
          "CHECKPOINT_SHAPE",
          `The checkpoint's ${path} has ${name + suffix} as [${tensor?.shape.join() ?? "absent"}], expected ` +
            `[${shape.join()}]. Load it with the model, rank and target layers that it was trained with.`,
        );
      }
      return [name, tensor.data];
    }),
  );
}
