/**
 * Kills a short real training again and again, and compares what comes of it in the end with a run that was left alone:
 * metrics, rollouts, evaluations, checkpoints with weights and optimizer, byte for byte.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomStream, shuffle } from "../../../src/core/random.ts";
import { attemptTraining, phases, readOutcome, startHub, writeTrial } from "./workshop.ts";
import type { Attempt, Kill, Phase, Tree } from "./workshop.ts";

export interface CrashOptions {
  kills: number;
  seed: number;
  tree: Tree;
  /** Kills of one training before it is left to end. Default 6. */
  killsPerRun?: number;
  onEvent?: (line: string) => void;
}

export interface CrashReport {
  runs: number;
  kills: number;
  /** Kills by what was under way. */
  hit: Record<string, number>;
  /** Moments that a training ended before. */
  missed: number;
  /** What was not as it should be. */
  failures: string[];
}

type Random = ReturnType<typeof randomStream>;

/** How many times each phase began in the run that was left alone, and how long one took. */
type Spans = Map<string, number[]>;

/** Phases that are over once the training has begun, in their order: only the first attempts can be killed in them. */
const openings: readonly Phase[] = ["index build", "model pull"];
/** How far a training gets at most before its next kill, in beginnings of the phase: it has to last for all kills. */
const maxOccurrence: Partial<Record<Phase, number>> = {
  "model pull": 27,
  "index build": 37,
  "checkpoint write": 250,
  "record write": 20,
};

function chooseKill(phase: Phase, spans: Spans, random: Random): Kill {
  const durations = spans.get(phase) as number[];
  const most = Math.min(durations.length, maxOccurrence[phase] ?? 5);
  const occurrence = 1 + random.nextInt(most);
  const isComputing = phase === "sampling" || phase === "backward" || phase === "optimizer";
  if (!isComputing && random.next() < 0.6) {
    return { phase, occurrence, moment: (["before", "half", "after"] as const)[random.nextInt(3)] as "half" };
  }
  // Mostly within the phase, sometimes after it.
  const us = Math.round(1.1 * random.next() * (durations[occurrence - 1] as number));
  return { phase, occurrence, moment: Math.max(1, us) };
}

/** Phases of the kills of one training, each phase as often as the others in the long run. */
function* choosePhases(random: Random): Generator<Phase[]> {
  for (;;) {
    const later = phases.filter((phase) => !openings.includes(phase));
    yield [...openings, ...shuffle(later, random)];
  }
}

/** @throws where the run that is left alone doesn't end well */
export async function runCrashTest({
  kills,
  seed,
  tree,
  killsPerRun = 8,
  onEvent = () => {},
}: CrashOptions): Promise<CrashReport> {
  const folder = await mkdtemp(join(tmpdir(), "rec-r1-crash-"));
  const hub = await startHub(join(folder, "hub"));
  const random = randomStream(seed, "crash");
  const report: CrashReport = { runs: 0, kills: 0, hit: {}, missed: 0, failures: [] };
  const attempt = (trial: string, kill?: Kill): Promise<Attempt> =>
    attemptTraining(trial, { tree, endpoint: hub.endpoint, kill });
  try {
    const whole = join(folder, "whole");
    await writeTrial(whole);
    const left = await attempt(whole);
    if (left.code !== 0) throw new Error(`The run that was left alone ended with ${left.code}:\n${left.stderr}`);
    const expected = await readOutcome(whole);
    const spans: Spans = new Map();
    for (const { phase, us } of left.spans) spans.set(phase, [...(spans.get(phase) ?? []), us]);
    onEvent(`left alone: ${Object.keys(expected.files).length} files, ${describeSpans(spans)}`);
    const plans = choosePhases(random);
    const startedAt = performance.now();
    while (report.kills < kills) {
      report.runs++;
      const trial = join(folder, `run-${report.runs}`);
      await writeTrial(trial);
      const told: string[] = [];
      const failuresBefore = report.failures.length;
      for (const phase of (plans.next().value as Phase[]).slice(0, Math.min(killsPerRun, kills - report.kills))) {
        const kill = chooseKill(phase, spans, random);
        const { code, killed, stderr } = await attempt(trial, kill);
        told.push(
          `${phase} ${kill.occurrence} ${kill.moment}: ${killed === undefined ? `ended with ${code}` : `killed in ${killed}`}`,
        );
        if (killed !== undefined) {
          report.kills++;
          report.hit[killed] = (report.hit[killed] ?? 0) + 1;
          continue;
        }
        report.missed++;
        if (code !== 0) report.failures.push(`run ${report.runs} (${told.join("; ")}):\n${stderr}`);
        break;
      }
      const { code, stderr } = await attempt(trial);
      if (code === 0) {
        const { files, leftovers } = await readOutcome(trial);
        const names = new Set([...Object.keys(files), ...Object.keys(expected.files)]);
        const differs = [...names].filter((name) => files[name] !== expected.files[name]);
        if (differs.length > 0)
          report.failures.push(`run ${report.runs} (${told.join("; ")}): other ${differs.join(", ")}`);
        if (leftovers.length > 0)
          report.failures.push(`run ${report.runs} (${told.join("; ")}): left ${leftovers.join(", ")}`);
      } else report.failures.push(`run ${report.runs} (${told.join("; ")}), then ended with ${code}:\n${stderr}`);
      for (const failure of report.failures.slice(failuresBefore)) onEvent(`failed: ${failure}`);
      const minutes = (performance.now() - startedAt) / 60_000;
      const minutesLeft = (minutes / Math.max(1, report.kills)) * (kills - report.kills);
      onEvent(
        `run ${report.runs}: ${told.join("; ")}. ${report.kills} of ${kills} kills, ${report.failures.length} failures, ${minutesLeft.toFixed(1)} minutes left`,
      );
      await rm(trial, { recursive: true, force: true });
    }
    return report;
  } finally {
    await hub.close();
    await rm(folder, { recursive: true, force: true });
  }
}

function describeSpans(spans: Spans): string {
  return [...spans]
    .map(([phase, durations]) => {
      const sum = durations.reduce((total, us) => total + us, 0);
      return `${phase} ${durations.length} times, ${(sum / 1000).toFixed(0)} ms`;
    })
    .join(", ");
}
