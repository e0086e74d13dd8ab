/**
 * Picks one token from a row of probabilities. Pure: the same row, settings and random number give the same token.
 */
export interface TokenChoice {
  temperature: number;
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

/** The token of {@link drawToken}. */
export function chooseToken(probabilities: Float32Array, choice: TokenChoice, uniform: number): number {
  return drawToken(probabilities, choice, uniform).id;
}

/**
 * Draws a token by the inverse of the cumulative distribution.
 * @param probabilities `[vocab]` at the sampling temperature
 * @param uniform in [0, 1)
 * @returns the token, and the probability of all tokens that could have been drawn (1 where none was cut off)
 */
export function drawToken(
  probabilities: Float32Array,
  choice: TokenChoice,
  uniform: number,
): { id: number; keptMass: number } {
  if (choice.temperature === 0) return { id: argmax(probabilities), keptMass: 1 };
  if (choice.topP >= 1 && choice.topK <= 0 && choice.minP <= 0) {
    return { id: drawFromAll(probabilities, uniform), keptMass: 1 };
  }
  const kept = keepTokens(probabilities, choice);
  let keptMass = 0;
  for (const id of kept) keptMass += probabilities[id] as number;
  let rest = uniform * keptMass;
  for (const id of kept) {
    rest -= probabilities[id] as number;
    if (rest < 0) return { id, keptMass };
  }
  return { id: kept[kept.length - 1] as number, keptMass };
}

function drawFromAll(probabilities: Float32Array, uniform: number): number {
  // The sum is 1 but for rounding, so one pass finds all but a millionth of the tokens; only these need the sum itself.
  const first = walk(probabilities, uniform);
  if (first.rest < 0) return first.id;
  return walk(probabilities, uniform * (uniform - first.rest)).id;
}

/** Tokens that are summed before they are looked at one by one. */
const blockSize = 64;

/** The token at which the sum of probabilities exceeds `target`, or else the last possible one and what is left. */
function walk(probabilities: Float32Array, target: number): { id: number; rest: number } {
  let rest = target;
  let last = 0;
  for (let start = 0; start < probabilities.length; start += blockSize) {
    const sum = sumBlock(probabilities, start);
    if (sum === 0) continue;
    if (rest >= sum) {
      rest -= sum;
      last = start;
      continue;
    }
    const end = Math.min(start + blockSize, probabilities.length);
    for (let id = start; id < end; id++) {
      const p = probabilities[id] as number;
      if (p === 0) continue;
      rest -= p;
      if (rest < 0) return { id, rest };
      last = id;
    }
  }
  return { id: lastPossible(probabilities, last), rest };
}

/** Sum of a block's probabilities. Four sums at a time don't wait for each other. */
function sumBlock(p: Float32Array, start: number): number {
  const end = Math.min(start + blockSize, p.length);
  let [a, b, c, d] = [0, 0, 0, 0];
  let id = start;
  for (; id + 4 <= end; id += 4) {
    a += p[id] as number;
    b += p[id + 1] as number;
    c += p[id + 2] as number;
    d += p[id + 3] as number;
  }
  for (; id < end; id++) a += p[id] as number;
  return a + b + c + d;
}

/** The last token with a probability above 0 in the block that `id` is in. */
function lastPossible(probabilities: Float32Array, id: number): number {
  let last = id;
  for (let next = id; next < Math.min(id + blockSize, probabilities.length); next++) {
    if ((probabilities[next] as number) > 0) last = next;
  }
  return last;
}

/**
 * Ids that top-k, min-p and top-p leave, likeliest first (lower id first on ties); at least one.
 */
export function keepTokens(probabilities: Float32Array, { topP, topK, minP }: TokenChoice): number[] {
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
