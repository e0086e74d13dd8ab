/**
 * The policy as the server holds it: a model that is made when it is first needed, the numbers of its requests, the samplers
 * on its weights, its saved states. The API can't drop gradients and loads states into new models only; both are done here
 * by moving the state into a new model. Knows nothing of losses or completions.
 */
import { randomUUID } from "node:crypto";
import type { AdamWire, SubmittedPass, TinkerClient } from "./client.ts";
import type { ForwardBackwardReply, ForwardBackwardWire } from "./wire.ts";

export interface ServerPolicySettings {
  /** The model's name on the server. */
  baseModel: string;
  loraRank: number;
  seed: number;
}

export class ServerPolicy {
  private readonly client: TinkerClient;
  private readonly settings: ServerPolicySettings;
  private modelId: Promise<string> | undefined;
  /** Address of the state that a new model begins with; undefined: untrained. */
  private origin: string | undefined;
  private sequence = 0;
  private policySampler: Promise<string> | undefined;
  private referenceSampler: Promise<string> | undefined;
  /** Whether gradients wait on the server that nobody wants any more. */
  private hasUnwantedGradients = false;

  constructor(client: TinkerClient, settings: ServerPolicySettings) {
    this.client = client;
    this.settings = settings;
  }

  /**
   * One pass in parts that are submitted one after the other and whose results are then fetched one after the other, so that
   * one request is open at a time. Where a part of it fails after others were taken on, what they left behind is dropped
   * before the next pass.
   */
  async pass(
    parts: readonly Omit<ForwardBackwardWire, "modelId" | "seqId" | "forwardOnly">[],
    { forwardOnly, signal }: { forwardOnly: boolean; signal: AbortSignal | undefined },
  ): Promise<ForwardBackwardReply["outputs"]> {
    if (!forwardOnly && this.hasUnwantedGradients) await this.moveToNewModel();
    const modelId = await this.openModel(signal);
    const submitted: SubmittedPass[] = [];
    const outputs: ForwardBackwardReply["outputs"] = [];
    try {
      for (const part of parts) {
        const request = { ...part, modelId, seqId: this.nextSequence(), forwardOnly };
        submitted.push(await this.client.submitForwardBackward(request, signal));
      }
      for (const each of submitted) outputs.push(...(await this.client.retrieveForwardBackward(each, signal)).outputs);
    } catch (error) {
      if (!forwardOnly && submitted.length > 0) this.hasUnwantedGradients = true;
      throw error;
    }
    return outputs;
  }

  /** One optimizer step, and what the server measured. */
  async optimStep(adam: AdamWire): Promise<Record<string, number>> {
    const metrics = await this.client.optimStep(await this.openModel(), this.nextSequence(), adam);
    this.policySampler = undefined;
    return metrics;
  }

  /** Drops the gradients that wait, before the next pass or step. */
  dropGradients(): void {
    this.hasUnwantedGradients = true;
  }

  /** Whether gradients are to be dropped. */
  get dropsGradients(): boolean {
    return this.hasUnwantedGradients;
  }

  /** A sampler of the weights as they are now. */
  openSampler(): Promise<string> {
    this.policySampler ??= this.openModel()
      .then((modelId) => this.client.saveWeightsForSampler(modelId, this.nextSequence()))
      .catch((error: unknown) => {
        this.policySampler = undefined;
        throw error;
      });
    return this.policySampler;
  }

  /** A sampler of the untrained model. */
  openReference(): Promise<string> {
    this.referenceSampler ??= this.client
      .createSamplingSession({ base_model: this.settings.baseModel })
      .catch((error: unknown) => {
        this.referenceSampler = undefined;
        throw error;
      });
    return this.referenceSampler;
  }

  /** Keeps weights and optimizer state on the server, and gives their address there. */
  async save(): Promise<string> {
    const name = `rec-r1-${randomUUID().slice(0, 13)}`;
    return this.client.saveWeights(await this.openModel(), this.nextSequence(), name);
  }

  /** Restores what {@link save} kept; gradients that wait are gone. */
  async load(address: string): Promise<void> {
    const before = await this.modelId?.catch(() => undefined);
    this.modelId = undefined;
    this.policySampler = undefined;
    this.origin = address;
    this.hasUnwantedGradients = false;
    // Servers hold few adapters at a time, so the old one goes first.
    if (before !== undefined) {
      const freeing = this.client.requestUnload(before);
      await freeing.then((requestId) => this.client.awaitUnload(requestId)).catch(() => undefined);
    }
    await this.openModel();
  }

  /** Frees a state that {@link save} kept, where the server can. */
  async drop(address: string): Promise<void> {
    await this.client.deleteWeights(address).catch(() => undefined);
  }

  /** Frees the model on the server. */
  async close(): Promise<void> {
    const modelId = await this.modelId?.catch(() => undefined);
    if (modelId !== undefined) await this.client.requestUnload(modelId).catch(() => undefined);
  }

  /** The same weights and optimizer state without gradients. */
  private async moveToNewModel(): Promise<void> {
    const address = await this.save();
    await this.load(address);
    await this.drop(address);
    this.origin = undefined;
  }

  private openModel(signal?: AbortSignal): Promise<string> {
    this.modelId ??= this.createModel(signal).catch((error: unknown) => {
      this.modelId = undefined;
      throw error;
    });
    return this.modelId;
  }

  private async createModel(signal?: AbortSignal): Promise<string> {
    this.sequence = 0;
    const modelId = await this.client.createModel(this.settings, signal);
    // Must be a model's first operation.
    if (this.origin !== undefined) await this.client.loadWeights(modelId, this.nextSequence(), this.origin);
    return modelId;
  }

  private nextSequence(): number {
    return ++this.sequence;
  }
}
