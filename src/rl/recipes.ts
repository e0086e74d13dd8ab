/** Named sets of training options. Each is data with its source; whatever it leaves out is the schema's default. */
export interface Recipe {
  description: string;
  /** Where the values come from. */
  source: string;
  values: Readonly<Record<string, unknown>>;
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
      maxTokens: 512,
      learningRate: 1e-6,
      klCoef: 0.001,
      klEstimator: "k3",
      loss: "grpo",
    },
  },
};
