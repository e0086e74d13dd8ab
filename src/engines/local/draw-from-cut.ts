/**
 * Drawing a token from a row of probabilities of which top-p, top-k or min-p leave a part. Pure: the same row, settings and
 * random number give the same token. Whole distributions are drawn from in the graph (draw-in-graph.ts).
 */
export interface Cut {
  topP: number;
  topK: number;
  minP: number;
}

/** The likeliest token; the lowest id on ties. */
export function argmax(probabilities: Float32Array): number {
  let best = 0;
  for (let id = 1; id < probabilities.length; id++) {
    if ((probabilities[id] as number) > (probabilities[best] as number)) best = id;
  }
  return best;
}

/**
 * Draws a token by the inverse of the cumulative distribution, from the likeliest on.
 * @param probabilities `[vocab]` at the sampling temperature
 * @param uniform in [0, 1)
 * @returns the token, and the probability of all tokens that could have been drawn
 */
export function drawFromCut(probabilities: Float32Array, cut: Cut, uniform: number): { id: number; keptMass: number } {
  const kept = keepTokens(probabilities, cut);
  let keptMass = 0;
  for (const id of kept) keptMass += probabilities[id] as number;
  let rest = uniform * keptMass;
  for (const id of kept) {
    rest -= probabilities[id] as number;
    if (rest < 0) return { id, keptMass };
  }
  return { id: kept[kept.length - 1] as number, keptMass };
}

/**
 * Ids that top-k, min-p and top-p leave, likeliest first (lower id first on ties); at least one.
 */
export function keepTokens(probabilities: Float32Array, { topP, topK, minP }: Cut): number[] {
  const floor = minP > 0 ? minP * (probabilities[argmax(probabilities)] as number) : 0;
  // Tokens below (1 − topP) / vocab add up to less than 1 − topP, so none of them is in the nucleus.
  const least = Math.max(floor, topP < 1 ? (0.999 * (1 - topP)) / probabilities.length : 0);
  let kept: number[] = [];
  for (let id = 0; id < probabilities.length; id++) {
    const p = probabilities[id] as number;
    if (p >= least && p > 0) kept.push(id);
  }
  kept.sort((a, b) => (probabilities[b] as number) - (probabilities[a] as number) || a - b);
  if (topK > 0) kept = kept.slice(0, topK);
  if (topP < 1) {
    let sum = 0;
    const end = kept.findIndex((id) => {
      sum += probabilities[id] as number;
      return sum >= topP;
    });
    if (end >= 0) kept = kept.slice(0, end + 1);
  }
  return kept.length > 0 ? kept : [argmax(probabilities)];
}
