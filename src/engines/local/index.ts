/** `rec-r1/engines/local`: train and sample in this process, on the CPU. */
export { LocalEngine, type LocalEngineLoadOptions, type LocalEngineOptions } from "./local-engine.ts";
export { type LoraOptions, type ProjectionName, projectionNames } from "./weight-inputs.ts";
