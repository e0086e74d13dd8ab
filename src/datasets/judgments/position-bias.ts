/**
 * How much less is looked at what stands lower. The model: a result at position k is examined with probability k^−η
 * (Joachims, Swaminathan and Schnabel 2017), and clicked when it is examined and relevant.
 *
 * η can be estimated from the log where the same item was shown for the same query at different positions ("intervention
 * harvesting", Agarwal et al. 2019): its relevance is the same there, so what differs is the position. Given a pair's
 * clicks altogether, how they spread over its positions doesn't depend on its relevance any more but only on η and the
 * impressions: position k has the share n_k k^−η / Σ_j n_j j^−η. The η that makes the spreads of all pairs likeliest is
 * unique, since the likelihood is concave in it.
 */
import type { ClickLog, PlacedClicks } from "./click-log.ts";

export interface EtaEstimate {
  eta: number;
  /** Standard error of it, from the curvature of the likelihood. */
  standardError: number;
  /** Clicks on pairs that were shown at two positions or more: what it rests on. */
  clicks: number;
}

/** η is looked for between 0 (no bias) and this. */
const largestEta = 4;

/** Fewer clicks than this say too little. */
export const fewestClicks = 100;

/** Places of a pair with their impressions and ln k. */
type Pair = { clicks: number; impressions: number; logPosition: number }[];

/** Estimates η; undefined where the log has no positions or impressions, or too few items that changed places. */
export function estimateEta(log: ClickLog): EtaEstimate | undefined {
  if (!log.hasPositions || !log.hasImpressions) return undefined;
  const pairs: Pair[] = [];
  let clicks = 0;
  for (const { items } of log.queries) {
    for (const places of items.values()) {
      const pair = places
        .filter(isShown)
        .map(({ position, ...rest }) => ({ ...rest, logPosition: Math.log(position) }));
      const total = pair.reduce((sum, place) => sum + place.clicks, 0);
      if (pair.length < 2 || total === 0) continue;
      pairs.push(pair);
      clicks += total;
    }
  }
  if (clicks < fewestClicks) return undefined;
  let [low, high] = [0, largestEta];
  for (let round = 0; round < 60; round++) {
    const middle = (low + high) / 2;
    // The slope falls as η grows: above 0 the best η lies higher.
    if (slopeAt(pairs, middle).slope > 0) low = middle;
    else high = middle;
  }
  const eta = (low + high) / 2;
  return { eta, standardError: 1 / Math.sqrt(slopeAt(pairs, eta).information), clicks };
}

function isShown(place: PlacedClicks): place is { position: number; clicks: number; impressions: number } {
  return place.position !== null && (place.impressions ?? 0) > 0;
}

/** First derivative of the conditional log-likelihood in η, and minus its second. */
function slopeAt(pairs: readonly Pair[], eta: number): { slope: number; information: number } {
  let [slope, information] = [0, 0];
  for (const pair of pairs) {
    let [sum, mean, square, clicked, clicks] = [0, 0, 0, 0, 0];
    for (const { clicks: count, impressions, logPosition } of pair) {
      const weight = impressions * Math.exp(-eta * logPosition);
      sum += weight;
      mean += weight * logPosition;
      square += weight * logPosition ** 2;
      clicked += count * logPosition;
      clicks += count;
    }
    mean /= sum;
    slope += clicks * mean - clicked;
    information += clicks * (square / sum - mean ** 2);
  }
  return { slope, information };
}
