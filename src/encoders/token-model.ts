/** What runs an encoder's network: an ONNX file, or our own graph over weights from safetensors. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { sha256OfFile } from "../core/checksum.ts";
import { ModelError } from "../core/errors.ts";
import { type AnyTensor, Session } from "../graph/session.ts";
import { readSafetensorsFile } from "../models/read-tensors.ts";
import { buildBertGraph, pickBertWeights, readBertConfig } from "./bert.ts";

/** Token ids of texts of about one length, padded to the same: `[texts, tokens]`, row-major. */
export interface TokenBatch {
  texts: number;
  tokens: number;
  ids: BigInt64Array;
  /** 1 at a text's tokens, 0 at padding. */
  mask: BigInt64Array;
}

/** What the network makes of them: a vector for each token `[texts, tokens, D]`, or for each text `[texts, D]`. */
export interface NetworkOutput {
  shape: readonly number[];
  data: Float32Array;
}

export interface TokenModel {
  /** SHA-256 of the files that decide what it computes. */
  readonly digest: string;
  run(batch: TokenBatch): Promise<NetworkOutput>;
  close(): Promise<void>;
}

/** Where ONNX files lie in folders of the model hub. */
const onnxPlaces = ["model.onnx", join("onnx", "model.onnx")];

/**
 * The network of a Hugging Face folder: its ONNX file where it has one, otherwise its safetensors (BERT only).
 * @param file path of the ONNX file in the folder, such as `onnx/model_quantized.onnx`
 * @throws ModelError where there is neither, or it can't be used; EngineError where onnxruntime refuses it
 */
export async function openTokenModel(
  folder: string,
  config: Record<string, unknown>,
  options: { file?: string | undefined; threads?: number | undefined },
): Promise<TokenModel> {
  const session = options.threads === undefined ? {} : { threads: options.threads };
  for (const place of options.file === undefined ? onnxPlaces : [options.file]) {
    const path = join(folder, place);
    if (await isFile(path)) return openOnnx(path, session);
  }
  const safetensors = join(folder, "model.safetensors");
  if (options.file === undefined && (await isFile(safetensors))) return openBert(folder, safetensors, config, session);
  const looked = options.file ?? [...onnxPlaces, "model.safetensors"].join(", ");
  throw new ModelError(
    "MODEL_NOT_FOUND",
    `${folder}: no encoder here; looked for ${looked}. Give a Hugging Face folder with an ONNX file or safetensors.`,
    { details: { path: folder } },
  );
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );

async function openBert(
  folder: string,
  path: string,
  json: Record<string, unknown>,
  options: { threads?: number },
): Promise<TokenModel> {
  const config = readBertConfig(json, join(folder, "config.json"));
  // Old checkpoints store the numbers from 0 to 511.
  const tensors = await readSafetensorsFile(path, (name) => name.endsWith("embeddings.position_ids"));
  const weights = Object.fromEntries(pickBertWeights(tensors, config, folder));
  const digest = await sha256OfFile(path);
  const session = await Session.create("encoder", buildBertGraph(config), options);
  return {
    digest,
    run: async ({ texts, tokens, ids, mask }) => {
      const feeds: Record<string, AnyTensor> = {
        ...weights,
        input_ids: { shape: [texts, tokens], data: ids },
        token_type_ids: { shape: [texts, tokens], data: new BigInt64Array(texts * tokens) },
        positions: { shape: [tokens], data: BigInt64Array.from({ length: tokens }, (_, i) => BigInt(i)) },
        mask: {
          shape: [texts, 1, 1, tokens],
          data: Float32Array.from(mask, (value) => (value === 1n ? 0 : -Infinity)),
        },
      };
      return (await session.run(feeds, {}, ["last_hidden_state"])).last_hidden_state as NetworkOutput;
    },
    close: () => session.close(),
  };
}

const knownInputs = ["input_ids", "attention_mask", "token_type_ids"];
/** Outputs by the names that exporters give them, best first. */
const knownOutputs = ["last_hidden_state", "token_embeddings", "sentence_embedding"];

async function openOnnx(path: string, options: { threads?: number }): Promise<TokenModel> {
  const session = await Session.open(path, options);
  const fail = async (problem: string): Promise<never> => {
    await session.close();
    throw new ModelError("MODEL_UNSUPPORTED", `${path}: ${problem}.`, { details: { path } });
  };
  const unknown = session.inputNames.filter((name) => !knownInputs.includes(name));
  if (unknown.length > 0) {
    return fail(`the graph wants ${unknown.join(", ")}; encoders have ${knownInputs.join(", ")}`);
  }
  const output = knownOutputs.find((name) => session.outputNames.includes(name)) ?? session.outputNames[0];
  if (output === undefined) return fail("the graph has no output");
  const dataFile = `${path}_data`;
  const digests = [await sha256OfFile(path), ...((await isFile(dataFile)) ? [await sha256OfFile(dataFile)] : [])];
  return {
    digest: digests.join("+"),
    run: async ({ texts, tokens, ids, mask }) => {
      const shape = [texts, tokens];
      const feeds: Record<string, AnyTensor> = {
        input_ids: { shape, data: ids },
        attention_mask: { shape, data: mask },
        token_type_ids: { shape, data: new BigInt64Array(texts * tokens) },
      };
      return (await session.run(feeds, {}, [output]))[output] as NetworkOutput;
    },
    close: () => session.close(),
  };
}
