// A random two-layer model of 26 letters as a Hugging Face folder, with a tokenizer.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nextGaussian, randomStream } from "../../dist/core/random.js";
import { configFromHuggingFace, planTensors } from "../../dist/models/architectures.js";
import { writeSafetensors } from "../../dist/models/safetensors-writer.js";

const letters = [..."abcdefghijklmnopqrstuvwxyz"];

const config = {
  model_type: "llama",
  vocab_size: letters.length,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  tie_word_embeddings: true,
};

export async function writeRandomModel(folder) {
  await mkdir(folder, { recursive: true });
  const write = (name, value) => writeFile(join(folder, name), JSON.stringify(value));
  await write("config.json", config);
  const vocab = Object.fromEntries(letters.map((letter, id) => [letter, id]));
  await write("tokenizer.json", {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: { type: "BPE", vocab, merges: [] },
  });
  await write("tokenizer_config.json", { chat_template: "{% for m in messages %}{{ m.content }}{% endfor %}" });
  const tensors = [...planTensors(configFromHuggingFace(config, folder))].map(({ name, shape }) => {
    const random = randomStream(1, name);
    const isNorm = name.includes("norm");
    const deviation = isNorm ? 0.3 : 1.4 / Math.sqrt(shape[1]);
    const length = shape.reduce((a, b) => a * b, 1);
    const data = Float32Array.from({ length }, () => (isNorm ? 1 : 0) + deviation * nextGaussian(random));
    return { name, shape, data };
  });
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
}
