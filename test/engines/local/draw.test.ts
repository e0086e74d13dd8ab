/** Drawing tokens in the graph: the distribution that comes of it, for vocabularies of any size. */
import { describe, expect, it } from "vitest";
import { randomStream } from "../../../src/core/random.ts";
import {
  type ChosenTokens,
  drawBlockSize,
  drawTokens,
  likeliestTokens,
} from "../../../src/engines/local/draw-in-graph.ts";
import { Graph, type Value } from "../../../src/graph/graph.ts";
import { type AnyTensor, Session } from "../../../src/graph/session.ts";

type Rows = readonly ArrayLike<number>[];

async function choose(
  rows: Rows,
  build: (probabilities: Value) => ChosenTokens,
  feeds: Record<string, AnyTensor> = {},
): Promise<{ tokens: number[]; probabilities: number[] }> {
  const vocab = rows[0]!.length;
  const graph = new Graph();
  const chosen = build(graph.input("rows", "float32", ["N", vocab]));
  graph.output("tokens", chosen.tokens);
  graph.output("probabilities", chosen.probabilities);
  const session = await Session.create("draw", graph, { threads: 1 });
  const shape = [rows.length, 1];
  const tokens = { shape, data: new BigInt64Array(rows.length) };
  const probabilities = { shape, data: new Float32Array(rows.length) };
  const data = new Float32Array(rows.length * vocab);
  rows.forEach((row, r) => data.set(row, r * vocab));
  await session.run({ rows: { shape: [rows.length, vocab], data }, ...feeds }, { tokens, probabilities });
  await session.close();
  return { tokens: Array.from(tokens.data, Number), probabilities: [...probabilities.data] };
}

function draw(rows: Rows, uniforms: readonly number[]) {
  return choose(rows, (value) => drawTokens(value, value.graph.input("uniforms", "float64", ["N", 1])), {
    uniforms: { shape: [rows.length, 1], data: Float64Array.from(uniforms) },
  });
}

const likeliest = (rows: Rows) => choose(rows, likeliestTokens);

/** A distribution with a few likely tokens, many unlikely ones, and stretches that can't come, at both ends among others. */
function unevenDistribution(vocab: number): Float32Array {
  const random = randomStream(vocab, "distribution");
  const weights = Float64Array.from({ length: vocab }, (_, id) => {
    const weight = Math.exp(6 * random.next() - (random.next() < 0.5 ? 8 : 0));
    const isEnd = vocab > 4 && (id === 0 || id === vocab - 1);
    return isEnd || Math.floor(id / 3) % 4 === 1 || (vocab > 300 && id >= 64 && id < 192) ? 0 : weight;
  });
  const total = weights.reduce((a, b) => a + b, 0);
  return Float32Array.from(weights, (weight) => weight / total);
}

/** Of one block, of blocks of 1, 2, 50, 64 and 67 tokens; primes below and above 64² among them. */
const vocabularies = [1, 2, 26, 97, 100, 192, 201, 1024, 2 * 4099, 4099];

describe("drawTokens", () => {
  it.each(vocabularies)("draws from %d tokens as often as their probabilities say", async (vocab) => {
    const distribution = unevenDistribution(vocab);
    const draws = vocab > 4000 ? 256 : 2048;
    const uniforms = Array.from({ length: draws }, (_, i) => (i + 0.5) / draws);
    const { tokens, probabilities } = await draw(new Array<Float32Array>(draws).fill(distribution), uniforms);
    const total = distribution.reduce((a, b) => a + b, 0);
    let before = 0;
    distribution.forEach((p, id) => {
      // Evenly spaced numbers, so a token's share of them is all but known: those in its part of the unit interval.
      const after = before + p / total;
      const inside = uniforms.filter((u) => u > before + 1e-6 && u < after - 1e-6).length;
      const near = uniforms.filter((u) => u >= before - 1e-6 && u <= after + 1e-6).length;
      const drawn = tokens.filter((token) => token === id).length;
      if (p === 0) expect(drawn, `token ${id} can't come`).toBe(0);
      expect(drawn).toBeGreaterThanOrEqual(inside);
      expect(drawn).toBeLessThanOrEqual(near);
      before = after;
    });
    tokens.forEach((token, i) => expect(probabilities[i]).toBe(distribution[token]));
  });

  it.each(vocabularies)("draws the first and the last possible of %d tokens at both ends", async (vocab) => {
    const distribution = unevenDistribution(vocab);
    const possible = [...distribution.keys()].filter((id) => distribution[id]! > 0);
    const uniforms = [0, 1 - 2 ** -32, 1 - 2 ** -53];
    for (const scale of [1, 0.9999, 1.0001]) {
      const row = distribution.map((p) => p * scale);
      const { tokens } = await draw([row, row, row], uniforms);
      expect(tokens).toEqual([possible[0], possible.at(-1), possible.at(-1)]);
    }
  });

  it("reaches tokens that a float32 sum would lose", async () => {
    // 64 blocks of 64: half of the mass in the first token, half of the rest in tokens of 1e-8 or so.
    const row = new Float32Array(4096).fill(0.25 / 4094);
    row[0] = 0.75;
    row.fill(1e-8, 2048);
    const small = 2048 * 1e-8;
    const total = row.reduce((a, b) => a + b, 0);
    const uniforms = Array.from({ length: 64 }, (_, i) => 1 - ((i + 0.5) / 64) * (small / total));
    const { tokens } = await draw(new Array<Float32Array>(64).fill(row), uniforms);
    // From the last to the middle in even steps of 32 tokens.
    tokens.forEach((token, i) => expect(Math.abs(token - (4095 - 32 * (i + 0.5)))).toBeLessThan(4));
  });

  it("gives each row the token that it has alone", async () => {
    const random = randomStream(3);
    const rows = Array.from({ length: 9 }, () => {
      const weights = Array.from({ length: 300 }, () => random.next() ** 8);
      const total = weights.reduce((a, b) => a + b, 0);
      return Float32Array.from(weights, (weight) => weight / total);
    });
    const uniforms = rows.map(() => random.next());
    const together = await draw(rows, uniforms);
    const reversed = await draw(rows.slice().reverse(), uniforms.slice().reverse());
    expect(reversed.tokens.reverse()).toEqual(together.tokens);
    for (const [r, row] of rows.entries()) {
      expect((await draw([row], [uniforms[r]!])).tokens).toEqual([together.tokens[r]]);
    }
  });

  it("gives a token of the vocabulary even where probabilities are no numbers", async () => {
    const { tokens, probabilities } = await draw([new Float32Array(128).fill(NaN)], [0.5]);
    expect(tokens[0]).toBeGreaterThanOrEqual(0);
    expect(tokens[0]).toBeLessThan(128);
    expect(probabilities).toEqual([NaN]);
  });
});

describe("likeliestTokens", () => {
  it("takes the lowest id on ties", async () => {
    const row = new Float32Array(200).fill(1 / 400);
    row[70] = row[150] = 0.25;
    expect(await likeliest([row, new Float32Array(200).fill(1 / 200)])).toEqual({
      tokens: [70, 0],
      probabilities: [0.25, Math.fround(1 / 200)],
    });
  });
});

describe("drawBlockSize", () => {
  it("is the divisor nearest to 64", () => {
    expect([49152, 151936, 128256, 32000, 50257, 26, 4099, 2 * 4099, 97, 1].map(drawBlockSize)).toEqual([
      64, 64, 64, 64, 29, 26, 1, 2, 97, 1,
    ]);
  });
});
