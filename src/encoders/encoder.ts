/** Text to vectors whose dot product tells how alike two texts are: what dense search is made of. */

/** Which side of a search a text is on; some encoders put another prompt before each. */
export type TextKind = "query" | "document";

export interface EncodeOptions {
  signal?: AbortSignal;
  /** Called as texts are done. */
  onProgress?: (done: number) => void;
}

export interface SentenceEncoder {
  /** Short name for logs, such as `all-minilm-l6-v2`. */
  readonly name: string;
  /** Numbers in a vector. */
  readonly dimensions: number;
  /** Identifies weights and settings: equal fingerprints mean equal vectors. */
  readonly fingerprint: string;
  /**
   * Vectors of length 1, `[texts, dimensions]` float32, row-major. A text's vector depends on nothing but the text.
   * @throws EngineError when the model can't be run; AbortError
   */
  encode(texts: readonly string[], kind: TextKind, options?: EncodeOptions): Promise<Float32Array>;
  close(): Promise<void>;
}
