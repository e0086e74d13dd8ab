/** A trained SASRec: items, weights and how good it was; kept in a folder as JSON and safetensors. */
import { createHash } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import {
  describeFileError,
  makeWithParents,
  replaceFolder,
  temporaryName,
  writeFileAtomic,
} from "../../core/atomic-write.ts";
import { ModelError, RecommenderError, throwIfAborted } from "../../core/errors.ts";
import { type AnyTensor, Session } from "../../graph/session.ts";
import { readSafetensorsFile } from "../../models/read-tensors.ts";
import { writeSafetensors } from "../../models/safetensors-writer.ts";
import { NextItems } from "./next-items.ts";
import { buildScoreGraph, packSequences, sasrecShapes, type SasrecConfig } from "./sasrec.ts";

const settingsName = "sequential.json";
const weightsName = "model.safetensors";
/** Part of every model file; counted up when its meaning changes. */
const format = 1;
/** Histories of one run; fewer are filled up, so that a history's scores have the same bits in any company. */
const blockSize = 32;

export interface SequentialModelParts {
  config: SasrecConfig;
  /** Ids of the items, by number. */
  items: readonly string[];
  weights: ReadonlyMap<string, Float32Array>;
  /** How it was trained and how good it was, for people. */
  notes: Readonly<Record<string, unknown>>;
  /** Threads of onnxruntime. Default: its own choice. */
  threads?: number;
}

/** Weights as inputs of a graph. */
export function asFeeds(config: SasrecConfig, weights: ReadonlyMap<string, Float32Array>): Record<string, AnyTensor> {
  return Object.fromEntries(
    [...sasrecShapes(config)].map(([name, shape]) => [name, { shape, data: weights.get(name) as Float32Array }]),
  );
}

/**
 * Makes sure that a model can go to `folder`: it must be absent, empty, or hold a model and nothing else.
 * @throws ModelError `MODEL_FOLDER_TAKEN`; RecR1Error where it can't be looked at
 */
export async function requireModelFolder(folder: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw describeFileError(error, "write the model to", folder);
  }
  const others = names.filter((name) => name !== settingsName && name !== weightsName);
  if (names.length === 0 || (names.includes(settingsName) && others.length === 0)) return;
  throw new ModelError(
    "MODEL_FOLDER_TAKEN",
    `${folder} has other files (${(others[0] ?? names[0]) as string} …); a model goes to a folder of its own.`,
    { details: { folder } },
  );
}

export class SequentialModel extends NextItems {
  readonly config: SasrecConfig;
  readonly notes: Readonly<Record<string, unknown>>;
  /** SHA-256 of items, shape and weights. */
  readonly fingerprint: string;
  readonly #weights: ReadonlyMap<string, Float32Array>;
  readonly #sessionOptions: { threads?: number };
  #session: Promise<Session> | undefined;
  #closed = false;

  constructor({ config, items, weights, notes, threads }: SequentialModelParts) {
    super(items);
    this.config = config;
    this.notes = notes;
    this.#weights = weights;
    this.#sessionOptions = threads === undefined ? {} : { threads };
    const hash = createHash("sha256").update(JSON.stringify([format, config, items]));
    for (const data of weights.values()) hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    this.fingerprint = hash.digest("hex");
  }

  /** @throws ModelError where the folder holds no model, or a damaged one */
  static async load(folder: string): Promise<SequentialModel> {
    const path = join(folder, settingsName);
    let parts: { format: number; config: SasrecConfig; items: string[]; notes: Record<string, unknown> };
    try {
      parts = JSON.parse(await readFile(path, "utf8")) as typeof parts;
    } catch (cause) {
      const isAbsent = (cause as NodeJS.ErrnoException).code === "ENOENT";
      const problem = isAbsent ? "there is no such file; train a model first" : (cause as Error).message;
      throw new ModelError(isAbsent ? "MODEL_NOT_FOUND" : "MODEL_FILE_CORRUPT", `${path}: ${problem}.`, { cause });
    }
    const corrupt = (problem: string): ModelError =>
      new ModelError("MODEL_FILE_CORRUPT", `${folder}: ${problem}. Train the model again.`, { details: { folder } });
    if (parts.format !== format) {
      throw new ModelError(
        "MODEL_UNSUPPORTED",
        `${path}: format ${String(parts.format)}; this version reads ${format}.`,
      );
    }
    const { config, items } = parts;
    if (!Array.isArray(items) || items.length !== config?.items) throw corrupt("its items are not those of its shape");
    const tensors = await readSafetensorsFile(join(folder, weightsName));
    const weights = new Map<string, Float32Array>();
    for (const [name, shape] of sasrecShapes(config)) {
      const tensor = tensors.get(name);
      if (tensor?.shape.join() !== shape.join()) throw corrupt(`the weights ${name} are missing or of another shape`);
      weights.set(name, tensor.data);
    }
    return new SequentialModel({ config, items, weights, notes: parts.notes });
  }

  /**
   * Writes the model to `folder`, whole or not at all; a model that is there is replaced.
   * @throws ModelError `MODEL_FOLDER_TAKEN` where the folder has other files; RecR1Error where it can't be written
   */
  async save(folder: string): Promise<void> {
    await requireModelFolder(folder);
    const temporary = temporaryName(resolve(folder));
    try {
      await makeWithParents(temporary);
      const shapes = [...sasrecShapes(this.config)];
      const tensors = shapes.map(([name, shape]) => ({ name, shape, data: this.#weights.get(name) as Float32Array }));
      await writeSafetensors(join(temporary, weightsName), tensors);
      const { config, items, notes } = this;
      await writeFileAtomic(join(temporary, settingsName), `${JSON.stringify({ format, config, items, notes })}\n`);
      await replaceFolder(temporary, resolve(folder));
    } catch (error) {
      throw describeFileError(error, "write the model to", folder);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  }

  /** Scores are log-probabilities. @inheritdoc */
  async score(
    histories: readonly (readonly string[])[],
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<(Float32Array | undefined)[]> {
    if (this.#closed) {
      throw new RecommenderError("RECOMMENDER_CLOSED", "sequential: was closed; nothing can be asked of it any more.");
    }
    this.#session ??= Session.create("sasrec", buildScoreGraph(this.config), this.#sessionOptions);
    const session = await this.#session;
    const known = histories.map((history) => history.flatMap((id) => this.numberOf(id) ?? []));
    const asked = known.flatMap((history, i) => (history.length > 0 ? [i] : []));
    const answers: (Float32Array | undefined)[] = histories.map(() => undefined);
    const { historyLength, items } = this.config;
    const weights = asFeeds(this.config, this.#weights);
    for (let start = 0; start < asked.length; start += blockSize) {
      throwIfAborted(options.signal);
      const block = asked.slice(start, start + blockSize);
      const padded = Array.from({ length: blockSize }, (_, i) => known[block[i] as number] ?? []);
      const { sequences, mask } = packSequences(padded, historyLength);
      const lastRows = BigInt64Array.from(padded, (_, i) => BigInt((i + 1) * historyLength - 1));
      const feeds: Record<string, AnyTensor> = {
        ...weights,
        sequences: { shape: [blockSize, historyLength], data: sequences },
        mask: { shape: [blockSize, 1, historyLength, historyLength], data: mask },
        lastRows: { shape: [blockSize], data: lastRows },
      };
      const { scores } = await session.run(feeds, {}, ["scores"]);
      const data = (scores as { data: Float32Array }).data;
      block.forEach((i, row) => {
        answers[i] = logSoftmax(data.subarray(row * (items + 1) + 1, (row + 1) * (items + 1)));
      });
    }
    return answers;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await (await this.#session)?.close();
  }
}

function logSoftmax(scores: Float32Array): Float32Array {
  let largest = -Infinity;
  for (const score of scores) largest = Math.max(largest, score);
  let sum = 0;
  for (const score of scores) sum += Math.exp(score - largest);
  const shift = largest + Math.log(sum);
  return scores.map((score) => score - shift);
}
