/**
 * Named sets of options. Each is data with its source; whatever it leaves out is the schema's default. Those after
 * `rec-r1` hold what makes an algorithm: sizes, learning rate and length stay those of `small`, so that they can be
 * compared on one machine.
 */
export interface Recipe {
  description: string;
  /** Where the values come from. */
  source: string;
  /** Training options. */
  values: Readonly<Record<string, unknown>>;
  /** Options of the engine, for programs that make one. */
  engine?: Readonly<Record<string, unknown>>;
}

export const recipes: Readonly<Record<string, Recipe>> = {
  small: {
    description: "A small model with LoRA on a laptop",
    source: "the defaults of this package",
    values: {},
  },
  "rec-r1": {
    description: "The paper's settings: full fine-tuning on GPUs",
    source: "Lin et al. 2025, arXiv 2503.24289, and the authors' training scripts",
    values: {
      promptsPerStep: 32,
      groupSize: 12,
      temperature: 0.6,
      topP: 0.95,
      correctTruncation: false,
      maxPromptTokens: 256,
      maxTokens: 512,
      learningRate: 1e-6,
      klCoef: 0.001,
      klEstimator: "k3",
      loss: "grpo",
    },
    engine: { full: true },
  },
  "dr-grpo": {
    description: "GRPO without its biases: differences undivided, sums over a constant length, no KL term",
    source: "Liu et al. 2025, arXiv 2503.20783",
    values: { loss: "dr_grpo", advantageNorm: "none", aggregation: "constant", klCoef: 0 },
  },
  dapo: {
    description: "Clip higher, dynamic sampling, token-level loss, soft punishment of overlong completions",
    source:
      "Yu et al. 2025, arXiv 2503.14476; its buffer is 4,096 of 20,480 tokens; at most 10 rounds as in verl's script",
    values: {
      loss: "dapo",
      clipLow: 0.2,
      clipHigh: 0.28,
      aggregation: "token",
      resampleRounds: 10,
      overlongShare: 0.2,
      klCoef: 0,
    },
  },
  gspo: {
    description: "One ratio for a whole completion, clipped narrowly, four optimizer steps a batch",
    source: "Zheng et al. 2025, arXiv 2507.18071, section 5.1",
    values: { loss: "gspo", clipLow: 3e-4, clipHigh: 4e-4, aggregation: "sequence", minibatches: 4, klCoef: 0 },
  },
  rloo: {
    description: "REINFORCE with the mean of the other completions as baseline, whole completions, no clipping",
    source:
      "Ahmadian et al. 2024, arXiv 2402.14740 (k = 4, KL weight 0.03); its KL is part of the reward, of which k2 in the loss is the gradient",
    values: {
      loss: "importance_sampling",
      advantageBaseline: "leave_one_out",
      advantageNorm: "none",
      aggregation: "constant",
      groupSize: 4,
      klCoef: 0.03,
      klEstimator: "k2",
    },
  },
  "reinforce++": {
    description: "Advantages against the group's mean, divided by the batch's standard deviation, PPO's clip, KL by k2",
    source: "Hu et al. 2025, arXiv 2501.03262, the variant with a baseline; KL weight of its scripts",
    values: {
      loss: "ppo",
      advantageBaseline: "mean",
      advantageNorm: "batch",
      clipLow: 0.2,
      clipHigh: 0.2,
      klCoef: 1e-3,
      klEstimator: "k2",
    },
  },
};
