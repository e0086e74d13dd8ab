/**
 * Choosing the next token of each row inside a graph, so that the probabilities of a whole vocabulary need not leave it. A
 * row's token depends on that row alone.
 */
import type { Value } from "../../graph/graph.ts";
import {
  Add,
  ArgMax,
  Cast,
  CumSum,
  GatherElements,
  GatherND,
  LessOrEqual,
  Min,
  Mul,
  ReduceMax,
  ReduceSum,
  Reshape,
  Sub,
} from "../../graph/operators.ts";

/** One token a row: ids `[N, 1]` int64 and their probabilities `[N, 1]`. */
export interface ChosenTokens {
  tokens: Value;
  probabilities: Value;
}

/** About how many probabilities are added up before any is looked at. */
const blockGoal = 64;

/** What part of a number is taken from it so that the rest is surely smaller in float64. */
const smallPart = 2 ** -40;

/** How many probabilities of `vocabSize` are a block: the divisor nearest to 64, as a ratio. */
export function drawBlockSize(vocabSize: number): number {
  const distance = (size: number): number => Math.abs(Math.log(size / blockGoal));
  let best = 1;
  for (let size = 1; size * size <= vocabSize; size++) {
    if (vocabSize % size !== 0) continue;
    for (const divisor of [size, vocabSize / size]) if (distance(divisor) < distance(best)) best = divisor;
  }
  return best;
}

/** The likeliest token of each row of `probabilities` `[N, vocab]`, the lowest id on ties. */
export function likeliestTokens(probabilities: Value): ChosenTokens {
  const tokens = ArgMax(probabilities);
  return { tokens, probabilities: GatherElements(probabilities, tokens) };
}

/**
 * Draws a token for each row by the inverse of the cumulative distribution, in the order of ids: first a block of tokens, then
 * one in it. Sums over blocks are float64, since a float32 sum near 1 would lose what is less likely than 3e-8. A token of
 * probability 0 is never drawn.
 * @param probabilities `[N, vocab]` float32, adding up to about 1
 * @param uniforms `[N, 1]` float64 in [0, 1)
 */
export function drawTokens(probabilities: Value, uniforms: Value): ChosenTokens {
  const { graph } = probabilities;
  const [rows, vocabSize] = probabilities.shape as [string, number];
  const size = drawBlockSize(vocabSize);
  const count = vocabSize / size;

  const blocks = Reshape(probabilities, [-1, count, size], [rows, count, size]);
  const sums = Cast(Reshape(ReduceSum(blocks, [-1]), [-1, count], [rows, count]), "float64");
  const upToBlock = CumSum(sums);
  const target = Mul(ReduceMax(upToBlock, [-1]), Min(uniforms, graph.constantFloat64(1 - smallPart)));
  const block = countUpTo(upToBlock, target);
  const rest = Sub(target, GatherElements(CumSum(sums, { exclusive: true }), block));

  // A block's tokens, added one by one, may come to less than its sum: what is left must stay below that.
  const inBlock = GatherND(blocks, block);
  const upToToken = CumSum(Cast(inBlock, "float64"));
  const place = countUpTo(upToToken, Min(rest, below(ReduceMax(upToToken, [-1]))));
  return {
    tokens: Add(Mul(block, graph.constantInt64([size])), place),
    probabilities: GatherElements(inBlock, place),
  };
}

/** How many of each row's rising sums `[N, K]` are at most `limit` `[N, 1]`: `[N, 1]` int64. */
function countUpTo(sums: Value, limit: Value): Value {
  return Cast(ReduceSum(LessOrEqual(sums, limit), [-1]), "int64");
}

/** A little less than `x`. Not a product with a number near 1: onnxruntime takes that for 1 and leaves it out. */
function below(x: Value): Value {
  return Sub(x, Mul(x, x.graph.constantFloat64(smallPart)));
}
