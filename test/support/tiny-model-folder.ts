/** A random two-layer model with a tokenizer of letters, as a Hugging Face folder: what `--model` takes. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { tinyConfig, writeTinyModel } from "../engines/local/tiny-models.ts";

/** Letters that stand alone as words; none of them is a stop word. */
export const wordLetters = [..."bcdfghjklmnpqrvwxz"];

/** Writes the model to `folder`, which is made. */
export async function writeTinyModelFolder(folder: string): Promise<void> {
  const special = ["<|end|>", "<|user|>", "<|assistant|>"];
  const letters = [..."abcdefghijklmnopqrstuvwxyz"];
  const tokens = [...special, "Ġ", ...letters, ...wordLetters.map((letter) => `Ġ${letter}`)];
  await writeTinyModel(folder, tinyConfig({ vocabSize: tokens.length, contextLength: 128 }));
  const tokenizer = {
    version: "1.0",
    added_tokens: special.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: wordLetters.map((letter) => `Ġ ${letter}`),
    },
  };
  const settings = {
    eos_token: "<|end|>",
    chat_template:
      "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
  };
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify(settings));
}
