/** Runs that somebody looks at, with what was read of them; the one not looked at for longest goes first. */
import { BeforeAfter } from "./before-after.ts";
import { Rollouts } from "./rollouts.ts";
import type { RunFiles, RunsFolder } from "./run-files.ts";
import { readRunManifest, RunLog } from "./run-log.ts";
import { ShownIndex } from "./shown-index.ts";

export interface OpenRun {
  files: RunFiles;
  log: RunLog;
  rollouts: Rollouts;
  shown: ShownIndex;
  beforeAfter: BeforeAfter;
}

/** Runs held at once. */
const maxOpen = 16;

export class OpenRuns {
  private readonly folder: RunsFolder;
  private readonly runs = new Map<string, OpenRun>();

  constructor(folder: RunsFolder) {
    this.folder = folder;
  }

  /** @throws HttpError 404 */
  async get(id: string): Promise<OpenRun> {
    const files = await this.folder.find(id);
    const known = this.runs.get(id);
    this.runs.delete(id);
    const run = known ?? (await this.open(files));
    this.runs.set(id, run);
    const [oldest] = this.runs.keys();
    if (this.runs.size > maxOpen && oldest !== undefined) this.runs.delete(oldest);
    return run;
  }

  private async open(files: RunFiles): Promise<OpenRun> {
    const { config } = await readRunManifest(files);
    const shown = new ShownIndex(files);
    const tokensEvery = typeof config.recordTokensEvery === "number" ? config.recordTokensEvery : 0;
    return {
      files,
      log: new RunLog(files),
      rollouts: new Rollouts(files, shown, tokensEvery),
      shown,
      beforeAfter: new BeforeAfter(files, shown),
    };
  }
}
