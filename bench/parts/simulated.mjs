// A policy on an imagined server and an imagined recommender that take the time they are given and compute next to
// nothing, so that what is left is the loop's own.
import { setTimeout as sleep } from "node:timers/promises";
import { resolveLoss } from "../../dist/engines/loss-settings.js";
import { chunkData } from "../../dist/engines/tinker/chunk-data.js";
import { findServerLoss, toServerDatum } from "../../dist/engines/tinker/express-loss.js";
import { encodeForwardBackward } from "../../dist/engines/tinker/protobuf.js";
import { defineTask, ndcg, randomStream } from "../../dist/index.js";

const items = Array.from({ length: 1000 }, (_, i) => `item ${i}`);

/** What the policy writes: the number of an item, and three words that say nothing. */
function writeCompletion(random, tokens) {
  const ids = Array.from({ length: tokens }, () => random.nextInt(items.length));
  return {
    ids,
    logprobs: Float32Array.from(ids, () => -1 - random.next()),
    // The words after the number make every query a new one, so that none is answered from memory.
    text: `item ${ids[0] % 20} and ${ids[1]} ${ids[2]} ${ids[3]}`,
    stopReason: "length",
  };
}

/** What a client of a Tinker server does with a step's data: they go into messages, part by part. */
function encodePass(data, loss) {
  const serverLoss = findServerLoss(resolveLoss(loss), "sum");
  const wire = data.map((datum) =>
    toServerDatum(datum, loss, serverLoss, new Float64Array(datum.completion.length).fill(1 / data.length)),
  );
  const { lossFn, config: lossFnConfig } = serverLoss;
  for (const part of chunkData(wire, { chunkData: 1024, chunkBytes: 5_000_000 })) {
    encodeForwardBackward({ modelId: "m", seqId: 1, data: part, lossFn, lossFnConfig, forwardOnly: false });
  }
}

/** @param encodes whether training data are put into messages as for a Tinker server */
export function simulatedEngine({ sampleMs = 0, trainMs = 0, completionTokens = 16, encodes = false }) {
  const marks = { firstSample: undefined, lastUpdate: undefined };
  const wait = (ms, signal) => (ms > 0 ? sleep(ms, undefined, { signal }) : undefined);
  return {
    marks,
    description: { engine: "simulated" },
    samplesWhileTraining: true,
    contextLength: 1_000_000,
    tokenizer: {
      encodeChat: (messages) => Array.from(messages.at(-1).content, (char) => char.charCodeAt(0)),
      encode: (text) => Array.from(text, (char) => char.charCodeAt(0)),
      decode: () => "",
      endIds: [0],
    },
    async sample(prompts, { n, seed, signal }) {
      marks.firstSample ??= performance.now();
      await wait(sampleMs, signal);
      return prompts.map((_, p) =>
        Array.from({ length: n }, (_, g) => writeCompletion(randomStream(seed, p, g), completionTokens)),
      );
    },
    async forwardBackward(data, loss, { signal } = {}) {
      if (encodes) encodePass(data, loss);
      await wait(trainMs, signal);
      return { loss: 0, logprobs: data.map(({ oldLogprobs }) => oldLogprobs), metrics: {} };
    },
    async optimStep() {
      marks.lastUpdate = performance.now();
      return { gradNorm: 1, applied: true };
    },
    async zeroGrad() {},
    async logprobs(data) {
      return data.map(({ completion }) => new Float32Array(completion.length));
    },
    async saveState() {},
    async loadState() {},
    async close() {},
  };
}

export function simulatedRecommender({ searchMs = 0 }) {
  return {
    name: "simulated",
    fingerprint: async () => "simulated",
    async search(queries, { topK, signal }) {
      if (searchMs > 0) await sleep(searchMs, undefined, { signal });
      return queries.map(({ text }) => {
        const first = Number(text.split(" ")[1]) || 0;
        return Array.from({ length: topK }, (_, rank) => ({
          id: items[(first + rank) % items.length],
          score: 1 / (rank + 1),
        }));
      });
    },
    async close() {},
  };
}

/** A task whose rewards differ within every group. */
export const simulatedTask = (examples = 500) =>
  defineTask({
    name: "simulated",
    data: {
      train: Array.from({ length: examples }, (_, i) => ({
        id: `q${i}`,
        query: `find ${items[i % items.length]}`,
        relevant: [items[i % 20]],
      })),
    },
    prompt: ({ query }) => query,
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 100 }) : 0),
    topK: 100,
  });
