// Greedy completions of a GGUF file by llama.cpp (node-llama-cpp, installed in bench/llama-cpp), as one line of JSON:
//   node llama.mjs MODEL.gguf REFERENCE.json NODE_LLAMA_CPP
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [gguf, referencePath, library] = process.argv.slice(2);
const { getLlama } = await import(pathToFileURL(library).href);
const { entries, maxTokens, endIds, threads } = JSON.parse(readFileSync(referencePath, "utf8"));
const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  maxThreads: threads,
  progressLogs: false,
});
const model = await llama.loadModel({ modelPath: gguf });
const context = await model.createContext({ contextSize: 512, threads });
const sequence = context.getSequence();
const completions = [];
let otherPrompts = 0;
for (const { prompt, promptText } of entries) {
  await sequence.clearHistory();
  const own = model.tokenize(promptText, true);
  if (own.join() !== prompt.join()) otherPrompts++;
  const tokens = [];
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    if (endIds.includes(token)) break;
    tokens.push(token);
    if (tokens.length === maxTokens) break;
  }
  completions.push(model.detokenize(tokens));
}
process.stdout.write(`${JSON.stringify({ completions, promptsTokenizedOtherwise: otherPrompts })}\n`);
process.exit(0);
