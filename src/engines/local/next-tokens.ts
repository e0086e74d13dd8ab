/**
 * The next tokens of the rows of a run, in whichever way they are chosen: what the graph is fed for it, where it puts its
 * results, and how they are read.
 */
import type { Random } from "../../core/random.ts";
import type { AnyTensor, TensorData } from "../../graph/session.ts";
import { isCut, type SamplingParams } from "../engine.ts";
import { drawFromCut } from "./draw-from-cut.ts";
import type { Choosing } from "./graphs.ts";

export interface NextToken {
  id: number;
  /** At the sampling temperature, before anything is cut off. */
  probability: number;
  /** Probability of all tokens that could have been drawn; 1 where none is cut off. */
  keptMass: number;
}

/** A run's part in choosing tokens. */
export interface NextTokens {
  feeds: Readonly<Record<string, AnyTensor>>;
  results: Readonly<Record<string, AnyTensor>>;
  /** The token of a row, once the graph has run; asked once for each. */
  read(row: number): NextToken;
}

type CutParams = Pick<SamplingParams, "temperature" | "topP" | "topK" | "minP">;

/** In which way tokens are chosen under these parameters. */
export function howToChoose(params: CutParams): Choosing {
  if (params.temperature === 0) return "greedy";
  return isCut(params) ? "elsewhere" : "draw";
}

/** Prepares runs of ever new rows; where probabilities leave the graph, all use the same memory. */
export class TokenChooser {
  private readonly params: CutParams;
  private readonly vocabSize: number;
  private room = new Float32Array(0);

  constructor(params: CutParams, vocabSize: number) {
    this.params = params;
    this.vocabSize = vocabSize;
  }

  /** For a run of these rows; before the next run is prepared, this one must have been read. */
  prepare(rows: readonly { random: Random }[]): NextTokens {
    const choosing = howToChoose(this.params);
    return choosing === "elsewhere" ? this.fromProbabilities(rows) : fromGraph(choosing, rows);
  }

  private fromProbabilities(rows: readonly { random: Random }[]): NextTokens {
    const { vocabSize } = this;
    const { topP = 1, topK = 0, minP = 0 } = this.params;
    const size = rows.length * vocabSize;
    if (this.room.length < size) this.room = new Float32Array(size);
    const data = this.room.subarray(0, size);
    return {
      feeds: {},
      results: { probabilities: { shape: [rows.length, vocabSize], data } },
      read(row) {
        const probabilities = data.subarray(row * vocabSize, (row + 1) * vocabSize);
        const { random } = rows[row] as { random: Random };
        const drawn = drawFromCut(probabilities, { topP, topK, minP }, random.next());
        return { ...drawn, probability: probabilities[drawn.id] as number };
      },
    };
  }
}

function fromGraph(choosing: Choosing, rows: readonly { random: Random }[]): NextTokens {
  const shape = [rows.length, 1];
  const tokens: TensorData<BigInt64Array> = { shape, data: new BigInt64Array(rows.length) };
  const tokenProbabilities: TensorData = { shape, data: new Float32Array(rows.length) };
  const uniforms = (): AnyTensor => ({ shape, data: Float64Array.from(rows, ({ random }) => random.next()) });
  return {
    feeds: choosing === "draw" ? { uniforms: uniforms() } : {},
    results: { tokens, tokenProbabilities },
    read: (row) => ({
      id: Number(tokens.data[row]),
      probability: tokenProbabilities.data[row] as number,
      keptMass: 1,
    }),
  };
}
