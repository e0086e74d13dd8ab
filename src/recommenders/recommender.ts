/**
 * The black box: a search engine or recommender that is asked and never changed. Implementations know nothing of
 * policies, rewards or training; the loop knows nothing of them but this interface.
 */

/** One question to the recommender. */
export interface Query {
  /** What the policy wrote, as plain text: never query syntax unless the implementation documents it. */
  text: string;
}

/** One answer, best first in its list. */
export interface Hit {
  /** The item's id in the catalogue. */
  id: string;
  /** The recommender's own score, higher is better; only its order matters. */
  score: number;
  /** What the catalogue stores for display (title, picture …), where the implementation keeps it. */
  payload?: Readonly<Record<string, unknown>>;
}

export interface SearchOptions {
  /** How many hits a query gets at most, 1 or more. Fewer come back when fewer match. */
  topK: number;
  /** Stops the search; the promise then rejects with `AbortError`. */
  signal?: AbortSignal;
}

export interface Recommender {
  /** Short name for logs and reports, such as `lancedb`. */
  readonly name: string;
  /**
   * Answers each query, in the order given; an empty list where nothing matches.
   * @throws RecommenderError when the engine can't answer.
   */
  search(queries: readonly Query[], options: SearchOptions): Promise<Hit[][]>;
  /** Identifies what answers (kind, settings, contents): equal fingerprints mean equal answers. */
  fingerprint(): Promise<string>;
  /** Whether the catalogue has this id; absent where the engine can't tell. */
  has?(id: string): Promise<boolean>;
  close(): Promise<void>;
}
