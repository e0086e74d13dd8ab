import fc from "fast-check";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test, expect } from "vitest";
import { ModelError } from "../../src/core/errors.ts";
import { loadModel } from "../../src/models/load.ts";
import { createTokenizer } from "../../src/models/tokenizer.ts";
import type { TokenizerParts } from "../../src/models/tokenizer.ts";
import { writeTinyModelFolder } from "../support/tiny-model-folder.ts";
import { readFile } from "node:fs/promises";
import { gguf, ggufWeights, safetensors, tinyConfig, tinyMetadata, tinyWeights } from "../models/model-files.ts";
import { damaged, damagedJson, faultOf, fuzz, fuzzFolder, timeout } from "./fuzz.ts";

const tokenizerMetadata = {
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.pre": "gpt-2",
  "tokenizer.ggml.tokens": ["a", "b", "ab", "<|end|>"],
  "tokenizer.ggml.token_type": Int32Array.of(1, 1, 1, 3),
  "tokenizer.ggml.merges": ["a b"],
  "tokenizer.chat_template": "{{ messages[0].content }}",
};

/** A refused model file is a `ModelError` that names the file and, where its bytes contradict themselves, the place. */
function modelFault(error: unknown): string | undefined {
  const fault = faultOf(error);
  if (fault !== undefined) return fault;
  if (!(error instanceof ModelError)) return `is a ${(error as Error).name}`;
  if (typeof error.details.path !== "string" && !error.message.includes("/rec-r1-fuzz-"))
    return "doesn't name the file";
  const isPlaced = error.code !== "MODEL_FILE_CORRUPT" || "position" in error.details || /\.json/.test(error.message);
  return isPlaced ? undefined : "doesn't say where";
}

describe("model files", () => {
  test("GGUF", { timeout }, async () => {
    const bytes = gguf({ ...tinyMetadata(), ...tokenizerMetadata }, ggufWeights("llama", tinyWeights()));
    const path = join(await fuzzFolder(), "m.gguf");
    await fuzz({
      name: "GGUF",
      inputs: fc.oneof({ weight: 4, arbitrary: damaged(bytes, { start: 3000 }) }, damaged(bytes)),
      sizeOf: (input) => input.length,
      run: (input) => {
        writeFileSync(path, input);
        return loadModel(path);
      },
      check: modelFault,
    });
  });

  test("safetensors", { timeout }, async () => {
    const bytes = safetensors(tinyWeights());
    const folder = await fuzzFolder();
    writeFileSync(join(folder, "config.json"), JSON.stringify(tinyConfig));
    await fuzz({
      name: "safetensors",
      inputs: fc.oneof({ weight: 4, arbitrary: damaged(bytes, { start: 3000 }) }, damaged(bytes)),
      sizeOf: (input) => input.length,
      run: (input) => {
        writeFileSync(join(folder, "model.safetensors"), input);
        return loadModel(folder);
      },
      check: modelFault,
    });
  });

  test("config.json", { timeout }, async () => {
    const folder = await fuzzFolder();
    writeFileSync(join(folder, "model.safetensors"), safetensors(tinyWeights()));
    await fuzz({
      name: "config.json",
      inputs: damagedJson(tinyConfig),
      sizeOf: (input) => input.length,
      run: (input) => {
        writeFileSync(join(folder, "config.json"), input);
        return loadModel(folder);
      },
      check: modelFault,
    });
  });

  test("tokenizer.json", { timeout }, async () => {
    const folder = await fuzzFolder();
    mkdirSync(folder, { recursive: true });
    await writeTinyModelFolder(folder);
    const good = JSON.parse(await readFile(join(folder, "tokenizer.json"), "utf8")) as Record<string, unknown>;
    const sequence = {
      ...good,
      normalizer: {
        type: "Sequence",
        normalizers: [{ type: "NFC" }, { type: "Replace", pattern: { Regex: " {2,}" }, content: " " }],
      },
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: "\\p{L}+|\\p{N}{1,3}" }, behavior: "Isolated", invert: false },
          { type: "Digits", individual_digits: true },
          { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
        ],
      },
    };
    await fuzz({
      name: "tokenizer.json",
      inputs: fc.oneof(damagedJson(good), damagedJson(sequence)),
      sizeOf: (input) => input.length,
      run: async (input) => {
        writeFileSync(join(folder, "tokenizer.json"), input);
        const { tokenizer } = await loadModel(folder);
        const ids = tokenizer?.encodeChat([{ role: "user", content: "bb  cd 42 é \u0000" }]) ?? [];
        tokenizer?.decode(ids);
      },
      check: modelFault,
    });
  });
});

/** What templates are made of, those that models have and those that nobody should write. */
const templatePieces = [
  ...["{% for m in messages %}", "{% endfor %}", "{{ m.content }}", "{{ m['role'] }}", "{{ messages }}", "text"],
  ...["{% if m.role == 'user' %}", "{% else %}", "{% endif %}", "{{ bos_token }}", "{% set ns = namespace(x='ab') %}"],
  ...[
    "{% set ns.x = ns.x + ns.x %}",
    "{% set ns.x = ns.x | replace('a', 'bbbb') %}",
    "{{ ns.x }}",
    "{{ ns | tojson }}",
  ],
  ...[
    "{% for i in range(100000) %}",
    "{% for i in range(10 ** 12) %}",
    "{% for a in ns.x %}",
    "{{ range(99999) | list }}",
  ],
  ...["{% macro f(x) %}", "{% endmacro %}", "{{ f(1) }}", "{{ f(f) }}", "{{ raise_exception('no') }}", "{{ x.y.z }}"],
  ...[
    "{{ 'a' * 3 }}",
    "{{ [1, 2] + [3] }}",
    "{{ messages[::-1] }}",
    "{{ messages[0]['constructor'] }}",
    "{{ loop.index }}",
  ],
  ...[
    "{{ __proto__ }}",
    "{% generation %}",
    "{% endgeneration %}",
    "{%- ",
    " -%}",
    "{{",
    "}}",
    "{#",
    "#}",
    "'",
    "\\",
    "\u0000",
  ],
  ...["{{ m.content | trim | upper | length }}", "{{ messages | map(attribute='role') | join('x') }}", "{% break %}"],
  ...["{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "{{ strftime_now('%d %B %Y') }}"],
];

const realTemplate =
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are helpful<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

describe("chat templates", () => {
  const parts: TokenizerParts = {
    where: "tokenizer.json",
    tokenizerJson: {
      ...{ version: "1.0", added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null },
      decoder: null,
      model: { type: "BPE", vocab: { a: 0, b: 1 }, merges: [] },
    },
    tokenizerConfig: {},
    chatTemplate: null,
    bosToken: "<s>",
    eosToken: null,
    endIds: [],
  };
  const render = async (chatTemplate: string): Promise<string> => {
    const tokenizer = await createTokenizer({ ...parts, chatTemplate });
    return tokenizer.renderChat([
      { role: "system", content: "be brief" },
      { role: "user", content: "{{ 7 * 7 }}" },
    ]);
  };

  test("chat templates", { timeout: 4 * timeout }, async () => {
    const made = fc.array(fc.constantFrom(...templatePieces), { maxLength: 12 }).map((pieces) => pieces.join(""));
    await fuzz({
      name: "chat templates",
      inputs: fc.oneof(
        { weight: 3, arbitrary: made },
        damaged(Buffer.from(realTemplate)).map((bytes) => bytes.toString()),
      ),
      sizeOf: (template) => template.length,
      // A template is a program: what bounds it is the renderer's budget and not its length.
      slackBytes: 256 * 2 ** 20,
      run: render,
      check: modelFault,
    });
  });

  test.each([
    [
      "loops",
      "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
    ],
    ["asks for a huge range", "{% for i in range(1000000000) %}x{% endfor %}"],
    [
      "doubles a text",
      "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    ],
    [
      "doubles a list",
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    ],
    ["calls itself", "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns | tojson }}"],
  ])("one that %s is stopped", { timeout: 60_000 }, async (_, template) => {
    await expect(render(template)).rejects.toMatchObject({ code: "CHAT_TEMPLATE_FAILED" });
    expect(process.memoryUsage().rss).toBeLessThan(2 ** 31);
  });

  test("one that reaches for the program finds nothing", async () => {
    for (const name of ["constructor", "__proto__", "prototype", "toString"]) {
      expect(await render(`[{{ messages.${name} }}{{ 'x'['${name}'] }}{{ messages[0].${name} }}]`)).toBe("[]");
    }
    expect(await render("{{ messages[1].content }}")).toBe("{{ 7 * 7 }}");
  });

  test("a pattern that tries all the ways there are is stopped", { timeout: 60_000 }, async () => {
    const pre_tokenizer = { type: "Split", pattern: { Regex: "^(\\w+\\s?)*$" }, behavior: "Isolated", invert: false };
    const tokenizer = await createTokenizer({ ...parts, tokenizerJson: { ...parts.tokenizerJson, pre_tokenizer } });
    expect(() => tokenizer.encode(`${"aaaa ".repeat(20)}!`)).toThrow(
      /fails on a text of 101 characters: It took longer than 5 s/,
    );
  });
});
