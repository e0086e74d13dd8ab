/** Curves of the runs that are shown, kept up to date by server-sent events. */
import { useEffect, useState } from "preact/hooks";
import type { LiveUpdate, RunCurves } from "../../src/server/dashboard/wire.ts";
import { api, eventsAddress } from "./api.ts";
import { withUpdate } from "./series.ts";

export interface LiveRuns {
  curves: ReadonlyMap<string, RunCurves>;
  /** The newest step with rollouts, by run; grows while a run trains. */
  newestRollouts: ReadonlyMap<string, number>;
  error: Error | undefined;
  /** Whether news arrive. */
  isConnected: boolean;
}

/** Between two tries to connect again, in milliseconds. */
const retryMs = 3_000;

export function useLiveRuns(runs: readonly string[]): LiveRuns {
  const [curves, setCurves] = useState<ReadonlyMap<string, RunCurves>>(new Map());
  const [newestRollouts, setNewest] = useState<ReadonlyMap<string, number>>(new Map());
  const [error, setError] = useState<Error | undefined>(undefined);
  const [isConnected, setConnected] = useState(false);
  const key = JSON.stringify(runs);
  useEffect(() => {
    if (runs.length === 0) return;
    const controller = new AbortController();
    const state = new Map<string, RunCurves>();
    let source: EventSource | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const show = (): void => setCurves(new Map(state));
    const load = async (run: string): Promise<void> => {
      state.set(run, await api.curves(run, controller.signal));
      show();
    };
    const connect = (): void => {
      source = new EventSource(eventsAddress([...state.values()]));
      source.addEventListener("open", () => setConnected(true));
      source.addEventListener("update", ({ data }: MessageEvent<string>) => {
        const update = JSON.parse(data) as LiveUpdate;
        const before = state.get(update.id);
        if (!before || before.sequence > update.sequence) return;
        state.set(update.id, withUpdate(before, update));
        show();
      });
      source.addEventListener("rollouts", ({ data }: MessageEvent<string>) => {
        const { id, step } = JSON.parse(data) as { id: string; step: number };
        setNewest((all) => new Map(all).set(id, step));
      });
      source.addEventListener("reset", ({ data }: MessageEvent<string>) => {
        const { id } = JSON.parse(data) as { id: string };
        load(id).catch(() => undefined);
      });
      source.addEventListener("error", () => {
        // The browser would ask again from where the curves were when the page was opened.
        source?.close();
        setConnected(false);
        timer = setTimeout(start, retryMs);
      });
    };
    const start = (): void => {
      Promise.all(runs.map(load)).then(
        () => {
          setError(undefined);
          if (!controller.signal.aborted) connect();
        },
        (cause: Error) => {
          if (controller.signal.aborted) return;
          setError(cause);
          timer = setTimeout(start, retryMs);
        },
      );
    };
    start();
    return () => {
      controller.abort();
      source?.close();
      clearTimeout(timer);
      setConnected(false);
    };
  }, [key]);
  return { curves, newestRollouts, error, isConnected };
}
