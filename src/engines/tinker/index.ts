export { TinkerClient } from "./client.ts";
export type { SampleRequest, ServerLimits, ServerModel, TinkerClientOptions, WireForm } from "./client.ts";
export { TinkerEngine } from "./tinker-engine.ts";
export type { TinkerEngineOptions } from "./tinker-engine.ts";
export type { Reduction } from "./express-loss.ts";
export { RemoteEngineError } from "../remote-http.ts";
