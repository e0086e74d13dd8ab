/** What the doctor says: one outcome for each check, with evidence and what to do. Plain data, apart from the checks. */
import { DataError } from "../../core/errors.ts";

/** `error`: numbers measured against this baseline mean nothing; `warning`: look at it; `skipped`: could not be tried. */
export type CheckStatus = "fine" | "warning" | "error" | "skipped";

export interface CheckOutcome {
  /** Stable name, such as `first-word-lost`. */
  check: string;
  status: CheckStatus;
  /** What was looked at and what was found, in one sentence. */
  message: string;
  /** Queries, ids and figures that show it, a few of them. */
  evidence: readonly string[];
  /** What to do about it; empty where nothing is wrong. */
  advice: string;
}

export interface Diagnosis {
  task: string;
  recommender: string;
  fingerprint: string;
  /** Examples by split. */
  examples: Readonly<Record<string, number>>;
  /** Queries that were sent. */
  searches: number;
  outcomes: readonly CheckOutcome[];
}

/** Pieces of evidence that are kept. */
const shownEvidence = 5;

export function fine(check: string, message: string): CheckOutcome {
  return { check, status: "fine", message, evidence: [], advice: "" };
}

export function skipped(check: string, message: string): CheckOutcome {
  return { check, status: "skipped", message, evidence: [], advice: "" };
}

/** An `error` or `warning`. */
export function fault(
  status: "error" | "warning",
  check: string,
  { message, evidence = [], advice }: { message: string; evidence?: readonly string[]; advice: string },
): CheckOutcome {
  const more = evidence.length - shownEvidence;
  const shown = [...evidence.slice(0, shownEvidence), ...(more > 0 ? [`and ${more} more`] : [])];
  return { check, status, message, evidence: shown, advice };
}

/** Outcomes that make a comparison meaningless. */
export function errorsOf({ outcomes }: Diagnosis): CheckOutcome[] {
  return outcomes.filter(({ status }) => status === "error");
}

/**
 * Refuses a broken baseline.
 * @throws DataError `BROKEN_BASELINE`, naming every error
 */
export function requireSoundBaseline(diagnosis: Diagnosis, howToGoOn: string): void {
  const errors = errorsOf(diagnosis);
  if (errors.length === 0) return;
  const list = errors.map(({ check, message, advice }) => `  ${check}: ${message} ${advice}`);
  throw new DataError(
    "BROKEN_BASELINE",
    `The baseline of task "${diagnosis.task}" is broken, so that gains over it would mean nothing:\n${list.join("\n")}\n${howToGoOn}`,
    { details: { checks: errors.map(({ check }) => check) } },
  );
}

const marks: Record<CheckStatus, string> = { fine: "ok  ", warning: "WARN", error: "FAIL", skipped: "skip" };

/** The diagnosis as text for a terminal. */
export function formatDiagnosis(diagnosis: Diagnosis): string {
  const { task, recommender, examples, searches, outcomes } = diagnosis;
  const splits = Object.entries(examples).map(([split, count]) => `${split} ${count}`);
  const lines = [`task ${task} on ${recommender}: ${splits.join(", ")} examples; ${searches} queries sent`];
  const width = Math.max(...outcomes.map(({ check }) => check.length));
  for (const { check, status, message, evidence, advice } of outcomes) {
    lines.push(`${marks[status]}  ${check.padEnd(width)}  ${message}`);
    for (const piece of evidence) lines.push(`${" ".repeat(width + 8)}- ${piece}`);
    if (advice !== "") lines.push(`${" ".repeat(width + 8)}> ${advice}`);
  }
  const count = (status: CheckStatus): number => outcomes.filter((outcome) => outcome.status === status).length;
  const counted = (status: CheckStatus): string => `${count(status)} ${status}${count(status) === 1 ? "" : "s"}`;
  lines.push(`${counted("error")}, ${counted("warning")}, ${count("skipped")} not tried`);
  return `${lines.join("\n")}\n`;
}
