/**
 * Goes through a folder of reference values computed by other programs: `tiny-models/NAME/`,
 * `smollm2-135m-instruct.json`, `trec-eval.json`, `lucene/`. What is absent is skipped, and said to be.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { isAbort } from "../../core/abort.ts";
import { describeFileError } from "../../core/atomic-write.ts";
import { DataError, ModelError, throwIfAborted } from "../../core/errors.ts";
import { hasPassed, type Part } from "./check.ts";
import { exists } from "./reference-files.ts";

export interface VerifyOptions {
  /** The folder. */
  fixtures: string;
  /** Model for smollm2-135m-instruct.json. Default: the Q4_1 GGUF of the known model, fetched if need be. */
  model?: string;
  signal?: AbortSignal;
  /** Told what is looked at now. */
  onStatus?: (text: string) => void;
  /** Told of each part as it ends. */
  onPart?: (part: Part) => void;
}

export interface Verification {
  /** Whether nothing was beyond its tolerance and at least one thing was checked. */
  ok: boolean;
  parts: Part[];
}

type Found = Pick<Part, "checks"> & Partial<Part>;

/**
 * Checks everything that is in the folder. A part that can't be gone through fails with its reason; the others go on.
 * @throws DataError where the folder can't be read; AbortError
 */
export async function runVerify(options: VerifyOptions): Promise<Verification> {
  const { fixtures, signal } = options;
  const names = await readdir(fixtures).catch((error: unknown) => {
    throw new DataError("DATA_NO_FIXTURES", `--fixtures: ${messageOf(describeFileError(error, "read", fixtures))}`);
  });
  const parts: Part[] = [];
  const add = (part: Part): void => {
    parts.push(part);
    options.onPart?.(part);
  };
  const check = async (name: string, work: (path: string) => Promise<Found>): Promise<void> => {
    throwIfAborted(signal);
    options.onStatus?.(`checking ${name}`);
    try {
      add({ name, skipped: [], ...(await work(join(fixtures, name))) });
    } catch (error) {
      if (isAbort(error)) throw error;
      add({ name, checks: [], skipped: [], failure: messageOf(error) });
    }
  };
  const skip = (name: string, reason: string): void => add({ name, checks: [], skipped: [reason] });
  const checkIfThere = async (name: string, work: (path: string) => Promise<Found>): Promise<void> => {
    if (names.includes(name)) await check(name, work);
    else skip(name, "not in the folder");
  };

  const models = names.includes("tiny-models") ? await listFolders(join(fixtures, "tiny-models")) : [];
  if (models.length === 0) skip("tiny-models", "no models in the folder");
  for (const model of models) {
    const name = `tiny-models/${model}`;
    const missing = await listMissing(join(fixtures, name));
    if (missing.length > 0) skip(name, `without ${missing.join(", ")}`);
    else await check(name, async (path) => (await import("./tiny-model.ts")).verifyTinyModel(path));
  }
  await checkIfThere("smollm2-135m-instruct.json", (path) => checkLanguageModel(path, options));
  await checkIfThere("trec-eval.json", async (path) => (await import("./trec-eval.ts")).verifyTrecEval(path));
  await checkIfThere("lucene", async (path) => ({
    checks: await (await import("./lucene.ts")).verifyLucene(path, { signal }),
  }));
  return { ok: parts.every(hasPassed) && parts.some(({ checks }) => checks.length > 0), parts };
}

async function checkLanguageModel(path: string, options: VerifyOptions): Promise<Found> {
  const { findQuantizedModel, verifyLanguageModel } = await import("./language-model.ts");
  const { signal, onStatus } = options;
  let model = options.model;
  try {
    model ??= await findQuantizedModel({
      ...(signal ? { signal } : {}),
      onProgress: ({ bytesDone }) => onStatus?.(`fetching the model: ${(bytesDone / 1e6).toFixed(0)} MB`),
    });
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { checks: [], skipped: [`the model can't be had: ${error.message}`] };
  }
  return { checks: await verifyLanguageModel(path, model, { signal }) };
}

const modelFiles = ["config.json", "model.safetensors", "reference.json", "reference.safetensors"];

async function listMissing(folder: string): Promise<string[]> {
  const there = await Promise.all(modelFiles.map((file) => exists(join(folder, file))));
  return modelFiles.filter((_, i) => !there[i]);
}

async function listFolders(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
    .map(({ name }) => name)
    .sort();
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
