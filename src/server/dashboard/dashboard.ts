/**
 * `rec-r1 dashboard`: pages that show runs, and the JSON that they are drawn from. Reads run folders and never writes to
 * them. Runs are named in the query string and looked up in a list, so that no path is made of what was sent.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { addressOf } from "../http/address.ts";
import { checkShape, readJson } from "../http/body.ts";
import { isLoopback, makeGuard, type Guard } from "../http/guard.ts";
import { HttpError } from "../http/http-error.ts";
import { listenHttp } from "../http/listen.ts";
import { commonHeaders, describeError, sendError, sendJson } from "../http/reply.ts";
import { makeToken } from "../http/token.ts";
import { comparisonFilters, comparisonOrders } from "./before-after.ts";
import { compareConfigs } from "./config-table.ts";
import { findSuspects } from "./find-suspects.ts";
import { LiveEvents, type LiveCursor } from "./live-events.ts";
import { OpenRuns } from "./open-runs.ts";
import { Pages } from "./pages.ts";
import { Playgrounds, type OpenPlayground } from "./playground.ts";
import { RunsFolder } from "./run-files.ts";
import { readRunManifest, summariseRun } from "./run-log.ts";
import { policyNames, type RolloutSteps, type RunSummary, type TryEvent } from "./wire.ts";

export interface DashboardOptions {
  /** Folder of runs, or a run. */
  runs: string;
  /** Default `127.0.0.1`. On any other address a token is asked for. */
  host?: string;
  /** 0: any free one. */
  port: number;
  /** Asked of every request. Default: none on this machine's loopback address, else a new one. */
  token?: string;
  /** Names that the Host header may have besides this machine's own. */
  allowedHosts?: readonly string[];
  /** Origins that pictures of items may be fetched from, such as `https://images.shop.example`. Default: none. */
  imageHosts?: readonly string[];
  openPlayground: OpenPlayground;
  /** Told of faults, which readers are not. */
  onFault?: (error: unknown) => void;
  /** Requests of one sender. Default 100 a second, 400 at once. */
  rate?: { perSecond: number; burst: number };
  /** Folder of the built pages. Default: the package's. */
  pagesDir?: string;
}

export interface Dashboard {
  /** Where it can be opened, with the token where one is asked for. */
  readonly url: string;
  close(): Promise<void>;
}

/** Beside this module in the build; of the build, where this module runs from its source. */
const builtPages = ["../../web/", "../../../dist/web/"].map((path) => fileURLToPath(new URL(path, import.meta.url)));

/** Runs that are looked into at once, each with a few files open. */
const runsAtOnce = 32;

const id = z.string().min(1).max(500);
const text = z.string().max(500);
const wholeNumber = z.coerce.number().int().min(0).max(1e9);
const paging = {
  offset: wholeNumber.default(0),
  limit: wholeNumber.pipe(z.number().min(1).max(200)).default(50),
};
const queries = {
  run: z.object({ run: id }),
  curves: z.object({ run: id, points: wholeNumber.pipe(z.number().min(10).max(5_000)).default(1_000) }),
  runs: z.object({ runs: z.array(id).min(1).max(16) }),
  groups: z.object({
    run: id,
    step: wholeNumber,
    example: id.optional(),
    offset: wholeNumber.optional(),
    limit: paging.limit,
  }),
  group: z.object({ run: id, step: wholeNumber, example: id }),
  search: z.object({
    run: id,
    text: text.optional(),
    example: id.optional(),
    minReward: z.coerce.number().optional(),
    maxReward: z.coerce.number().optional(),
    cursor: z.string().max(40).optional(),
    limit: paging.limit,
  }),
  comparison: z.object({
    run: id,
    split: z.string().max(100).optional(),
    baseline: z.enum(policyNames).optional(),
    order: z.enum(comparisonOrders).default("gain"),
    filter: z.enum(comparisonFilters).default("all"),
    text: text.optional(),
    example: id.optional(),
    ...paging,
  }),
  try: z.object({ run: id, text: z.string().trim().min(1).max(2_000) }),
  credit: z.object({ run: id, split: z.string().max(100), example: id, query: z.string().trim().min(1).max(2_000) }),
};

type Handler = (url: URL, request: IncomingMessage, response: ServerResponse) => Promise<void>;

/**
 * Starts the dashboard.
 * @throws ConfigError `NO_RUNS_FOLDER`, `NO_PAGES`, `PORT_UNAVAILABLE`
 */
export async function startDashboard(options: DashboardOptions): Promise<Dashboard> {
  const { host = "127.0.0.1", port, imageHosts = [], onFault = () => {} } = options;
  const token = options.token ?? (isLoopback(host) ? undefined : makeToken());
  const folder = await RunsFolder.open(options.runs);
  const pages = await Pages.load(
    options.pagesDir ?? builtPages.find((dir) => existsSync(dir)) ?? (builtPages[0] as string),
    imageHosts,
  );
  const runs = new OpenRuns(folder);
  const playgrounds = new Playgrounds(options.openPlayground);
  const events = new LiveEvents();
  const handlers = makeHandlers({ folder, runs, playgrounds, events, onFault });
  // Known once there is a port; nothing is asked before.
  const late: { guard?: Guard; cookieName?: string } = {};
  const server = await listenHttp(
    (request, response) => {
      const answer = async (): Promise<void> => {
        const url = addressOf(request);
        const isVisit = token !== undefined && isSignIn(url, request);
        if (isVisit) request.headers.authorization = `Bearer ${url.searchParams.get("token")}`;
        late.guard?.(request);
        if (isVisit) return signIn(token, late.cookieName ?? "", response);
        const method = request.method === "HEAD" ? "GET" : (request.method ?? "");
        const handler = handlers[`${method} ${url.pathname}`];
        if (handler) return handler(url, request, response);
        if (url.pathname.startsWith("/api/")) throw new HttpError(404, "NOT_FOUND", "There is no such thing here.");
        if (method !== "GET") throw new HttpError(405, "BAD_METHOD", "Pages can only be read.", { allow: "GET, HEAD" });
        pages.send(response, url.pathname);
      };
      answer().catch((error: unknown) => sendError(response, error, onFault));
    },
    { host, port },
  );
  // Cookies are shared by all ports of a machine: each dashboard has its own.
  const cookieName = `rec-r1-dashboard-${server.port}`;
  late.cookieName = cookieName;
  late.guard = makeGuard({
    host,
    cookieName,
    rate: options.rate ?? { perSecond: 100, burst: 400 },
    ...(token ? { token } : {}),
    ...(options.allowedHosts ? { allowedHosts: options.allowedHosts } : {}),
  });
  return {
    url: token ? `${server.url}/?token=${token}` : server.url,
    close: async () => {
      events.close();
      await server.close();
      await playgrounds.close();
    },
  };
}

/** A visit with the token in the address, which is how a browser first comes by it. */
function isSignIn(url: URL, { method }: IncomingMessage): boolean {
  return method === "GET" && url.pathname === "/" && url.searchParams.has("token");
}

/** Takes the token out of the address and puts it in a cookie that scripts and other sites can't use. */
function signIn(token: string, cookieName: string, response: ServerResponse): void {
  response.writeHead(303, {
    ...commonHeaders,
    location: "/",
    "cache-control": "no-store",
    "set-cookie": `${cookieName}=${token}; HttpOnly; SameSite=Strict; Path=/`,
  });
  response.end();
}

function readQuery<T>(url: URL, schema: z.ZodType<T>): T {
  return checkShape(Object.fromEntries(url.searchParams), schema);
}

function makeHandlers({
  folder,
  runs,
  playgrounds,
  events,
  onFault,
}: {
  folder: RunsFolder;
  runs: OpenRuns;
  playgrounds: Playgrounds;
  events: LiveEvents;
  onFault: (error: unknown) => void;
}): Record<string, Handler> {
  return {
    "GET /api/runs": async (_url, _request, response) => {
      const found = [...(await folder.list()).values()];
      const known: RunSummary[] = [];
      for (let start = 0; start < found.length; start += runsAtOnce) {
        const some = await Promise.all(found.slice(start, start + runsAtOnce).map(summariseRun));
        known.push(...some.filter((run) => run !== undefined));
      }
      sendJson(
        response,
        200,
        known.sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1)),
      );
    },
    "GET /api/curves": async (url, _request, response) => {
      const { run, points } = readQuery(url, queries.curves);
      sendJson(response, 200, await (await runs.get(run)).log.curves(points));
    },
    "GET /api/config": async (url, _request, response) => {
      const wanted = checkShape({ runs: url.searchParams.getAll("run") }, queries.runs);
      const manifests = await Promise.all(
        wanted.runs.map(async (run) => ({ id: run, manifest: await readRunManifest(await folder.find(run)) })),
      );
      sendJson(response, 200, compareConfigs(manifests));
    },
    "GET /api/rollouts/steps": async (url, _request, response) => {
      const { run } = readQuery(url, queries.run);
      sendJson(response, 200, { steps: await (await runs.get(run)).rollouts.steps() } satisfies RolloutSteps);
    },
    "GET /api/rollouts/groups": async (url, _request, response) => {
      const { run, step, ...page } = readQuery(url, queries.groups);
      sendJson(response, 200, await (await runs.get(run)).rollouts.groups(step, page));
    },
    "GET /api/rollouts/group": async (url, _request, response) => {
      const { run, step, example } = readQuery(url, queries.group);
      sendJson(response, 200, await (await runs.get(run)).rollouts.group(step, example));
    },
    "GET /api/rollouts/search": async (url, _request, response) => {
      const { run, cursor, limit, ...filter } = readQuery(url, queries.search);
      sendJson(response, 200, await (await runs.get(run)).rollouts.search(filter, { cursor, limit }));
    },
    "GET /api/comparison": async (url, _request, response) => {
      const { run, split, baseline, text, example, ...rest } = readQuery(url, queries.comparison);
      const { beforeAfter } = await runs.get(run);
      sendJson(response, 200, await beforeAfter.page({ split, baseline, text, example, ...rest }));
    },
    "GET /api/suspects": async (url, _request, response) => {
      sendJson(response, 200, await findSuspects(await runs.get(readQuery(url, queries.run).run)));
    },
    "GET /api/events": async (url, _request, response) => {
      const wanted = url.searchParams.getAll("run").slice(0, 16);
      const cursors = await Promise.all(
        wanted.map(async (each): Promise<LiveCursor> => {
          const [, run = "", revision = "0", sequence = "0"] = /^(.*)@(\d+)\.(\d+)$/s.exec(each) ?? [];
          return { run: await runs.get(run), revision: Number(revision), sequence: Number(sequence) };
        }),
      );
      events.follow(response, cursors);
    },
    "POST /api/try": async (_url, request, response) => {
      const { run, text: asked } = await readJson(request, queries.try);
      const files = await folder.find(run);
      const gone = new AbortController();
      response.on("close", () => gone.abort());
      response.writeHead(200, {
        ...commonHeaders,
        "content-type": "application/x-ndjson; charset=utf-8",
        "cache-control": "no-store",
      });
      const send = (event: TryEvent): void => void response.write(`${JSON.stringify(event)}\n`);
      send({ kind: "status", message: "Opening the run's model and recommender" });
      try {
        await playgrounds.use(files, gone.signal, async (playground, signal) => {
          for await (const event of playground.ask(asked, signal)) send(event);
        });
        send({ kind: "end" });
      } catch (error) {
        if (!gone.signal.aborted) {
          const { code, message } = describeError(error, onFault);
          send({ kind: "error", code, message });
        }
      }
      response.end();
    },
    "POST /api/credit": async (_url, request, response) => {
      const { run, ...wanted } = await readJson(request, queries.credit);
      const files = await folder.find(run);
      const gone = new AbortController();
      response.on("close", () => gone.abort());
      const credit = await playgrounds.use(files, gone.signal, (playground, signal) =>
        playground.credit(wanted, signal),
      );
      sendJson(response, 200, credit);
    },
  };
}
