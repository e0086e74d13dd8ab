/** An engine that answers as it is told, and can be held up: for what is around a policy, not for what one learns. */
import { EngineError, throwIfAborted } from "../../src/core/errors.ts";
import type { ChatTokenizer, Engine, Sample, SamplingParams, TokenIds } from "../../src/engines/engine.ts";
import { raceAbort } from "../../src/recommenders/race-abort.ts";

/** Ids are the characters' code points; conversations are their texts, a line each. */
const tokenizer: ChatTokenizer = {
  encodeChat: (messages) => tokenizer.encode(messages.map(({ content }) => content).join("\n")),
  encode: (text) => Array.from(text, (char) => char.codePointAt(0) as number),
  decode: (ids) => String.fromCodePoint(...ids),
  endIds: [],
};

export class ScriptedEngine implements Engine {
  readonly description = { engine: "scripted" };
  readonly tokenizer = tokenizer;
  readonly contextLength = 2000;
  /** Prompts of each call, in order. */
  readonly calls: string[][] = [];
  readonly params: SamplingParams[] = [];
  /** While it is pending, sampling waits. */
  hold: Promise<void> = Promise.resolve();
  /** The completion of a prompt; what it throws, the whole call throws. */
  answer: (prompt: string, sample: number) => string;
  /** Log-prob of every token. */
  logprob = -0.5;

  constructor(answer: (prompt: string, sample: number) => string) {
    this.answer = answer;
  }

  async sample(prompts: readonly TokenIds[], params: SamplingParams): Promise<Sample[][]> {
    throwIfAborted(params.signal);
    const texts = prompts.map((ids) => tokenizer.decode(ids));
    this.calls.push(texts);
    this.params.push(params);
    await raceAbort(this.hold, params.signal);
    return texts.map((prompt) =>
      Array.from({ length: params.n }, (_, sample): Sample => {
        const text = this.answer(prompt, sample).slice(0, params.maxTokens);
        const ids = tokenizer.encode(text);
        return { ids, text, logprobs: new Float32Array(ids.length).fill(this.logprob), stopReason: "stop" };
      }),
    );
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }

  readonly forwardBackward = refuse;
  readonly optimStep = refuse;
  readonly zeroGrad = refuse;
  readonly logprobs = refuse;
  readonly saveState = refuse;
  readonly loadState = refuse;
}

function refuse(): Promise<never> {
  return Promise.reject(new EngineError("ENGINE_CANNOT", "This engine only samples."));
}
