/** Losses in plain numbers, and how they are put to a server that adds up as it likes. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Datum, type Loss, lossNames } from "../../../src/engines/engine.ts";
import { countBatch, resolveLoss } from "../../../src/engines/loss-settings.ts";
import { chunkData } from "../../../src/engines/tinker/chunk-data.ts";
import {
  findServerLoss,
  type Reduction,
  reductionFactor,
  toServerDatum,
  toSurrogateDatum,
} from "../../../src/engines/tinker/express-loss.ts";
import { computeTerms, tokenWeights } from "../../../src/engines/tinker/loss-terms.ts";
import type { DatumWire } from "../../../src/engines/tinker/wire.ts";

const logprob = fc.double({ min: -3, max: -0.1, noNaN: true });
const datumArbitrary = fc
  .record({ prompt: fc.integer({ min: 1, max: 4 }), length: fc.integer({ min: 1, max: 5 }) })
  .chain(({ prompt, length }) => {
    const row = fc.array(logprob, { minLength: length, maxLength: length });
    return fc.record({
      prompt: fc.constant(Array.from({ length: prompt }, (_, i) => i)),
      completion: fc.constant(Array.from({ length }, (_, i) => i + 10)),
      oldLogprobs: row.map((values) => Float32Array.from(values)),
      refLogprobs: row.map((values) => Float32Array.from(values)),
      advantage: fc.double({ min: -2, max: 2, noNaN: true }),
      now: row.map((values) => Float32Array.from(values)),
    });
  });
const batchArbitrary = fc.array(datumArbitrary, { minLength: 1, maxLength: 4 });

const losses: Loss[] = [
  ...lossNames.map((name) => ({ name, maxTokens: 5 })),
  { name: "grpo", klCoef: 0.3 },
  { name: "ppo", klCoef: 0.2, klEstimator: "k1" },
  { name: "dapo", klCoef: 0.2, klEstimator: "k2", aggregation: "sequence" },
];

type Row = Datum & { now: Float32Array };

const setting = (loss: Loss, data: readonly Datum[]) => {
  const shape = resolveLoss(loss);
  const batch = countBatch(data);
  return { shape, weightsOf: (datum: Datum) => tokenWeights(datum, loss, shape, batch) };
};

/** A server's gradient by each token's log-prob, as its own documentation says it adds up. */
function serverSlopes(
  wire: readonly DatumWire[],
  lossFn: string,
  config: Record<string, number>,
  rows: readonly Row[],
  reduction: Reduction,
): number[][] {
  return wire.map(({ tokens, inputs }, i) => {
    const { now, prompt } = rows[i]!;
    const divisor = reduction === "sum" ? 1 : tokens.length * wire.length;
    const { clip_low_threshold: low = 0.8, clip_high_threshold: high = 1.2 } = config;
    return Array.from(now, (logprob, t) => {
      const at = prompt.length - 1 + t;
      if (lossFn === "cross_entropy") return -inputs.weights!.data[at]! / divisor;
      const ratio = Math.exp(logprob - inputs.logprobs!.data[at]!);
      const advantage = inputs.advantages!.data[at]!;
      if (lossFn === "importance_sampling") return (-ratio * advantage) / divisor;
      const held = Math.min(Math.max(ratio, low), high);
      if (lossFn === "cispo") return (-held * advantage) / divisor;
      return ratio * advantage <= held * advantage ? (-ratio * advantage) / divisor : 0;
    });
  });
}

describe.each(losses.map((loss) => [JSON.stringify(loss), loss] as const))("the loss %s", (_, loss) => {
  it("has the slopes that finite differences say", () => {
    fc.assert(
      fc.property(datumArbitrary, ({ now, ...datum }) => {
        const { shape, weightsOf } = setting(loss, [datum]);
        const weights = weightsOf(datum);
        // cispo's factor is held fixed, so its slope is not the slope of its value.
        if (shape.name === "cispo") return;
        const at = (values: Float64Array): number =>
          computeTerms(datum, values as unknown as Float32Array, { loss, shape, weights }).loss;
        const { slopes } = computeTerms(datum, now, { loss, shape, weights });
        const step = 1e-6;
        now.forEach((_, t) => {
          const moved = (by: number): Float64Array => Float64Array.from(now, (value, i) => value + (i === t ? by : 0));
          const [down, middle, up] = [at(moved(-step)), at(moved(0)), at(moved(step))];
          // At the very corner of a clip there is no slope.
          if (Math.abs(up - 2 * middle + down) > 1e-9) return;
          expect(slopes[t]).toBeCloseTo((up - down) / (2 * step), 4);
        });
      }),
    );
  });

  it.each<Reduction>(["sum", "sequence_mean"])("comes out the same on a server that takes the %s", (reduction) => {
    fc.assert(
      fc.property(batchArbitrary, (rows) => {
        const { shape, weightsOf } = setting(loss, rows);
        const own = findServerLoss(shape, reduction) ?? { lossFn: "importance_sampling", config: {} };
        const isExpressed = findServerLoss(shape, reduction) !== undefined;
        const wire = rows.map((row) => {
          const factor = reductionFactor(reduction, row, rows.length);
          const weights = weightsOf(row);
          return isExpressed
            ? toServerDatum(
                row,
                loss,
                own,
                weights.map((weight) => weight * factor),
              )
            : toSurrogateDatum(row, row.now, { loss, shape, weights, factor });
        });
        const found = serverSlopes(wire, own.lossFn, own.config, rows, reduction);
        rows.forEach((row, i) => {
          const { slopes } = computeTerms(row, row.now, { loss, shape, weights: weightsOf(row) });
          slopes.forEach((slope, t) => expect(found[i]![t]).toBeCloseTo(slope, 5));
        });
      }),
    );
  });
});

describe("requests of a size that the server takes", () => {
  const datum = (length: number): DatumWire => ({ tokens: Array.from({ length }, () => 1), inputs: {} });

  it("hold all data in order, none beyond the limits but a datum that is too large alone", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 40 }),
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 64, max: 2000 }),
        (lengths, maxData, chunkBytes) => {
          const data = lengths.map(datum);
          const chunks = chunkData(data, { chunkData: maxData, chunkBytes });
          expect(chunks.flat()).toEqual(data);
          for (const chunk of chunks) {
            expect(chunk.length).toBeLessThanOrEqual(maxData);
            const bytes = chunk.reduce((sum, { tokens }) => sum + 4 * tokens.length + 64, 0);
            expect(chunk.length === 1 || bytes <= chunkBytes).toBe(true);
          }
        },
      ),
    );
  });
});
