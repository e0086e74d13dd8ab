/**
 * The numbers: base weights, the adapter, and the merged weights that graphs read. One copy of what is frozen; merged
 * projections have their own arrays so that the base model stays at hand as the reference policy.
 */
import { randomStream } from "../../core/random.ts";
import { type AnyTensor, Session, type TensorData } from "../../graph/session.ts";
import type { LoadedModel } from "../../models/model.ts";
import type { Weights } from "../engine.ts";
import { buildMergeGraph } from "./graphs.ts";
import { listProjections, loraNames, type Training } from "./weight-inputs.ts";

export class PolicyWeights {
  readonly training: Training;
  /** What the optimizer changes, by name. */
  readonly trained: ReadonlyMap<string, Float32Array>;
  /** Shapes of {@link trained}. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  private readonly base: Readonly<Record<string, TensorData>>;
  /** The weights before training, where they are kept although they are trained themselves. */
  private readonly reference: Readonly<Record<string, TensorData>> | undefined;
  private readonly merged: Record<string, TensorData> = {};
  private readonly modules: string[] = [];
  private merge: Session | undefined;
  private stale = false;
  private merging: Promise<void> | undefined;

  /**
   * @param seed of the adapter's first weights
   * @param keepReference whether full fine-tuning keeps a copy of the weights as they are
   */
  constructor(model: LoadedModel, training: Training, seed: number, keepReference = false) {
    this.training = training;
    this.base = Object.fromEntries(
      [...model.weights].map(([name, { shape, data }]) => [name, { shape: [...shape], data }]),
    );
    this.reference =
      training.kind === "full" && keepReference
        ? Object.fromEntries(
            [...model.weights].map(([name, { shape, data }]) => [name, { shape: [...shape], data: data.slice() }]),
          )
        : undefined;
    const trained = new Map<string, Float32Array>();
    const shapes = new Map<string, readonly number[]>();
    if (training.kind === "full") {
      for (const [name, { shape, data }] of model.weights) {
        trained.set(name, data);
        shapes.set(name, shape);
      }
    } else {
      const { rank, targets } = training.lora;
      for (const { module, shape } of listProjections(model.config, targets)) {
        const [out, input] = shape;
        const { a, b } = loraNames(module);
        trained.set(a, initialA(rank, input, seed, module)).set(b, new Float32Array(out * rank));
        shapes.set(a, [rank, input]).set(b, [out, rank]);
        const weight = `${module}.weight`;
        this.merged[weight] = { shape, data: (this.base[weight] as TensorData).data };
        this.modules.push(module);
      }
    }
    this.trained = trained;
    this.shapes = shapes;
  }

  /** Whether the policy as it was before training can still be asked. */
  get hasReference(): boolean {
    return this.training.kind === "lora" || this.reference !== undefined;
  }

  /** Says that {@link trained} changed. */
  touch(): void {
    this.stale = true;
  }

  /** Feeds of all weights under their names, the adapter merged in unless the reference is asked for. */
  async feeds(which: Weights, threads: number | undefined): Promise<Readonly<Record<string, AnyTensor>>> {
    if (which === "reference") return this.reference ?? this.base;
    if (this.training.kind === "full") return this.base;
    while (this.stale || this.merging) {
      // Callers at the same time share one merge: a second one would rewrite weights that the first caller reads.
      this.merging ??= this.mergeAdapter(threads);
      await this.merging;
    }
    return { ...this.base, ...this.merged };
  }

  /** Feeds of the trained weights, for the training graph. */
  trainedFeeds(): Record<string, TensorData> {
    return Object.fromEntries(
      [...this.trained].map(([name, data]) => [name, { shape: this.shapes.get(name) as readonly number[], data }]),
    );
  }

  async close(): Promise<void> {
    await this.merge?.close();
  }

  private async mergeAdapter(threads: number | undefined): Promise<void> {
    this.stale = false;
    try {
      await this.runMerge(threads);
    } catch (error) {
      this.stale = true;
      throw error;
    } finally {
      this.merging = undefined;
    }
  }

  private async runMerge(threads: number | undefined): Promise<void> {
    if (this.training.kind !== "lora") return;
    const { rank, alpha } = this.training.lora;
    this.merge ??= await Session.create(
      "merge",
      buildMergeGraph(alpha / rank),
      threads === undefined ? {} : { threads },
    );
    for (const module of this.modules) {
      const name = `${module}.weight`;
      const weight = this.base[name] as TensorData;
      const target = this.merged[name] as TensorData;
      if (target.data === weight.data) target.data = new Float32Array(weight.data.length);
      const { a, b } = loraNames(module);
      const adapter = (key: string): TensorData => ({
        shape: this.shapes.get(key) as readonly number[],
        data: this.trained.get(key) as Float32Array,
      });
      await this.merge.run({ weight, a: adapter(a), b: adapter(b) }, { merged: target });
    }
  }
}

/** A starts as PEFT starts it (uniform, Kaiming with a = √5: bound 1/√in), B at 0, so that the policy starts as the model. */
function initialA(rank: number, input: number, seed: number, module: string): Float32Array {
  const random = randomStream(seed, "lora", module);
  const bound = 1 / Math.sqrt(input);
  return Float32Array.from({ length: rank * input }, () => (2 * random.next() - 1) * bound);
}
