/**
 * From the API's data (a row of tokens, its successors, a number for each) to ours (a prompt and a completion), and back
 * to log-probs and losses of every position. The API's losses are sums over tokens.
 */
import type { Datum, Engine, Loss } from "../../engines/engine.ts";
import type { DatumWire, ForwardBackwardReply, ForwardBackwardWire } from "../../engines/tinker/wire.ts";
import { RequestError } from "./futures.ts";

/** Losses that the server computes. */
export const servedLosses = ["cross_entropy", "importance_sampling", "ppo", "cispo"] as const;
type ServedLoss = (typeof servedLosses)[number];

const settingNames = ["clip_low_threshold", "clip_high_threshold"];

interface Clip {
  low: number;
  high: number;
}

/** One row: inputs, targets, and for every target its weight, advantage and old log-prob. */
interface Row {
  tokens: readonly number[];
  targets: readonly number[];
  weights: Float32Array;
  advantages: Float32Array;
  oldLogprobs: Float32Array;
  /** First target that the loss depends on; equal to their number: none. */
  start: number;
}

export interface TrainRequest {
  lossFn: ServedLoss;
  clip: Clip;
  rows: Row[];
  forwardOnly: boolean;
}

/** Checks a request before it becomes work. @throws RequestError 422 */
export function readTrainRequest(wire: Omit<ForwardBackwardWire, "modelId" | "seqId">): TrainRequest {
  const { lossFn, lossFnConfig, data, forwardOnly } = wire;
  if (!(servedLosses as readonly string[]).includes(lossFn)) {
    throw new RequestError(422, `loss_fn: got '${lossFn}', expected one of ${servedLosses.join(", ")}`);
  }
  const settings = Object.keys(lossFnConfig);
  const allowed = lossFn === "ppo" || lossFn === "cispo" ? settingNames : [];
  const unknown = settings.find((name) => !allowed.includes(name));
  if (unknown !== undefined) {
    throw new RequestError(
      422,
      `loss_fn_config: '${lossFn}' has no '${unknown}' (it has: ${allowed.join(", ") || "none"})`,
    );
  }
  const { clip_low_threshold: low = 0.8, clip_high_threshold: high = 1.2 } = lossFnConfig;
  if (!(low >= 0 && high >= low)) throw new RequestError(422, `loss_fn_config: clip range ${low} to ${high}`);
  if (data.length === 0) throw new RequestError(422, "data: empty");
  return {
    lossFn: lossFn as ServedLoss,
    clip: { low, high },
    rows: data.map((datum, i) => readRow(datum, lossFn as ServedLoss, forwardOnly, i)),
    forwardOnly,
  };
}

function readRow({ tokens, inputs }: DatumWire, lossFn: ServedLoss, forwardOnly: boolean, index: number): Row {
  const where = `data[${index}]`;
  const { length } = tokens;
  if (length === 0) throw new RequestError(422, `${where}: no tokens`);
  const input = (name: string, fallback?: number): Float32Array => {
    const given = inputs[name];
    if (!given && fallback === undefined) throw new RequestError(422, `${where}: '${lossFn}' needs '${name}'`);
    const values = given ? Float32Array.from(given.data) : new Float32Array(length).fill(fallback as number);
    if (values.length !== length) {
      throw new RequestError(422, `${where}: '${name}' has ${values.length} numbers for ${length} tokens`);
    }
    if (!values.every(Number.isFinite)) throw new RequestError(422, `${where}: '${name}' holds what isn't finite`);
    return values;
  };
  const targets = Array.from(inputs.target_tokens?.data ?? []);
  if (targets.length !== length) {
    throw new RequestError(422, `${where}: 'target_tokens' has ${targets.length} numbers for ${length} tokens`);
  }
  const differs = targets.findIndex((target, i) => i + 1 < length && target !== tokens[i + 1]);
  if (differs >= 0) {
    throw new RequestError(
      422,
      `${where}: target ${differs} is not the token that follows; only that can be learnt here`,
    );
  }
  const isPolicy = lossFn !== "cross_entropy" && !forwardOnly;
  const weights = input("weights", 1);
  const advantages = isPolicy ? input("advantages") : new Float32Array(length);
  const oldLogprobs = isPolicy ? input("logprobs") : new Float32Array(length);
  const counts = (t: number): boolean => weights[t] !== 0 && (!isPolicy || advantages[t] !== 0);
  const first = targets.findIndex((_, t) => counts(t));
  return { tokens, targets, weights, advantages, oldLogprobs, start: first < 0 || forwardOnly ? length : first };
}

/** Runs a request on an engine, and gives log-probs and losses of every position. */
export async function runTrainRequest(
  engine: Engine,
  { lossFn, clip, rows, forwardOnly }: TrainRequest,
): Promise<ForwardBackwardReply> {
  const logprobs = rows.map(({ targets }) => new Float32Array(targets.length));
  const learning = forwardOnly ? [] : rows.filter(({ start, targets }) => start < targets.length);
  // Positions before the first that counts: data of one prompt have them in common, and the engine computes them once.
  const before = rows.map(({ tokens, targets, start }) => ({
    prompt: tokens.slice(0, 1),
    completion: targets.slice(0, start),
  }));
  const scored = before.filter(({ completion }) => completion.length > 0);
  const found = scored.length > 0 ? await engine.logprobs(scored) : [];
  scored.forEach((datum, i) => logprobs[before.indexOf(datum)]?.set(found[i] as Float32Array));
  if (learning.length > 0) {
    const data = learning.map(toDatum);
    const loss = await toLoss(engine, lossFn, clip, data);
    const result = await engine.forwardBackward(data, loss);
    learning.forEach((row, i) => logprobs[rows.indexOf(row)]?.set(result.logprobs[i] as Float32Array, row.start));
  }
  const outputs = rows.map((row, i) => ({
    elementwise_loss: elementwiseLoss(row, logprobs[i] as Float32Array, lossFn, clip),
    logprobs: logprobs[i] as Float32Array,
  }));
  const sum = outputs.reduce((total, { elementwise_loss }) => total + elementwise_loss.reduce((a, b) => a + b, 0), 0);
  return { outputs, metrics: { "loss:sum": sum } };
}

function toDatum({ tokens, targets, weights, advantages, oldLogprobs, start }: Row): Datum {
  return {
    prompt: tokens.slice(0, start + 1),
    completion: targets.slice(start),
    oldLogprobs: oldLogprobs.slice(start),
    advantages: advantages.slice(start),
    weights: weights.slice(start),
  };
}

/** The engine's loss; cispo's lower clip, which ours lacks, goes into the advantages of importance sampling at ratio 1. */
async function toLoss(engine: Engine, lossFn: ServedLoss, { low, high }: Clip, data: readonly Datum[]): Promise<Loss> {
  const shared = { aggregation: "token", batch: { tokens: 1, completions: 1 } } as const;
  if (lossFn === "ppo")
    return { name: "ppo", clipLow: Math.max(0, 1 - low), clipHigh: Math.max(0, high - 1), ...shared };
  if (lossFn !== "cispo") return { name: lossFn, ...shared };
  const now = await engine.logprobs(data);
  data.forEach((datum, i) => {
    const logprobs = now[i] as Float32Array;
    datum.advantages = (datum.advantages as Float32Array).map(
      (advantage, t) =>
        advantage * held(Math.exp((logprobs[t] as number) - (datum.oldLogprobs?.[t] as number)), { low, high }),
    );
    datum.oldLogprobs = logprobs;
  });
  return { name: "importance_sampling", ...shared };
}

const held = (ratio: number, { low, high }: Clip): number => Math.min(Math.max(ratio, low), high);

function elementwiseLoss(row: Row, logprobs: Float32Array, lossFn: ServedLoss, clip: Clip): Float32Array {
  return logprobs.map((logprob, t) => {
    const weight = row.weights[t] as number;
    const advantage = row.advantages[t] as number;
    if (weight === 0) return 0;
    if (lossFn === "cross_entropy") return -weight * logprob;
    const ratio = Math.exp(logprob - (row.oldLogprobs[t] as number));
    if (lossFn === "importance_sampling") return -weight * ratio * advantage;
    if (lossFn === "cispo") return -weight * held(ratio, clip) * advantage * logprob;
    return -weight * Math.min(ratio * advantage, held(ratio, clip) * advantage);
  });
}
