// One point of bench/scale in a process of its own, so that its peak memory is its own: a step of a given size.
//   node bench/parts/scale-point.mjs '{"model":"smollm2-135m-instruct","prompts":8,…}'
import { randomStream } from "../../dist/core/random.js";
import { LocalEngine } from "../../dist/engines/local/index.js";
import { configFromHuggingFace, planTensors } from "../../dist/models/architectures.js";
import { loadModel } from "../../dist/models/load.js";

/** Shapes as in the models' own config.json; the weights are random. */
const shapes = {
  "qwen2.5-0.5b": {
    model_type: "qwen2",
    vocab_size: 151936,
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    max_position_embeddings: 32768,
    rms_norm_eps: 1e-6,
    rope_theta: 1e6,
    tie_word_embeddings: true,
  },
  "qwen3-0.6b": {
    model_type: "qwen3",
    vocab_size: 151936,
    hidden_size: 1024,
    intermediate_size: 3072,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    head_dim: 128,
    max_position_embeddings: 40960,
    rms_norm_eps: 1e-6,
    rope_theta: 1e6,
    tie_word_embeddings: true,
  },
};

function makeRandomModel(name) {
  const config = configFromHuggingFace(shapes[name], name);
  const weights = new Map();
  let state = 1;
  for (const { name: tensor, shape } of planTensors(config)) {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    const scale = tensor.includes("norm") ? 0 : 2 / Math.sqrt(shape.at(-1));
    const offset = tensor.includes("norm") ? 1 : 0;
    for (let i = 0; i < data.length; i++) {
      // Numerical Recipes' generator: fast, and good enough for weights that only have to be of the right size.
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      data[i] = offset + (scale * state) / 2 ** 32;
    }
    weights.set(tensor, { shape, data });
  }
  return { name, config, weights, tokenizer: null, fingerprint: name };
}

const {
  model: name,
  prompts,
  groupSize,
  promptTokens,
  completionTokens,
  threads,
  steps,
  memoryGb,
} = JSON.parse(process.argv[2]);
const model = shapes[name] ? makeRandomModel(name) : await loadModel(name);
const engine = new LocalEngine(model, { threads, ...(memoryGb ? { memoryGb } : {}) });
const random = randomStream(1, "scale");
const promptIds = Array.from({ length: prompts }, () =>
  Array.from({ length: promptTokens }, () => random.nextInt(model.config.vocabSize)),
);
const rows = [];
for (let step = 0; step <= steps; step++) {
  const start = performance.now();
  const samples = await engine.sample(promptIds, {
    n: groupSize,
    maxTokens: completionTokens,
    temperature: 1,
    seed: step,
    ignoreEnd: true,
  });
  const sampled = performance.now();
  const data = samples.flatMap((group, p) =>
    group.map(({ ids, logprobs }, i) => ({
      prompt: promptIds[p],
      completion: ids,
      oldLogprobs: logprobs,
      advantage: i % 2 === 0 ? 1 : -1,
    })),
  );
  await engine.forwardBackward(data, { name: "grpo" });
  await engine.optimStep({ learningRate: 1e-5 });
  const end = performance.now();
  // The first step also compiles the graphs.
  if (step > 0) rows.push({ sample: (sampled - start) / 1000, learn: (end - sampled) / 1000 });
}
await engine.close();
const best = rows.reduce((a, b) => (a.sample + a.learn <= b.sample + b.learn ? a : b));
process.stdout.write(
  `${JSON.stringify({
    sample_seconds: best.sample,
    learn_seconds: best.learn,
    step_seconds: best.sample + best.learn,
    tokens: prompts * (promptTokens + groupSize * completionTokens),
    peak_memory_gb: (process.resourceUsage().maxRSS * 1024) / 1e9,
  })}\n`,
);
