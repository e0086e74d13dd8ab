/**
 * Judgments from clicks. With impressions, an item's relevance is its clicks over the impressions that were examined
 * (Σ n_k k^−η: the likeliest value under the position-based model), drawn towards the log's mean where it was shown seldom.
 * Without impressions, clicks are weighted by 1 over the probability of having been examined (inverse propensity, Joachims
 * et al. 2017), bounded. Either is compared with the best item of its query and rounded to a grade.
 */
import { ConfigError, DataError } from "../../core/errors.ts";
import type { ClickLog, PlacedClicks } from "./click-log.ts";
import { toGrades } from "./judged-query.ts";
import type { JudgedQuery } from "./judged-query.ts";
import { estimateEta } from "./position-bias.ts";
import type { EtaEstimate } from "./position-bias.ts";

export interface JudgeClicksOptions {
  /** How fast attention falls with the position; `auto` estimates it where the log allows. Default `auto`. */
  eta?: number | "auto";
  /** Clicks that a query's item needs to count. Default 2. */
  minClicks?: number;
  /** Highest grade. Default 3. */
  grades?: number;
  /** Most that a single click may weigh, where there are no impressions. Default 10. */
  maxWeight?: number;
}

export interface ClickJudgments {
  queries: JudgedQuery[];
  /** How the position was allowed for, in one sentence. */
  correction: string;
  eta: number;
  estimate?: EtaEstimate;
  /** Queries of the log, and those of which no item had enough clicks. */
  read: number;
  leftOut: number;
}

/** Used where there are positions and η can be neither estimated nor was given: half the attention at position 2. */
const usualEta = 1;

/** Examined impressions that the log's mean rate counts for in an item's. */
const priorImpressions = 5;

/**
 * @throws ConfigError on options out of range; DataError `DATA_EMPTY` when no query is left
 */
export function judgeClicks(log: ClickLog, options: JudgeClicksOptions = {}): ClickJudgments {
  const { minClicks = 2, grades = 3, maxWeight = 10 } = options;
  checkOption(
    "eta",
    options.eta === "auto" ? 0 : (options.eta ?? 0),
    (value) => value >= 0 && value <= 4,
    "auto or a number from 0 to 4",
  );
  checkOption("minClicks", minClicks, (value) => value >= 1, "1 or more");
  checkOption("grades", grades, (value) => Number.isInteger(value) && value >= 1, "a whole number, 1 or more");
  checkOption("maxWeight", maxWeight, (value) => value >= 1, "1 or more");
  const { eta, estimate, correction } = chooseEta(log, options.eta ?? "auto");
  const rate = log.hasImpressions ? meanRate(log, eta) : 0;
  const scoreOf = (places: readonly PlacedClicks[]): number => {
    if (!log.hasImpressions) {
      const weigh = ({ position, clicks }: PlacedClicks): number =>
        clicks * Math.min(maxWeight, (position ?? 1) ** eta);
      return places.reduce((sum, place) => sum + weigh(place), 0);
    }
    return (clicksOf(places) + priorImpressions * rate) / (examinedOf(places, eta) + priorImpressions);
  };
  const queries: JudgedQuery[] = [];
  for (const { query, items } of log.queries) {
    const scores = new Map<string, number>();
    let highest = 0;
    for (const [item, places] of items) {
      // What was shown and hardly clicked is a judgment, too; what is only a stray click is not.
      const clicks = clicksOf(places);
      const isSeen = log.hasImpressions && clicks === 0;
      if (clicks < minClicks && !isSeen) continue;
      const score = isSeen ? 0 : scoreOf(places);
      scores.set(item, score);
      highest = Math.max(highest, score);
    }
    const gains = toGrades(scores, grades, highest);
    if (highest > 0) queries.push({ id: `q${queries.length + 1}`, query, gains });
  }
  if (queries.length === 0) {
    throw new DataError(
      "DATA_EMPTY",
      `${log.path}: no item of ${log.queries.length} queries has ${minClicks} clicks. Take a longer log, or lower the number of clicks needed.`,
    );
  }
  const read = log.queries.length;
  return { queries, correction, eta, read, leftOut: read - queries.length, ...(estimate ? { estimate } : {}) };
}

function chooseEta(log: ClickLog, asked: number | "auto"): { eta: number; correction: string; estimate?: EtaEstimate } {
  if (!log.hasPositions) {
    const correction =
      "no correction for the position: the log doesn't say where an item stood, so what stood high is judged too well";
    return { eta: 0, correction };
  }
  if (asked !== "auto") {
    return { eta: asked, correction: `corrected for the position with eta ${asked}, as given` };
  }
  const estimate = estimateEta(log);
  if (!estimate) {
    const why = log.hasImpressions
      ? "too few items were shown at several positions to estimate it"
      : "the log has no impressions to estimate it from";
    return { eta: usualEta, correction: `corrected for the position with eta ${usualEta}, a usual value: ${why}` };
  }
  const { eta, standardError, clicks } = estimate;
  const correction = `corrected for the position with eta ${eta.toFixed(2)} ± ${(1.96 * standardError).toFixed(2)}, estimated from ${clicks} clicks on items that were shown at several positions`;
  return { eta, correction, estimate };
}

const clicksOf = (places: readonly PlacedClicks[]): number => places.reduce((sum, { clicks }) => sum + clicks, 0);

/** Impressions times the probability that they were examined. */
function examinedOf(places: readonly PlacedClicks[], eta: number): number {
  return places.reduce((sum, { position, impressions }) => sum + (impressions ?? 0) * (position ?? 1) ** -eta, 0);
}

/** Clicks per examined impression in the whole log. */
function meanRate(log: ClickLog, eta: number): number {
  let [clicks, examined] = [0, 0];
  for (const { items } of log.queries) {
    for (const places of items.values()) {
      clicks += clicksOf(places);
      examined += examinedOf(places, eta);
    }
  }
  return examined > 0 ? clicks / examined : 0;
}

function checkOption(name: string, value: number, isGood: (value: number) => boolean, expected: string): void {
  if (Number.isFinite(value) && isGood(value)) return;
  throw new ConfigError("BAD_OPTION", `${name} is ${value}; expected ${expected}.`);
}
