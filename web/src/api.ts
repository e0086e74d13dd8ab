/** What the pages ask the server. */
import type {
  ComparisonPage,
  ConfigTable,
  ErrorReply,
  GroupDetail,
  GroupPage,
  NotEvaluated,
  RolloutSteps,
  RunCurves,
  RunSummary,
  SearchPage,
  SuspectReport,
  TermCredit,
  TryEvent,
} from "../../src/server/dashboard/wire.ts";

/** A refusal, or a server that can't be reached. */
export class ApiError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

type Params = Record<string, string | number | readonly string[] | undefined>;

function addressOf(path: string, params: Params): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value === undefined || value === "") continue;
    for (const each of Array.isArray(value) ? value : [value]) query.append(key, String(each));
  }
  return `/api/${path}?${query}`;
}

async function readReply<T>(sent: Promise<Response>): Promise<T> {
  let reply: Response;
  try {
    reply = await sent;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("UNREACHABLE", "The dashboard's program does not answer. Is it still running?");
  }
  if (reply.ok) return (await reply.json()) as T;
  const { error } = (await reply
    .json()
    .catch(() => ({ error: { code: "UNKNOWN", message: reply.statusText } }))) as ErrorReply;
  throw new ApiError(error.code, error.message);
}

function get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<T> {
  return readReply<T>(fetch(addressOf(path, params), signal ? { signal } : {}));
}

function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  return fetch(`/api/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
}

export interface ComparisonQuery {
  split?: string | undefined;
  baseline?: string | undefined;
  order: string;
  filter: string;
  text?: string | undefined;
  example?: string | undefined;
  offset: number;
  limit: number;
}

export interface GroupsQuery {
  step: number;
  example?: string | undefined;
  /** Default: the page that has the example. */
  offset?: number | undefined;
  limit: number;
}

export interface SearchQuery {
  text?: string | undefined;
  example?: string | undefined;
  minReward?: string | undefined;
  maxReward?: string | undefined;
  cursor?: string | undefined;
  limit: number;
}

export const api = {
  runs: (signal?: AbortSignal) => get<RunSummary[]>("runs", {}, signal),
  curves: (run: string, signal?: AbortSignal) => get<RunCurves>("curves", { run }, signal),
  config: (runs: readonly string[], signal?: AbortSignal) => get<ConfigTable>("config", { run: runs }, signal),
  steps: (run: string, signal?: AbortSignal) => get<RolloutSteps>("rollouts/steps", { run }, signal),
  groups: (run: string, query: GroupsQuery, signal?: AbortSignal) =>
    get<GroupPage>("rollouts/groups", { run, ...query }, signal),
  group: (run: string, step: number, example: string, signal?: AbortSignal) =>
    get<GroupDetail>("rollouts/group", { run, step, example }, signal),
  search: (run: string, query: SearchQuery, signal?: AbortSignal) =>
    get<SearchPage>("rollouts/search", { run, ...query }, signal),
  comparison: (run: string, query: ComparisonQuery, signal?: AbortSignal) =>
    get<ComparisonPage | NotEvaluated>("comparison", { run, ...query }, signal),
  suspects: (run: string, signal?: AbortSignal) => get<SuspectReport>("suspects", { run }, signal),
  credit: (run: string, split: string, example: string, query: string, signal?: AbortSignal) =>
    readReply<TermCredit>(post("credit", { run, split, example, query }, signal)),
  /** What each policy writes, as it comes. */
  async *try(run: string, text: string, signal: AbortSignal): AsyncGenerator<TryEvent> {
    const reply = await post("try", { run, text }, signal);
    if (!reply.ok || !reply.body) {
      await readReply(Promise.resolve(reply));
      return;
    }
    const decoder = new TextDecoder();
    const reader = reply.body.getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line !== "") yield JSON.parse(line) as TryEvent;
      if (done) return;
    }
  },
};

/** The address of the events of runs that go on from where their curves are. */
export function eventsAddress(runs: readonly RunCurves[]): string {
  return addressOf("events", { run: runs.map(({ id, revision, sequence }) => `${id}@${revision}.${sequence}`) });
}
