import { mkdir, mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  readInteractions,
  SequentialModel,
  SequentialRecommender,
  trainSequential,
  type Interaction,
  type TrainSequentialOptions,
} from "../../../src/recommenders/sequential/index.ts";
import { buildTrainGraph, initSasrec, packSequences } from "../../../src/recommenders/sequential/sasrec.ts";
import { asFeeds } from "../../../src/recommenders/sequential/sequential-model.ts";
import { nextGaussian, randomStream } from "../../../src/core/random.ts";
import { reduceItemVectors } from "../../../src/recommenders/sequential/item-vectors.ts";
import { Session, type AnyTensor, type TensorData } from "../../../src/graph/session.ts";

/** Items in a ring: after each comes the next; every third history begins with something that tells nothing. */
const ids = Array.from({ length: 24 }, (_, i) => `item${i}`);
const after = (start: number, steps: number): string[] =>
  Array.from({ length: steps }, (_, i) => ids[(start + i) % ids.length] as string);
const ring: Interaction[] = ids.flatMap((_, i) =>
  [1, 2, 4].map((length) => ({ user: `u${i}-${length}`, history: after(i, length), target: after(i + length, 1)[0] as string })),
); // prettier-ignore

const small = { items: ids, train: ring, hiddenSize: 16, blocks: 1, heads: 2, historyLength: 5, dropout: 0.1 };
const train = (options: Partial<TrainSequentialOptions> = {}) =>
  trainSequential({ ...small, learningRate: 1e-2, epochs: 40, batchSize: 24, ...options });

async function countRight(model: SequentialModel): Promise<number> {
  const answers = await model.next(ids.map((_, i) => after(i, 3)), { topK: 1 }); // prettier-ignore
  return answers.filter((hits, i) => hits[0]?.id === after(i + 3, 1)[0]).length;
}

let folder: string;
let model: SequentialModel;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-sequential-"));
  model = await train();
}, 120_000);
afterAll(async () => {
  await model.close();
  await rm(folder, { recursive: true, force: true });
});

describe("training", () => {
  it("has the gradients that finite differences have", async () => {
    const config = { items: 6, hiddenSize: 4, blocks: 1, heads: 2, historyLength: 3 };
    const weights = initSasrec(config, 1);
    // Larger weights than training starts from, so that no gradient is too small to compare.
    for (const [name, data] of weights)
      if (!name.endsWith("norm.weight")) data.forEach((x, i) => (data[i] = 20 * x + 0.1));
    const { graph, dropoutNames } = buildTrainGraph(config);
    const session = await Session.create("sasrec-train", graph);
    const { sequences, mask } = packSequences([[0, 1, 2], [4]], 3);
    const feeds: Record<string, AnyTensor> = {
      sequences: { shape: [2, 3], data: sequences },
      mask: { shape: [2, 1, 3, 3], data: mask },
      rows: { shape: [3], data: BigInt64Array.of(1n, 2n, 5n) },
      candidates: { shape: [4], data: BigInt64Array.of(2n, 3n, 6n, 1n) },
      bias: { shape: [4], data: Float32Array.of(0, 0.5, 0, -0.5) },
      targets: { shape: [3, 1], data: BigInt64Array.of(1n, 2n, 0n) },
      weights: { shape: [3, 1], data: Float32Array.of(0.5, 0.25, 0.25) },
    };
    for (const name of dropoutNames) feeds[name] = { shape: [6, 4], data: Float32Array.from({ length: 24 }, (_, i) => (i % 5 === 0 ? 0 : 1.25)) }; // prettier-ignore
    const names = [...weights.keys()];
    const lossOf = async (): Promise<number> =>
      ((await session.run({ ...asFeeds(config, weights), ...feeds }, {}, ["loss"])).loss as TensorData)
        .data[0] as number;
    const found = await session.run({ ...asFeeds(config, weights), ...feeds }, {}, names.map((name) => `gradient.${name}`)); // prettier-ignore
    let largest = 0;
    for (const name of names) {
      const data = weights.get(name) as Float32Array;
      for (let i = 0; i < data.length; i += Math.ceil(data.length / 5)) {
        const before = data[i] as number;
        const h = 1e-2;
        data[i] = before + h;
        const above = await lossOf();
        data[i] = before - h;
        const below = await lossOf();
        data[i] = before;
        const gradient = found[`gradient.${name}`]?.data[i] as number;
        expect(Math.abs(gradient - (above - below) / (2 * h)), `${name} ${i}`).toBeLessThan(2e-3);
        largest = Math.max(largest, Math.abs(gradient));
      }
    }
    expect(largest).toBeGreaterThan(0.1);
    await session.close();
  });

  it("learns what comes next, over all items and over sampled ones", async () => {
    expect(await countRight(model)).toBe(ids.length);
    const sampled = await train({ sampledItems: 4, epochs: 60 });
    expect(await countRight(sampled)).toBeGreaterThanOrEqual(ids.length - 2);
    await sampled.close();
  });

  it("gives the same model for the same seed, stops when it no longer gets better, and on request", async () => {
    const epochs: (number | null)[] = [];
    const options = { valid: ring.slice(0, 10), epochs: 100, patience: 2, seed: 3 };
    const first = await train({ ...options, onProgress: ({ validNdcg }) => epochs.push(validNdcg) });
    expect(epochs.length).toBeLessThan(100);
    const best = Math.max(...epochs.map(Number));
    expect(first.notes).toMatchObject({ validNdcg: best, epoch: epochs.indexOf(best) + 1 });
    const second = await train(options);
    expect(second.fingerprint).toBe(first.fingerprint);
    expect((await train({ epochs: 1, seed: 4 })).fingerprint).not.toBe(
      (await train({ epochs: 1, seed: 5 })).fingerprint,
    );
    const controller = new AbortController();
    const stopped = train({ signal: controller.signal, onProgress: () => controller.abort() });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("begins items at the vectors that it is given, of which it keeps the angles", async () => {
    const random = randomStream(1, "vectors");
    const [hidden, dimensions] = [3, 20];
    const axes = Array.from({ length: hidden }, () => Array.from({ length: dimensions }, () => nextGaussian(random)));
    const points = ids.map(() => axes.map(() => nextGaussian(random)));
    const data = Float32Array.from(
      points.flatMap((point) => axes[0]?.map((_, d) => 1 + point.reduce((sum, x, k) => sum + x * (axes[k]?.[d] ?? 0), 0)) ?? []),
    ); // prettier-ignore
    const reduced = reduceItemVectors({ data, dimensions }, ids.length, hidden, 0.5);
    const distance = (vectors: Float32Array, size: number, a: number, b: number): number =>
      Math.hypot(
        ...Array.from({ length: size }, (_, d) => (vectors[a * size + d] ?? 0) - (vectors[b * size + d] ?? 0)),
      );
    const ratio = distance(reduced, hidden, 0, 1) / distance(data, dimensions, 0, 1);
    for (let i = 2; i < ids.length; i++) {
      expect(distance(reduced, hidden, 0, i) / distance(data, dimensions, 0, i)).toBeCloseTo(ratio, 4);
    }
    const squares = reduced.reduce((sum, value) => sum + value * value, 0);
    expect(Math.sqrt(squares / reduced.length)).toBeCloseTo(0.5, 5);
    const itemVectors = { data, dimensions };
    const [first, second] = [await train({ itemVectors, epochs: 2 }), await train({ itemVectors, epochs: 2 })];
    expect(first.fingerprint).toBe(second.fingerprint);
    expect(first.fingerprint).not.toBe((await train({ epochs: 2 })).fingerprint);
    await expect(train({ itemVectors: { data: data.subarray(1), dimensions } })).rejects.toThrowError(
      /itemVectors has 479 numbers in 20 dimensions; expected 24 vectors of 16 dimensions or more/,
    );
  });

  it("refuses what it can't use", async () => {
    await expect(train({ heads: 3 })).rejects.toThrowError(/heads is 3; expected a divisor of hiddenSize 16/);
    await expect(train({ dropout: 1 })).rejects.toThrowError(/dropout is 1/);
    await expect(train({ epochs: 0 })).rejects.toThrowError(/epochs is 0/);
    await expect(train({ items: [...ids, "item0"] })).rejects.toThrowError(/ids that differ/);
    await expect(train({ train: [] })).rejects.toThrowError(/nothing to learn from/);
    await expect(train({ train: [{ history: ["item1"], target: "other" }] })).rejects.toThrowError(
      /interaction 1 has the item "other"/,
    );
  });
});

describe("a model's folder", () => {
  it("gives back the same answers, and is refused when it is damaged", async () => {
    const path = join(folder, "model");
    await model.save(path);
    await model.save(path);
    expect((await readdir(folder)).filter((name) => name.startsWith("model"))).toEqual(["model"]);
    const loaded = await SequentialModel.load(path);
    expect(loaded.fingerprint).toBe(model.fingerprint);
    const histories = [after(3, 2), after(20, 9), ["unheard"], []];
    const answers = await loaded.next(histories, { topK: 30 });
    expect(answers).toEqual(await model.next(histories, { topK: 30 }));
    expect(answers.map((hits) => hits.length)).toEqual([24, 24, 0, 0]);
    const [alone] = await loaded.next([histories[1] as string[]], { topK: 30 });
    expect(alone).toEqual(answers[1]);
    await loaded.close();
    await expect(loaded.next(histories, { topK: 1 })).rejects.toMatchObject({ code: "RECOMMENDER_CLOSED" });
    await truncate(join(path, "model.safetensors"), 200);
    await expect(SequentialModel.load(path)).rejects.toMatchObject({ code: "MODEL_FILE_CORRUPT" });
    await writeFile(join(path, "sequential.json"), "{");
    await expect(SequentialModel.load(path)).rejects.toMatchObject({ code: "MODEL_FILE_CORRUPT" });
    await expect(SequentialModel.load(join(folder, "none"))).rejects.toThrowError(/train a model first/);
  });

  it("holds nothing else: other files are never replaced", async () => {
    const path = join(folder, "data");
    await mkdir(path);
    await writeFile(join(path, "items.jsonl"), "{}\n");
    await expect(model.save(path)).rejects.toMatchObject({ code: "MODEL_FOLDER_TAKEN" });
    await writeFile(join(path, "sequential.json"), "{}\n");
    await expect(model.save(path)).rejects.toThrowError(/items\.jsonl/);
    await expect(model.save(join(path, "items.jsonl"))).rejects.toMatchObject({ code: "NOT_A_FOLDER" });
    expect((await readdir(path)).sort()).toEqual(["items.jsonl", "sequential.json"]);
  });

  it("may be named with a slash at its end", async () => {
    const path = join(folder, "slashed");
    await model.save(`${path}/`);
    await model.save(`${path}/`);
    expect((await SequentialModel.load(path)).fingerprint).toBe(model.fingerprint);
  });
});

describe("texts for the model", () => {
  const titles = ids.map((id, i) => ({ id, title: `Blue thing number${i}${i % 2 === 0 ? " even" : ""}`, price: i }));
  let catalogue: string;
  beforeAll(async () => {
    catalogue = join(folder, "items.jsonl");
    await writeFile(catalogue, titles.map((row) => `${JSON.stringify(row)}\n`).join(""));
    await model.save(join(folder, "kept"));
  });
  const open = (options = {}) => SequentialRecommender.open(join(folder, "kept"), catalogue, options);
  const ask = async (recommender: SequentialRecommender, text: string, topK = 3) =>
    (await recommender.search([{ text }], { topK }))[0] ?? [];

  it("are histories: a line is an item, by its title or by the words that find it", async () => {
    const recommender = await open();
    const expected = (await model.next([after(5, 2)], { topK: 3 }))[0];
    const byTitle = await ask(recommender, "blue THING  number5\nBlue thing number6 even");
    expect(byTitle.map(({ id, score }) => ({ id, score }))).toEqual(expected);
    expect(byTitle[0]?.payload).toEqual({ title: "Blue thing number7" });
    const byWords = await ask(recommender, "something like number5\r\n\nzebra\nnumber6");
    expect(byWords).toEqual(byTitle);
    expect(await ask(recommender, "number6\nnumber5")).not.toEqual(byTitle);
    expect(await ask(recommender, "zebra\nunheard of")).toEqual([]);
    expect(await ask(recommender, "")).toEqual([]);
    const priced = await open({ store: ["price"] });
    expect((await ask(priced, "number6"))[0]?.payload).toEqual({ price: 7 });
    expect(await priced.fingerprint()).not.toBe(await recommender.fingerprint());
    await Promise.all([recommender.close(), priced.close()]);
  });

  it("re-weight what comes next by their words, if asked to", async () => {
    const plain = await open();
    const weighted = await open({ wordWeight: 100 });
    const text = "number5\nnumber12";
    const [first] = await ask(plain, text);
    expect(first?.id).toBe("item13");
    const hits = await ask(weighted, text);
    expect(
      hits
        .map(({ id }) => id)
        .slice(0, 2)
        .sort(),
    ).toEqual(["item12", "item5"]);
    expect(await weighted.fingerprint()).not.toBe(await plain.fingerprint());
    await Promise.all([plain.close(), weighted.close()]);
  });

  it("need a catalogue that has the model's items", async () => {
    const other = join(folder, "other.jsonl");
    await writeFile(other, titles.slice(1).map((row) => `${JSON.stringify(row)}\n`).join("")); // prettier-ignore
    await expect(SequentialRecommender.open(join(folder, "kept"), other)).rejects.toThrowError(
      /lacks the item "item0"/,
    );
    await expect(open({ wordWeight: -1 })).rejects.toThrowError(/wordWeight is -1/);
  });
});

describe("interactions", () => {
  it("are read from lines, and refused with the line where they are something else", async () => {
    const path = join(folder, "rows.jsonl");
    await writeFile(path, '{"history":["a",2],"target":"b","user":7}\n{"history":[],"target":3}\n');
    expect(await readInteractions(path)).toEqual([
      { history: ["a", "2"], target: "b", user: "7" },
      { history: [], target: "3" },
    ]);
    for (const [line, message] of [
      ['{"history":"a","target":"b"}', /rows\.jsonl line 1: "history" must be a list/],
      ['{"history":[],"target":""}', /"target" must be an item id/],
      ['{"history":[],"target":"a","user":{}}', /"user" must be a user id/],
      ["", /there are no interactions/],
    ] as const) {
      await writeFile(path, `${line}\n`);
      await expect(readInteractions(path)).rejects.toThrowError(message);
    }
  });
});
