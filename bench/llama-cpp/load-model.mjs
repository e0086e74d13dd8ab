// A GGUF file in llama.cpp (node-llama-cpp), on the processor and by the binary that comes with the package.
import { getLlama } from "node-llama-cpp";

export async function loadModel(gguf, threads) {
  const llama = await getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    maxThreads: threads,
    progressLogs: false,
  });
  return llama.loadModel({ modelPath: gguf });
}
