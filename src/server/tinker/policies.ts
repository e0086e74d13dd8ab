/**
 * The models that clients train: an engine each on shared base weights, samplers on their weights at some moment, and
 * saved states on disk, where they outlive the server.
 */
import { randomBytes } from "node:crypto";
import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeWithParents } from "../../core/atomic-write.ts";
import type { Datum, Engine, Sample, SamplingParams, TokenIds } from "../../engines/engine.ts";
import { RequestError } from "./futures.ts";

export interface PolicySettings {
  loraRank: number;
  seed: number;
}

/** Opens an engine with an adapter of its own; the base weights should be shared. */
export type OpenPolicy = (settings: PolicySettings) => Promise<Engine>;

interface Policy {
  id: string;
  sessionId: string;
  settings: PolicySettings;
  /** Undefined until it is made. */
  engine: Engine | undefined;
  /** Optimizer steps and loads so far. */
  version: number;
  /** Whether something was done with it: loading must come first. */
  isUsed: boolean;
  /** Results of requests by their sequence number, so that one sent twice is carried out once. */
  readonly requests: Map<number, string>;
}

interface Sampler {
  id: string;
  /** Undefined: the untrained model. */
  policyId: string | undefined;
  loraRank: number;
  version: number;
  /** Where its weights are once the policy has moved on. */
  stateDir: string | undefined;
}

const namePattern = /^[A-Za-z0-9_-]{1,255}$/;
/** Models that begin with a saved state are named after their session, with colons in between. */
const modelPattern = /^[A-Za-z0-9_:-]{1,255}$/;
/** A model's name as that of a folder, which can't have colons everywhere. */
const folderOf = (modelId: string): string => modelId.replaceAll(":", "_");

/** Where the settings of a saved state lie: beside it, since the folder is the engine's. */
const settingsFile = (stateDir: string): string => `${stateDir}.json`;

/** Samplers of a policy that outlive its next steps: a client may still be drawing from the last few. */
const keptSamplers = 4;

export class Policies {
  private readonly open: OpenPolicy;
  private readonly dir: string;
  private readonly maxModels: number;
  private readonly policies = new Map<string, Policy>();
  private readonly samplers = new Map<string, Sampler>();
  private base: Engine | undefined;
  /** The engine that has a sampler's older weights, and the state that they are of, where it is still there. */
  private older: { stateDir: string | undefined; engine: Engine; loraRank: number } | undefined;

  constructor({ open, dir, maxModels }: { open: OpenPolicy; dir: string; maxModels: number }) {
    this.open = open;
    this.dir = dir;
    this.maxModels = maxModels;
  }

  /** Reserves a model; {@link make} opens its engine. @param id default: a new one @throws RequestError */
  reserve(sessionId: string, settings: PolicySettings, id: string = `model_${randomBytes(4).toString("hex")}`): string {
    if (this.policies.size >= this.maxModels) {
      throw new RequestError(429, `The server holds ${this.maxModels} models already; unload one.`);
    }
    if (this.policies.has(id)) throw new RequestError(409, `There is a model ${id} already.`);
    const fresh = { engine: undefined, version: 0, isUsed: false, requests: new Map<number, string>() };
    this.policies.set(id, { id, sessionId, settings, ...fresh });
    return id;
  }

  async make(id: string): Promise<void> {
    const policy = this.get(id);
    try {
      policy.engine = await this.open(policy.settings);
    } catch (error) {
      this.policies.delete(id);
      throw error;
    }
  }

  /** @throws RequestError 404 */
  get(id: string): Policy {
    const policy = this.policies.get(id);
    if (!policy) throw new RequestError(404, `Model not found: ${id.slice(0, 40)}`);
    return policy;
  }

  /** The model's engine. @throws RequestError where it couldn't be made or was unloaded */
  engineOf(id: string): Engine {
    const { engine } = this.get(id);
    if (!engine) throw new RequestError(404, `Model ${id} could not be made.`);
    return engine;
  }

  async unload(id: string): Promise<void> {
    const policy = this.get(id);
    this.policies.delete(id);
    for (const sampler of [...this.samplers.values()]) if (sampler.policyId === id) await this.dropSampler(sampler);
    await policy.engine?.close();
  }

  /** Frees the models of a session that is gone. */
  async unloadSession(sessionId: string): Promise<void> {
    for (const policy of [...this.policies.values()]) if (policy.sessionId === sessionId) await this.unload(policy.id);
  }

  /** Call before the weights change: samplers of them get a copy. */
  async beforeChange(id: string): Promise<void> {
    const policy = this.get(id);
    const own = [...this.samplers.values()].filter(({ policyId }) => policyId === id);
    for (const sampler of own.slice(0, -keptSamplers)) await this.dropSampler(sampler);
    const current = own.slice(-keptSamplers).filter(({ version, stateDir }) => version === policy.version && !stateDir);
    if (current.length > 0) {
      const samplersDir = join(this.dir, "samplers");
      const stateDir = join(samplersDir, `${folderOf(id)}-${policy.version}`);
      await makeWithParents(samplersDir);
      await rm(stateDir, { recursive: true, force: true });
      await this.engineOf(id).saveState(stateDir);
      for (const sampler of current) sampler.stateDir = stateDir;
    }
    policy.version++;
  }

  /** A sampler on a model's present weights, or on the untrained model. */
  addSampler(policyId: string | undefined): string {
    const id = `sampling_${randomBytes(4).toString("hex")}`;
    const policy = policyId === undefined ? undefined : this.get(policyId);
    const loraRank = policy?.settings.loraRank ?? 1;
    this.samplers.set(id, { id, policyId, loraRank, version: policy?.version ?? 0, stateDir: undefined });
    return id;
  }

  /** A sampler on weights that {@link saveState} kept. @throws RequestError 404 */
  async addSavedSampler(address: string): Promise<string> {
    const { stateDir, policyId } = await this.find(address);
    const { loraRank } = await this.settingsOf(address);
    const id = `sampling_${randomBytes(4).toString("hex")}`;
    this.samplers.set(id, { id, policyId, loraRank, version: -1, stateDir });
    return id;
  }

  hasSampler(id: string): boolean {
    return this.samplers.has(id);
  }

  /** Keeps weights and optimizer state, whole or not at all, and gives their address. @throws RequestError */
  async saveState(id: string, name: string, kind: "weights" | "sampler_weights"): Promise<string> {
    if (!namePattern.test(name)) throw new RequestError(422, "path: expected letters, digits, - and _ only");
    const dir = join(this.dir, kind, folderOf(id));
    const target = join(dir, name);
    if (await stat(target).catch(() => undefined)) throw new RequestError(409, `${name} exists already for ${id}.`);
    const temporary = join(dir, `.${name}.${randomBytes(4).toString("hex")}`);
    await makeWithParents(dir);
    try {
      await this.engineOf(id).saveState(temporary);
      await writeFile(settingsFile(target), JSON.stringify(this.get(id).settings));
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw error;
    }
    return `tinker://${id}/${kind}/${name}`;
  }

  /** Removes a saved state. @throws RequestError 404 */
  async deleteState(address: string): Promise<void> {
    const { stateDir } = await this.find(address);
    for (const [id, sampler] of this.samplers) if (sampler.stateDir === stateDir) this.samplers.delete(id);
    await rm(settingsFile(stateDir), { force: true });
    await this.removeState(stateDir);
  }

  /** Settings of the model that a saved state is of. @throws RequestError 404 */
  async settingsOf(address: string): Promise<PolicySettings> {
    const { stateDir } = await this.find(address);
    return JSON.parse(await readFile(settingsFile(stateDir), "utf8")) as PolicySettings;
  }

  /** Restores a saved state into a model that has done nothing yet. @throws RequestError */
  async loadState(id: string, address: string): Promise<void> {
    const { stateDir } = await this.find(address);
    await this.engineOf(id).loadState(stateDir);
    this.get(id).version++;
  }

  /** Completions from a sampler's weights. @throws RequestError */
  async sample(samplerId: string, prompts: readonly TokenIds[], params: SamplingParams): Promise<Sample[][]> {
    const { engine, weights } = await this.source(samplerId);
    return engine.sample(prompts, { ...params, weights });
  }

  async logprobs(samplerId: string, data: readonly Pick<Datum, "prompt" | "completion">[]): Promise<Float32Array[]> {
    const { engine, weights } = await this.source(samplerId);
    return engine.logprobs(data, { weights });
  }

  async close(): Promise<void> {
    for (const id of [...this.policies.keys()]) await this.unload(id);
    await this.base?.close();
    await this.older?.engine.close();
    await rm(join(this.dir, "samplers"), { recursive: true, force: true });
  }

  private async source(samplerId: string): Promise<{ engine: Engine; weights: "policy" | "reference" }> {
    const sampler = this.samplers.get(samplerId);
    if (!sampler) throw new RequestError(404, "Sampler not found: it was unloaded, or newer ones took its place.");
    const { policyId, loraRank, version, stateDir } = sampler;
    if (policyId === undefined) {
      this.base ??= await this.open({ loraRank: 1, seed: 0 });
      return { engine: this.base, weights: "reference" };
    }
    const policy = this.policies.get(policyId);
    if (policy && policy.version === version) return { engine: this.engineOf(policyId), weights: "policy" };
    if (!stateDir) throw new RequestError(404, "The sampler's weights are gone.");
    if (this.older?.stateDir !== stateDir) await this.openOlder(stateDir, loraRank);
    return { engine: (this.older as { engine: Engine }).engine, weights: "policy" };
  }

  private async openOlder(stateDir: string, loraRank: number): Promise<void> {
    if (this.older && this.older.loraRank !== loraRank) {
      await this.older.engine.close();
      this.older = undefined;
    }
    const engine = this.older?.engine ?? (await this.open({ loraRank, seed: 0 }));
    await engine.loadState(stateDir);
    this.older = { stateDir, engine, loraRank };
  }

  private async dropSampler({ id, stateDir }: Sampler): Promise<void> {
    this.samplers.delete(id);
    const isShared = [...this.samplers.values()].some((other) => other.stateDir === stateDir);
    if (stateDir?.startsWith(join(this.dir, "samplers")) && !isShared) {
      await this.removeState(stateDir);
    }
  }

  private async removeState(stateDir: string): Promise<void> {
    // Another state may get the name: it must not be taken for this one.
    if (this.older?.stateDir === stateDir) this.older.stateDir = undefined;
    await rm(stateDir, { recursive: true, force: true });
  }

  private async find(address: string): Promise<{ stateDir: string; policyId: string }> {
    const match = /^tinker:\/\/([^/]+)\/(?:(weights|sampler_weights)\/)?([^/]+)$/.exec(address);
    const [, policyId = "", kind = "sampler_weights", name = ""] = match ?? [];
    if (!modelPattern.test(policyId) || !namePattern.test(name)) {
      throw new RequestError(400, "path: expected tinker://MODEL/weights/NAME");
    }
    const stateDir = join(this.dir, kind, folderOf(policyId), name);
    if (!(await stat(stateDir).catch(() => undefined))) {
      throw new RequestError(404, `Checkpoint not found: ${policyId}/${kind}/${name}`);
    }
    return { stateDir, policyId };
  }
}
