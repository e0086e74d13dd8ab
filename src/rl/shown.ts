/**
 * What people are shown in place of ids: titles and pictures of the items in a run's records, and the words of its
 * examples. Kept in the run folder, so that a run can be looked at where neither its data nor its recommender are.
 */
import { gainsOf } from "../ranking/judgments.ts";
import type { Relevance } from "../ranking/judgments.ts";
import type { Hit } from "../recommenders/recommender.ts";
import type { ItemPicture, ShownExample, ShownItem, ShownRecord } from "../runs/records.ts";
import { readShown, type RunFolder } from "../runs/run-folder.ts";
import type { FoundAnswer } from "./evaluation.ts";
import type { LoadedExample, Task } from "./task.ts";

/** Characters kept of a title or an example's text. */
const maxTextLength = 300;
/** Characters kept of a picture's path or address; longer ones are left out. */
const maxPictureLength = 8_000;
/** Relevant ids kept of an example. */
const maxRelevant = 50;
/** Items and examples kept of a run, which bounds its folder and what a reader of it has to hold. */
const maxRecords = 200_000;

const titleFields = ["title", "name", "label", "headline", "text"];
const pictureFields = ["picture", "image", "imageUrl", "image_url", "thumbnail", "img", "icon"];

/** A title from a payload: the field that is called so, else the first text in it. */
function titleOf(payload: Hit["payload"]): string | undefined {
  const isText = (value: unknown): value is string => typeof value === "string" && value.trim() !== "";
  const title = titleFields.map((field) => payload?.[field]).find(isText);
  return (title ?? Object.values(payload ?? {}).find(isText))?.slice(0, maxTextLength);
}

/** A picture from a payload: an https or data address, or SVG path data. */
function pictureOf(payload: Hit["payload"]): ItemPicture | undefined {
  for (const field of pictureFields) {
    const value = payload?.[field];
    if (typeof value !== "string" || value.length > maxPictureLength) continue;
    if (/^https:\/\/|^data:image\/(png|jpeg|webp|gif|avif);base64,/i.test(value)) return { url: value };
    if (/^[Mm][\d\s.,+\-eEMmZzLlHhVvCcSsQqTtAa]+$/.test(value)) return { path: value };
  }
  return undefined;
}

/** What is shown of a hit: as the task says, otherwise what its payload has. */
export async function showItem(task: Pick<Task<object>, "show">, hit: Hit): Promise<ShownItem> {
  const own = await task.show?.(hit);
  const title = own?.title?.slice(0, maxTextLength) ?? titleOf(hit.payload);
  const picture = own?.picture ?? pictureOf(hit.payload);
  return { kind: "item", id: hit.id, ...(title ? { title } : {}), ...(picture ? { picture } : {}) };
}

/** What is shown of an example: the user's words or, where the task has none, the last message of the prompt. */
export function showExample<E extends object>(task: Task<E>, { id, example }: LoadedExample<E>): ShownExample {
  const words = task.raw(example) ?? task.prompt(example).findLast(({ role }) => role === "user")?.content ?? "";
  const { relevant } = example as { relevant?: Relevance };
  const gains = relevant === undefined ? [] : [...gainsOf(relevant)].filter(([, gain]) => gain > 0);
  const ids = gains.sort(([, a], [, b]) => b - a).map(([item]) => item);
  return {
    kind: "example",
    id,
    text: words.slice(0, maxTextLength),
    ...(ids.length > 0 ? { relevant: ids.slice(0, maxRelevant) } : {}),
  };
}

/** Collects what is to be shown of examples and their hits, each once. */
export class ShownLog<E extends object> {
  private readonly task: Task<E>;
  private readonly recordHits: number;
  private readonly write: (records: readonly ShownRecord[]) => Promise<void>;
  private readonly known: Set<string>;

  constructor(
    task: Task<E>,
    {
      recordHits,
      write,
      known = [],
    }: {
      /** Hits that records keep of a query; of others nothing is shown. */
      recordHits: number;
      write: (records: readonly ShownRecord[]) => Promise<void>;
      known?: Iterable<ShownRecord>;
    },
  ) {
    this.task = task;
    this.recordHits = recordHits;
    this.write = write;
    this.known = new Set([...known].map(({ kind, id }) => `${kind} ${id}`));
  }

  /** Writes what isn't known yet of examples and the hits found for them. */
  async add(found: readonly { example: LoadedExample<E>; hits: readonly Hit[] | null }[]): Promise<void> {
    const records: ShownRecord[] = [];
    for (const { example, hits } of found) {
      if (this.isNew("example", example.id)) records.push(showExample(this.task, example));
      for (const hit of hits?.slice(0, this.recordHits) ?? []) {
        if (this.isNew("item", hit.id)) records.push(await showItem(this.task, hit));
      }
    }
    if (records.length > 0) await this.write(records);
  }

  private isNew(kind: ShownRecord["kind"], id: string): boolean {
    const key = `${kind} ${id}`;
    if (this.known.has(key) || this.known.size >= maxRecords) return false;
    this.known.add(key);
    return true;
  }
}

/** What is to be shown of evaluations: `onFound` takes what they find, `records` gives it. */
export function collectShown<E extends object>(
  task: Task<E>,
  recordHits = 10,
): { onFound: (found: readonly FoundAnswer<E>[]) => void; records: () => Promise<ShownRecord[]> } {
  const all: FoundAnswer<E>[] = [];
  return {
    onFound: (found) => {
      for (const answer of found) all.push({ ...answer, hits: answer.hits?.slice(0, recordHits) ?? null });
    },
    records: async () => {
      const records: ShownRecord[] = [];
      const write = async (some: readonly ShownRecord[]): Promise<void> => {
        for (const record of some) records.push(record);
      };
      await new ShownLog(task, { recordHits, write }).add(all);
      return records;
    },
  };
}

/** The log of a run that is being trained. */
export async function openShownLog<E extends object>({
  task,
  folder,
  recordHits,
}: {
  task: Task<E>;
  folder: RunFolder;
  recordHits: number;
}): Promise<ShownLog<E>> {
  const known = await readShown(folder.dir);
  return new ShownLog(task, { recordHits, known, write: (records) => folder.appendShown(records) });
}
