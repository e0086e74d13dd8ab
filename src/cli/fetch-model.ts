/** Fetching a known model, with progress on the terminal. */
import type { Reporter } from "./progress.ts";

/** Puts a known model into the cache, with progress. @throws ModelError, AbortError */
export async function fetchModel(
  name: string,
  reporter: Reporter,
  signal: AbortSignal,
): Promise<{ path: string; fromCache: boolean }> {
  const { pullModel } = await import("../models/pull.ts");
  return pullModel(name, {
    signal,
    onProgress: ({ source, bytesDone, totalBytes }) => {
      const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);
      const amount =
        totalBytes > 0 ? `${megabytes(bytesDone)} of ${megabytes(totalBytes)} MB` : `${megabytes(bytesDone)} MB`;
      reporter.status(`fetching ${name} from ${source}: ${amount}`);
    },
  });
}
