/**
 * The trackers of a run. They get what they are told in order, behind the run's back: the run never waits for one and
 * never fails because of one. A tracker that fails is named once and left alone.
 */
import type { TrainEvent } from "../rl/events.ts";
import type { TrackedEnd, Tracker } from "./tracker.ts";

export interface TrackerGroupOptions {
  /** Told what is wrong with a tracker, in one sentence. */
  onWarning: (message: string) => void;
  /** Longest wait for what is still on its way when the run ends, in milliseconds. Default 30,000. */
  closeTimeoutMs?: number;
  /** Most messages that wait for a slow tracker; later ones are dropped. Default 10,000. */
  maxWaiting?: number;
}

/** A tracker with what it still has to be told. */
interface Follower {
  tracker: Tracker;
  last: Promise<void>;
  waiting: number;
  isLeftAlone: boolean;
}

export class TrackerGroup {
  private readonly followers: Follower[];
  private readonly options: Required<TrackerGroupOptions>;
  private hasStarted = false;

  constructor(trackers: readonly Tracker[], options: TrackerGroupOptions) {
    this.followers = trackers.map((tracker) => ({ tracker, last: Promise.resolve(), waiting: 0, isLeftAlone: false }));
    this.options = { closeTimeoutMs: 30_000, maxWaiting: 10_000, ...options };
  }

  /** Hands on what training told; comes back at once. */
  readonly onEvent = (event: TrainEvent): void => {
    if (event.kind === "start") {
      const { runDir, config, resumedAt } = event;
      this.hasStarted = true;
      this.tell((tracker) => tracker.start({ runDir, config, resumedAt }));
    } else if (event.kind === "step") {
      const { step, phase, values } = event.record;
      const prefix = phase === "warmup" ? "warmup" : "train";
      const figures = { ...withPrefix(prefix, values), "time/step_seconds": event.seconds };
      this.tell((tracker) => tracker.log(step, figures));
    } else if (event.kind === "evaluation") {
      const { step, split, values } = event.summary;
      this.tell((tracker) => tracker.log(step, withPrefix(split, values)));
    }
  };

  /** Waits a while for what is on its way, and lets the trackers go. Never throws. */
  async close(end: TrackedEnd): Promise<void> {
    if (!this.hasStarted) return;
    this.tell((tracker) => tracker.close(end));
    const { closeTimeoutMs, onWarning } = this.options;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, closeTimeoutMs)));
    await Promise.race([Promise.all(this.followers.map(({ last }) => last)), timeout]);
    clearTimeout(timer);
    for (const follower of this.followers) {
      if (follower.waiting === 0 || follower.isLeftAlone) continue;
      follower.isLeftAlone = true;
      onWarning(`${follower.tracker.name} did not take all figures within ${closeTimeoutMs / 1000} s.`);
    }
  }

  private tell(message: (tracker: Tracker) => Promise<void>): void {
    const { maxWaiting } = this.options;
    for (const follower of this.followers) {
      if (follower.isLeftAlone) continue;
      if (follower.waiting >= maxWaiting) {
        this.leaveAlone(follower, `${follower.waiting} messages are waiting for it`);
        continue;
      }
      follower.waiting++;
      follower.last = follower.last
        .then(async () => {
          if (!follower.isLeftAlone) await message(follower.tracker);
        })
        .catch((error: unknown) => this.leaveAlone(follower, error instanceof Error ? error.message : String(error)))
        .finally(() => follower.waiting--);
    }
  }

  private leaveAlone(follower: Follower, why: string): void {
    if (follower.isLeftAlone) return;
    follower.isLeftAlone = true;
    this.options.onWarning(`${follower.tracker.name} is left alone from now on, the run goes on: ${why}`);
  }
}

function withPrefix(prefix: string, values: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix}/${name}`, value]));
}
