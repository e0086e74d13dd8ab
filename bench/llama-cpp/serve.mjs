// llama.cpp (node-llama-cpp, its prebuilt processor binary) behind the same chat API, for bench/serve: greedy completions of
// a GGUF file, until standard input ends. Batched as well as it can: requests that come together are sequences of one
// context and are decoded together, and a sequence keeps what a prompt has in common with the one before.
import { createServer } from "node:http";
import { LlamaText, SpecialTokensText } from "node-llama-cpp";
import { loadModel } from "./load-model.mjs";

const { gguf, threads, sequences: sequenceCount } = JSON.parse(process.argv[2]);
const model = await loadModel(gguf, threads);
const context = await model.createContext({ sequences: sequenceCount, contextSize: 256, batchSize: 512, threads });
const free = Array.from({ length: sequenceCount }, () => context.getSequence());
const waiting = [];

/** ChatML, the template of the models that the bench runs. */
function tokenize(messages) {
  const parts = messages.flatMap(({ role, content }) => [
    new SpecialTokensText(`<|im_start|>${role}\n`),
    content,
    new SpecialTokensText("<|im_end|>\n"),
  ]);
  return LlamaText([...parts, new SpecialTokensText("<|im_start|>assistant\n")]).tokenize(model.tokenizer);
}

async function complete(messages, maxTokens) {
  const prompt = tokenize(messages);
  const sequence = free.pop() ?? (await new Promise((resolve) => waiting.push(resolve)));
  try {
    // The last token of the prompt has to be computed for what follows it.
    await sequence.adaptStateToTokens(prompt.slice(0, -1), false);
    const tokens = [];
    for await (const token of sequence.evaluate(prompt.slice(sequence.nextTokenIndex), { temperature: 0 })) {
      tokens.push(token);
      if (tokens.length === maxTokens) break;
    }
    return model.detokenize(tokens);
  } finally {
    const next = waiting.shift();
    if (next) next(sequence);
    else free.push(sequence);
  }
}

const server = createServer((request, response) => {
  let body = "";
  request.setEncoding("utf8");
  request.on("data", (chunk) => (body += chunk));
  request.on("end", () => {
    const { messages, max_tokens: maxTokens } = JSON.parse(body);
    complete(messages, maxTokens).then(
      (content) => {
        const reply = JSON.stringify({ choices: [{ message: { role: "assistant", content } }] });
        response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(reply) });
        response.end(reply);
      },
      (error) => response.writeHead(500).end(String(error)),
    );
  });
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`http://127.0.0.1:${server.address().port}\n`));
process.stdin.resume().on("end", () => process.exit(0));
