/** A verification as lines for people and as JSON for programs. */
import { hasPassed, isWithin, type Check, type Part } from "./check.ts";
import type { Verification } from "./verify.ts";

/** A part as lines: each quantity's largest error beside its tolerance. */
export function formatPart(part: Part): string {
  const { name, checks, skipped, failure } = part;
  const width = Math.max(0, ...checks.map(({ quantity }) => quantity.length));
  const lines = [name, ...checks.map((check) => `  ${formatCheck(check, width)}`)];
  for (const reason of skipped) lines.push(`  skipped  ${reason}`);
  if (failure !== undefined) lines.push(`  FAILED   ${failure}`);
  return `${lines.join("\n")}\n`;
}

function formatCheck(check: Check, width: number): string {
  const { quantity, error, tolerance, where, note } = check;
  const outcome = tolerance === null ? "told    " : isWithin(check) ? "ok      " : "FAILED  ";
  const limit = tolerance === null ? "" : ` of ${formatNumber(tolerance)}`;
  const place = where === undefined ? "" : `  at ${where}`;
  const remark = note === undefined ? "" : `\n           ${note}`;
  return `${outcome} ${quantity.padEnd(width)}  ${formatNumber(error).padStart(7)}${limit}${place}${remark}`;
}

function formatNumber(value: number): string {
  if (!Number.isFinite(value) || Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1e-3 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
}

/** The last line for people. */
export function formatSummary({ ok, parts }: Verification): string {
  const checks = parts.flatMap((part) => part.checks).filter(({ tolerance }) => tolerance !== null);
  const failed = checks.filter((check) => !isWithin(check)).length;
  const broken = parts.filter(({ failure }) => failure !== undefined).length;
  const skipped = parts.reduce((count, part) => count + part.skipped.length, 0);
  const counts = [
    `${checks.length - failed} of ${checks.length} quantities within tolerance`,
    ...(broken > 0 ? [`${broken} not gone through`] : []),
    ...(skipped > 0 ? [`${skipped} skipped`] : []),
  ];
  return `${ok ? "ok" : "FAILED"}: ${checks.length === 0 ? "nothing was checked" : counts.join(", ")}\n`;
}

/** For `--json`: an error that is no finite number is null, and its check not ok. */
export function toJson({ ok, parts }: Verification): unknown {
  return {
    ok,
    parts: parts.map((part) => ({
      ...part,
      ok: hasPassed(part),
      checks: part.checks.map((check) => ({
        ...check,
        error: Number.isFinite(check.error) ? check.error : null,
        ok: isWithin(check),
      })),
    })),
  };
}
