export { OpenAiClient } from "./client.ts";
export type { Account, Completion, CompletionParams, OpenAiClientOptions } from "./client.ts";
export { OpenAiEngine } from "./openai-engine.ts";
export type { OpenAiEngineOptions } from "./openai-engine.ts";
export { RemoteEngineError } from "../remote-http.ts";
