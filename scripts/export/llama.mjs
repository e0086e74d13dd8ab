// Greedy completions of a GGUF file by llama.cpp (node-llama-cpp, installed in bench/llama-cpp), as one line of JSON:
//   node llama.mjs MODEL.gguf REFERENCE.json
import { readFileSync } from "node:fs";
import { loadModel } from "../../bench/llama-cpp/load-model.mjs";

const [gguf, referencePath] = process.argv.slice(2);
const { entries, maxTokens, endIds, threads } = JSON.parse(readFileSync(referencePath, "utf8"));
const model = await loadModel(gguf, threads);
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
