/** Small sentence encoders as Hugging Face folders: a bag of words as ONNX, and a random BERT as safetensors. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nextGaussian, randomStream } from "../../src/core/random.ts";
import { bertWeightShapes, type BertConfig } from "../../src/encoders/bert.ts";
import { Graph } from "../../src/graph/graph.ts";
import { Gather } from "../../src/graph/operators.ts";
import { writeSafetensors } from "../../src/models/safetensors-writer.ts";

const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/** tokenizer.json of BERT's kind with these words. */
function wordPieces(words: readonly string[]): unknown {
  const vocab = Object.fromEntries([...special, ...words].map((word, id) => [word, id]));
  const token = (content: string, id: number) => ({ id, content, special: true, single_word: false, lstrip: false, rstrip: false, normalized: false }); // prettier-ignore
  const specialToken = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  return {
    version: "1.0",
    added_tokens: special.map(token),
    normalizer: { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true }, // prettier-ignore
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: {
      type: "TemplateProcessing",
      single: [specialToken("[CLS]"), { Sequence: { id: "A", type_id: 0 } }, specialToken("[SEP]")],
      pair: [],
      special_tokens: Object.fromEntries(["[CLS]", "[SEP]"].map((id) => [id, { id, ids: [vocab[id]], tokens: [id] }])),
    },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: { type: "WordPiece", unk_token: "[UNK]", continuing_subword_prefix: "##", max_input_chars_per_word: 100, vocab }, // prettier-ignore
  };
}

const size = 32;

async function writeFolder(folder: string, words: readonly string[], config: object): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(wordPieces(words)));
}

/** An encoder whose vectors are means of random word vectors, so that texts are alike as far as they share words. */
export async function writeWordEncoder(folder: string, words: readonly string[]): Promise<void> {
  await writeFolder(folder, words, { model_type: "words", max_position_embeddings: 64 });
  const random = randomStream(1, "words");
  const rows = special.length + words.length;
  // Special tokens weigh little, so that words decide.
  const numbers = Array.from({ length: rows * size }, (_, i) => nextGaussian(random) * (i < special.length * size ? 0.05 : 1)); // prettier-ignore
  const graph = new Graph();
  const ids = graph.input("input_ids", "int64", ["B", "T"]);
  graph.input("attention_mask", "int64", ["B", "T"]);
  graph.output("last_hidden_state", Gather(graph.constant(numbers, [rows, size]), ids));
  await mkdir(join(folder, "onnx"), { recursive: true });
  await writeFile(join(folder, "onnx", "model.onnx"), graph.encode("words"));
}

export const tinyBert = (words: readonly string[]): BertConfig => ({
  vocabSize: special.length + words.length,
  hiddenSize: size,
  intermediateSize: 48,
  layers: 2,
  heads: 4,
  positions: 40,
  tokenTypes: 2,
  layerNormEps: 1e-12,
});

/** A BERT with random weights. @param change of its weights, by name */
export async function writeTinyBert(
  folder: string,
  words: readonly string[],
  change: (name: string, shape: number[]) => { name: string; shape: number[] } | null = (name, shape) => ({ name, shape }), // prettier-ignore
): Promise<void> {
  const config = tinyBert(words);
  await writeFolder(folder, words, {
    model_type: "bert",
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    max_position_embeddings: config.positions,
    type_vocab_size: config.tokenTypes,
  });
  const random = randomStream(2, "bert");
  const tensors = [...bertWeightShapes(config)].flatMap(([original, originalShape]) => {
    const changed = change(original, originalShape);
    if (!changed) return [];
    const { name, shape } = changed;
    const count = shape.reduce((a, b) => a * b, 1);
    const mean = name.endsWith("LayerNorm.weight") ? 1 : 0;
    return [{ name, shape, data: Float32Array.from({ length: count }, () => mean + 0.2 * nextGaussian(random)) }];
  });
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
}
