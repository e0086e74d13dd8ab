/** A run's figures as a TensorBoard event file: `tensorboard --logdir runs` shows every run beside the others. */
import { appendFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { describeFileError, makeFolder } from "../../core/atomic-write.ts";
import type { TrackedRun, Tracker } from "../tracker.ts";
import { encodeEvent } from "./event-file.ts";
import type { EventContent } from "./event-file.ts";

export interface TensorBoardOptions {
  /** Folder of the event file. Default: `tensorboard` in the run folder. */
  dir?: string;
}

export class TensorBoardTracker implements Tracker {
  readonly name = "TensorBoard";
  private readonly dir: string | undefined;
  private path = "";

  constructor({ dir }: TensorBoardOptions = {}) {
    this.dir = dir;
  }

  async start({ runDir, config, resumedAt }: TrackedRun): Promise<void> {
    const dir = this.dir ?? join(runDir, "tensorboard");
    const seconds = String(Math.floor(Date.now() / 1000)).padStart(10, "0");
    this.path = join(dir, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.rec-r1`);
    await makeFolder(dir);
    await this.append({ step: 0, fileVersion: "brain.Event:2" });
    if (resumedAt !== null) await this.append({ step: resumedAt + 1, restarts: true });
    await this.append({ step: resumedAt ?? 0, values: [{ tag: "config", text: toMarkdownTable(config) }] });
  }

  async log(step: number, values: Readonly<Record<string, number>>): Promise<void> {
    await this.append({ step, values: Object.entries(values).map(([tag, scalar]) => ({ tag, scalar })) });
  }

  async close(): Promise<void> {}

  /** Every record is whole in the file when this returns, so that a killed run leaves a readable file. */
  private async append(content: Omit<EventContent, "wallTime">): Promise<void> {
    const record = await encodeEvent({ ...content, wallTime: Date.now() / 1000 });
    try {
      await appendFile(this.path, record);
    } catch (error) {
      throw describeFileError(error, "append to", this.path);
    }
  }
}

/** Options as TensorBoard's text panel shows them. */
function toMarkdownTable(config: Readonly<Record<string, unknown>>): string {
  const cell = (value: unknown): string =>
    (typeof value === "string" ? value : (JSON.stringify(value) ?? "")).replace(/[|\n\r]/g, " ");
  const rows = Object.entries(config).map(([key, value]) => `| ${key} | ${cell(value)} |`);
  return ["| option | value |", "|---|---|", ...rows].join("\n");
}
