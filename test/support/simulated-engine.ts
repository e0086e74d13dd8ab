/**
 * The tabular policy on an imagined server: sampling and training take the time that they are given and go on at once,
 * each in its own place. Samples come from the weights as they were when they were asked for.
 */
import { sleep } from "../../src/core/abort.ts";
import type { Datum, ForwardBackwardResult, Loss, Sample, SamplingParams, TokenIds } from "../../src/engines/engine.ts";
import { TabularEngine } from "./tabular-engine.ts";

export class SimulatedEngine extends TabularEngine {
  readonly samplesWhileTraining = true;
  private readonly latencies: { sampleMs: number; trainMs: number };
  private sampling = 0;
  /** Passes of training that began while something was being sampled. */
  overlaps = 0;

  constructor(words: readonly string[], latencies: { sampleMs: number; trainMs: number }) {
    super(words);
    this.latencies = latencies;
  }

  override async sample(prompts: readonly TokenIds[], params: SamplingParams): Promise<Sample[][]> {
    this.sampling++;
    try {
      // The tabular engine draws at once, so these are from the weights as they are now.
      const samples = await super.sample(prompts, params);
      await sleep(this.latencies.sampleMs, params.signal);
      return samples;
    } finally {
      this.sampling--;
    }
  }

  override async forwardBackward(
    data: readonly Datum[],
    loss: Loss,
    options: { signal?: AbortSignal } = {},
  ): Promise<ForwardBackwardResult> {
    if (this.sampling > 0) this.overlaps++;
    const result = await super.forwardBackward(data, loss, options);
    await sleep(this.latencies.trainMs, options.signal);
    return result;
  }
}
