/** Server-sent events that follow runs in progress: what is new of their curves, and that there are new rollouts. */
import type { ServerResponse } from "node:http";
import { HttpError } from "../http/http-error.ts";
import { commonHeaders } from "../http/reply.ts";
import type { OpenRun } from "./open-runs.ts";

/** Between two looks at the files, in milliseconds. */
const pollMs = 1_000;
/** Between two signs of life, in milliseconds. */
const heartbeatMs = 15_000;
/** Streams at once. */
const maxStreams = 32;
/** Bytes that may wait for a slow reader before its stream is ended; it then connects again. */
const maxBuffered = 4 * 1024 * 1024;

/** Where a reader is in a run. */
export interface LiveCursor {
  run: OpenRun;
  revision: number;
  sequence: number;
}

export class LiveEvents {
  private readonly streams = new Set<ServerResponse>();

  /**
   * Sends events until the reader goes away:
   * `update` (a `LiveUpdate`), `reset` (the run's curves have to be read anew), `rollouts` (its newest step).
   * @throws HttpError 503 where there are too many readers
   */
  follow(response: ServerResponse, cursors: LiveCursor[]): void {
    if (this.streams.size >= maxStreams) {
      throw new HttpError(503, "TOO_MANY_STREAMS", "Too many pages are open.", { "retry-after": "30" });
    }
    response.writeHead(200, {
      ...commonHeaders,
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
    });
    response.write("retry: 2000\n\n");
    this.streams.add(response);
    const lastSteps = new Map<string, number>();
    const lastStates = new Map<string, string>();
    let beatAt = performance.now();
    const send = (event: string, data: unknown): void => {
      response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      beatAt = performance.now();
    };
    const look = async (): Promise<void> => {
      for (const cursor of cursors) {
        const { run } = cursor;
        const update = await run.log.since(cursor.revision, cursor.sequence);
        if (!update) {
          send("reset", { id: run.files.id });
          const { revision, sequence } = await run.log.curves(1);
          Object.assign(cursor, { revision, sequence });
          continue;
        }
        const state = `${update.status} ${update.totalSteps}`;
        const isNews = update.sequence !== cursor.sequence || lastStates.get(run.files.id) !== state;
        cursor.sequence = update.sequence;
        lastStates.set(run.files.id, state);
        if (isNews) send("update", update);
        const step = (await run.rollouts.steps()).at(-1);
        if (step !== undefined && lastSteps.get(run.files.id) !== step) send("rollouts", { id: run.files.id, step });
        if (step !== undefined) lastSteps.set(run.files.id, step);
      }
      if (performance.now() - beatAt > heartbeatMs) {
        response.write(": still here\n\n");
        beatAt = performance.now();
      }
    };
    let timer: NodeJS.Timeout | undefined;
    const loop = async (): Promise<void> => {
      // A run that can't be read for a moment, or for good, ends the stream; its reader asks again, and is told why.
      const isFine = await look().then(
        () => true,
        () => false,
      );
      if (!this.streams.has(response)) return;
      if (!isFine || response.writableLength > maxBuffered) response.end();
      else timer = setTimeout(() => void loop(), pollMs);
    };
    response.on("close", () => {
      this.streams.delete(response);
      clearTimeout(timer);
    });
    void loop();
  }

  close(): void {
    for (const response of this.streams) response.end();
    this.streams.clear();
  }
}
