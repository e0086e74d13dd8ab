/** Trains SASRec on histories: AdamW, dropout, and the epoch that ranks held-out items best is the one that is kept. */
import { ConfigError, DataError, throwIfAborted } from "../../core/errors.ts";
import { type Random, randomStream, shuffle } from "../../core/random.ts";
import { adamStep, gradientNorm, initAdam } from "../../graph/adamw.ts";
import { type AnyTensor, Session, type TensorData } from "../../graph/session.ts";
import type { Interaction } from "./interactions.ts";
import { reduceItemVectors, type ItemVectors } from "./item-vectors.ts";
import {
  buildTrainGraph,
  initSasrec,
  packSequences,
  sasrecShapes,
  startDeviation,
  type SasrecConfig,
} from "./sasrec.ts";
import { asFeeds, SequentialModel } from "./sequential-model.ts";

export interface TrainSequentialOptions {
  /** Ids of all items that can be recommended. */
  items: readonly string[];
  train: readonly Interaction[];
  /**
   * Where items begin, such as their titles' sentence vectors: few histories then tell more, since what is learnt of an
   * item holds for those like it. Default: at random.
   */
  itemVectors?: ItemVectors;
  /** Held-out interactions that decide when to stop. Default: none, all epochs are done. */
  valid?: readonly Interaction[];
  /** Numbers in an item's vector. Default 64. */
  hiddenSize?: number;
  /** Default 2. */
  blocks?: number;
  /** Default 2; a divisor of `hiddenSize`. */
  heads?: number;
  /** Longest history, in items. Default 10. */
  historyLength?: number;
  /** Share of numbers that dropout sets to 0. Default 0.3. */
  dropout?: number;
  /** Default 1e-3. */
  learningRate?: number;
  /** Histories of a step. Default 128. */
  batchSize?: number;
  /** Most epochs. Default 60. */
  epochs?: number;
  /** Epochs without a better validation after which training stops. Default 8. */
  patience?: number;
  /** Items that each step's softmax is over; 0: all. Default all up to 20,000 items, 4,096 above. */
  sampledItems?: number;
  /** Default 0. */
  seed?: number;
  /** Threads of onnxruntime. Default: its own choice. */
  threads?: number;
  signal?: AbortSignal;
  onProgress?: (progress: SequentialProgress) => void;
}

export interface SequentialProgress {
  /** Epochs done. */
  epoch: number;
  /** Mean cross-entropy of the epoch, nats. */
  loss: number;
  /** Of the held-out interactions, NDCG@10; null without them. */
  validNdcg: number | null;
}

const allItemsUpTo = 20_000;
const validDepth = 10;

interface Sequence {
  /** Items' numbers, oldest first, the target last. */
  items: number[];
  /** Places whose next item is learnt from. */
  places: number[];
}

type Numbers = Required<
  Omit<TrainSequentialOptions, "items" | "train" | "valid" | "itemVectors" | "threads" | "signal" | "onProgress">
>;

function resolveNumbers(options: TrainSequentialOptions): Numbers {
  const { hiddenSize = 64, blocks = 2, heads = 2, historyLength = 10, dropout = 0.3, learningRate = 1e-3 } = options;
  const { batchSize = 128, epochs = 60, patience = 8, seed = 0 } = options;
  const { sampledItems = options.items.length <= allItemsUpTo ? 0 : 4096 } = options;
  const check = (name: string, value: number, isRight: boolean, expected: string): void => {
    if (isRight) return;
    throw new ConfigError("CONFIG_BAD_NUMBER", `sequential: ${name} is ${value}; expected ${expected}.`);
  };
  for (const [name, value] of Object.entries({
    hiddenSize,
    blocks,
    heads,
    historyLength,
    batchSize,
    epochs,
    patience,
  })) {
    check(name, value, Number.isInteger(value) && value >= 1, "a whole number, 1 or more");
  }
  check("heads", heads, hiddenSize % heads === 0, `a divisor of hiddenSize ${hiddenSize}`);
  check("dropout", dropout, dropout >= 0 && dropout < 1, "a number from 0 to below 1");
  check("learningRate", learningRate, learningRate > 0 && Number.isFinite(learningRate), "a number above 0");
  check("sampledItems", sampledItems, Number.isInteger(sampledItems) && sampledItems >= 0, "a whole number, 0 or more");
  check("seed", seed, Number.isSafeInteger(seed), "a whole number");
  return {
    ...{ hiddenSize, blocks, heads, historyLength, dropout, learningRate },
    ...{ batchSize, epochs, patience, seed, sampledItems },
  };
}

/** Item ids to numbers, each step of a user learnt from once, however many rows repeat it. @throws DataError */
function toSequences(rows: readonly Interaction[], numberOf: ReadonlyMap<string, number>, length: number): Sequence[] {
  const seen = new Set<string>();
  return rows.flatMap(({ history, target, user }, row) => {
    const items = [...history, target].slice(-length - 1).map((id) => {
      const number = numberOf.get(id);
      if (number !== undefined) return number;
      throw new DataError(
        "DATA_UNKNOWN_ITEM",
        `sequential: interaction ${row + 1} has the item "${id}", which items lacks.`,
      );
    });
    const places = items.slice(1).flatMap((item, place) => {
      const step = `${user ?? `row ${row}`} ${items[place]} ${item}`;
      if (seen.has(step)) return [];
      seen.add(step);
      return [place];
    });
    return places.length > 0 ? [{ items, places }] : [];
  });
}

/** The items of a step's softmax with what is added to their logits, and each target's place among them. */
function chooseCandidates(targets: readonly number[], items: number, sampled: number, random: Random) {
  if (sampled === 0 || sampled >= items) {
    const candidates = BigInt64Array.from({ length: items }, (_, i) => BigInt(i + 1));
    return { candidates, bias: new Float32Array(items), places: targets };
  }
  // An item comes in as a target or by lot; the more often it does, the more its logit is lowered, so that the softmax
  // over the sample estimates the one over all (Bengio and Senécal 2008).
  const counts = new Map<number, number>();
  for (const target of targets) counts.set(target, (counts.get(target) ?? 0) + 1);
  const chosen = new Set(counts.keys());
  for (let i = 0; i < sampled; i++) chosen.add(random.nextInt(items));
  const list = [...chosen];
  const placeOf = new Map(list.map((item, place) => [item, place]));
  return {
    candidates: BigInt64Array.from(list, (item) => BigInt(item + 1)),
    bias: Float32Array.from(list, (item) => -Math.log((counts.get(item) ?? 0) + sampled / items)),
    places: targets.map((target) => placeOf.get(target) as number),
  };
}

function makeBatch(batch: readonly Sequence[], config: SasrecConfig, sampled: number, random: Random) {
  const length = config.historyLength;
  const { sequences, mask } = packSequences(
    batch.map(({ items }) => items.slice(0, -1)),
    length,
  );
  const rows: bigint[] = [];
  const targets: number[] = [];
  batch.forEach(({ items, places }, b) => {
    const start = length - (items.length - 1);
    for (const place of places) {
      rows.push(BigInt(b * length + start + place));
      targets.push(items[place + 1] as number);
    }
  });
  const { candidates, bias, places } = chooseCandidates(targets, config.items, sampled, random);
  const feeds: Record<string, AnyTensor> = {
    sequences: { shape: [batch.length, length], data: sequences },
    mask: { shape: [batch.length, 1, length, length], data: mask },
    rows: { shape: [rows.length], data: BigInt64Array.from(rows) },
    candidates: { shape: [candidates.length], data: candidates },
    bias: { shape: [bias.length], data: bias },
    targets: { shape: [places.length, 1], data: BigInt64Array.from(places, BigInt) },
    weights: { shape: [places.length, 1], data: new Float32Array(places.length).fill(1 / places.length) },
  };
  return { feeds, predictions: targets.length };
}

/** NDCG@10 of the targets among what the model says comes next. */
async function measureNdcg(model: SequentialModel, rows: readonly Interaction[], signal: AbortSignal | undefined) {
  const histories = rows.map(({ history }) => history);
  const answers = await model.next(histories, { topK: validDepth, signal });
  const gains = answers.map((hits, i) => {
    const rank = hits.findIndex(({ id }) => id === rows[i]?.target);
    return rank < 0 ? 0 : 1 / Math.log2(rank + 2);
  });
  return gains.reduce((sum, gain) => sum + gain, 0) / gains.length;
}

/**
 * Trains a model. Runs with the same options and data give the same model.
 * @throws ConfigError on unusable options, DataError on interactions with unknown items, EngineError, AbortError
 */
export async function trainSequential(options: TrainSequentialOptions): Promise<SequentialModel> {
  const numbers = resolveNumbers(options);
  const { items, valid = [], signal } = options;
  const numberOf = new Map(items.map((id, i) => [id, i]));
  if (items.length === 0 || numberOf.size !== items.length) {
    throw new DataError("DATA_BAD_ITEMS", "sequential: items must be ids that differ, one at least.");
  }
  const { hiddenSize, blocks, heads, historyLength, dropout, learningRate, batchSize, seed, sampledItems } = numbers;
  const config: SasrecConfig = { items: items.length, hiddenSize, blocks, heads, historyLength };
  const sequences = toSequences(options.train, numberOf, historyLength);
  if (sequences.length === 0) throw new DataError("DATA_EMPTY", "sequential: there is nothing to learn from.");
  const weights = initSasrec(config, seed);
  if (options.itemVectors) {
    const start = reduceItemVectors(options.itemVectors, items.length, hiddenSize, startDeviation);
    weights.get("items.weight")?.set(start, hiddenSize);
  }
  const adam = initAdam(weights);
  const gradients = new Map([...weights].map(([name, data]) => [name, new Float32Array(data.length)]));
  const results: Record<string, TensorData> = { loss: { shape: [1, 1], data: new Float32Array(1) } };
  for (const [name, shape] of sasrecShapes(config)) {
    results[`gradient.${name}`] = { shape, data: gradients.get(name) as Float32Array };
  }
  const { graph, dropoutNames } = buildTrainGraph(config);
  const sessionOptions = options.threads === undefined ? {} : { threads: options.threads };
  const session = await Session.create("sasrec-train", graph, sessionOptions);
  const snapshot = (epoch: number, validNdcg: number | null): SequentialModel =>
    new SequentialModel({
      config,
      items,
      weights: new Map([...weights].map(([name, data]) => [name, data.slice()])),
      notes: { ...numbers, epoch, validNdcg, interactions: options.train.length },
      ...sessionOptions,
    });
  let best: { model: SequentialModel; ndcg: number; epoch: number } | undefined;
  try {
    for (let epoch = 1; epoch <= numbers.epochs; epoch++) {
      let [lossSum, predicted] = [0, 0];
      const order = shuffle(sequences, randomStream(seed, "order", epoch));
      for (let start = 0; start < order.length; start += batchSize) {
        throwIfAborted(signal);
        const random = randomStream(seed, "step", epoch, start);
        const batch = order.slice(start, start + batchSize);
        const { feeds, predictions } = makeBatch(batch, config, sampledItems, random);
        for (const name of dropoutNames) {
          const data = new Float32Array(batch.length * historyLength * hiddenSize);
          for (let i = 0; i < data.length; i++) data[i] = random.next() < dropout ? 0 : 1 / (1 - dropout);
          feeds[name] = { shape: [batch.length * historyLength, hiddenSize], data };
        }
        await session.run({ ...asFeeds(config, weights), ...feeds }, results);
        const norm = gradientNorm(gradients);
        adamStep(weights, gradients, adam, { learningRate, weightDecay: 0.01 }, Math.min(1, 5 / (norm + 1e-12)));
        lossSum += ((results.loss as TensorData).data[0] as number) * predictions;
        predicted += predictions;
      }
      const model = snapshot(epoch, null);
      const validNdcg = valid.length > 0 ? await measureNdcg(model, valid, signal) : null;
      options.onProgress?.({ epoch, loss: lossSum / predicted, validNdcg });
      await model.close();
      if (best === undefined || validNdcg === null || validNdcg > best.ndcg) {
        best = { model: snapshot(epoch, validNdcg), ndcg: validNdcg ?? 0, epoch };
      } else if (epoch - best.epoch >= numbers.patience) break;
    }
  } finally {
    await session.close();
  }
  return (best as NonNullable<typeof best>).model;
}
