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
  /** What the next token waits for, once a completion has `length` of them. */
  beforeToken: (length: number) => Promise<void> = () => Promise.resolve();

  constructor(answer: (prompt: string, sample: number) => string) {
    this.answer = answer;
  }

  async sample(prompts: readonly TokenIds[], params: SamplingParams): Promise<Sample[][]> {
    throwIfAborted(params.signal);
    const texts = prompts.map((ids) => tokenizer.decode(ids));
    this.calls.push(texts);
    this.params.push(params);
    await raceAbort(this.hold, params.signal);
    const samples = texts.map((prompt) =>
      Array.from({ length: params.n }, (_, sample): Sample => {
        const whole = this.answer(prompt, sample).slice(0, params.maxTokens);
        const { text, end } = cutAtStop(whole, params.stop ?? []);
        const ids = tokenizer.encode(whole.slice(0, end));
        return { ids, text, logprobs: new Float32Array(ids.length).fill(this.logprob), stopReason: "stop" };
      }),
    );
    await this.grow(samples, params);
    return samples;
  }

  /** Tells of completions token by token, all of them but the last one each. */
  private async grow(samples: readonly Sample[][], { onGrowth, signal }: SamplingParams): Promise<void> {
    const longest = Math.max(0, ...samples.flat().map(({ ids }) => ids.length));
    for (let length = 1; length < longest; length++) {
      samples.forEach((row, prompt) =>
        row.forEach(({ ids, logprobs }, index) => {
          if (length < ids.length) {
            onGrowth?.(prompt, index, { ids: ids.slice(0, length), logprobs: logprobs.slice(0, length) });
          }
        }),
      );
      await raceAbort(this.beforeToken(length), signal);
    }
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

/** A text before the first stop string in it, and where that string ends. */
function cutAtStop(text: string, stops: readonly string[]): { text: string; end: number } {
  const found = stops.map((stop) => ({ at: text.indexOf(stop), stop })).filter(({ at }) => at >= 0);
  const [first] = found.sort((a, b) => a.at - b.at);
  return first ? { text: text.slice(0, first.at), end: first.at + first.stop.length } : { text, end: text.length };
}

function refuse(): Promise<never> {
  return Promise.reject(new EngineError("ENGINE_CANNOT", "This engine only samples."));
}
