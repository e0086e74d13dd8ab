/** LanceDB and Arrow, loaded on first use: whoever searches elsewhere never loads them. */
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { readFileSync } from "node:fs";
import type * as ArrowModule from "apache-arrow";
import type * as LanceModule from "@lancedb/lancedb";
import { describeFileError } from "../../core/atomic-write.ts";
import { RecommenderError } from "../../core/errors.ts";

export type Lance = typeof LanceModule;
export type Arrow = typeof ArrowModule;

export interface Native {
  lance: Lance;
  arrow: Arrow;
  /** Version of `@lancedb/lancedb`, part of an index's identity. */
  version: string;
}

function readLanceVersion(): string {
  const main = createRequire(import.meta.url).resolve("@lancedb/lancedb");
  const packageFile = join(dirname(main), "..", "package.json");
  return (JSON.parse(readFileSync(packageFile, "utf8")) as { version: string }).version;
}

/**
 * LanceDB keeps two cores for reading and computes on the others, so on two cores it would compute on one. What a search
 * reads is in memory after the first queries; nothing has to be kept for that. Read once, when LanceDB first computes.
 */
function useAllCores(): void {
  process.env.LANCE_CPU_THREADS ??= String(availableParallelism());
}

let loading: Promise<Native> | undefined;

/** @throws RecommenderError when LanceDB can't be loaded on this machine. */
export function loadNative(): Promise<Native> {
  if (!loading) useAllCores();
  loading ??= Promise.all([import("@lancedb/lancedb"), import("apache-arrow")]).then(
    ([lance, arrow]) => ({ lance, arrow, version: readLanceVersion() }),
    (cause: unknown) => {
      loading = undefined;
      const described = describeFileError(cause, "load", "@lancedb/lancedb");
      if (described !== cause) throw described;
      throw new RecommenderError(
        "RECOMMENDER_NOT_INSTALLED",
        `lancedb: could not be loaded on ${process.platform} ${process.arch}: ${String((cause as Error).message)}. ` +
          `Install it with its optional dependencies: npm install @lancedb/lancedb`,
        { cause },
      );
    },
  );
  return loading;
}
