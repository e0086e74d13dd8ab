/**
 * Recommenders by name: a JSON object whose `kind` says which, and whose other keys are its options. Secrets are not
 * written down: `${NAME}` in a header or credential stands for an environment variable.
 */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { describeFileError } from "../core/atomic-write.ts";
import { ConfigError } from "../core/errors.ts";
import { suggestion } from "../core/suggest.ts";
import { readCatalogueIds, withKnownIds } from "../recommenders/known-ids.ts";
import type { Recommender } from "../recommenders/recommender.ts";
import { resilienceKeys } from "../recommenders/resilience.ts";

const names = z.array(z.string().min(1));
const json: z.ZodType<object> = z.looseObject({});
const probes = z.strictObject({ queries: names.min(1), topK: z.number().int().min(1).optional() });
const resilience = Object.fromEntries(resilienceKeys.map((key) => [key, z.number().int().min(1).optional()]));
/** File of the ids that there are: others are reported, and the examples' are looked up in it. */
const catalogue = z.strictObject({ file: z.string(), id: z.string().optional() }).optional();
const headers = z.record(z.string(), z.string()).optional();

/** What each kind takes. LanceDB's options are its own and checked by it. */
const kinds = {
  lancedb: z.looseObject({
    kind: z.literal("lancedb"),
    catalogue: z.string(),
    text: z.union([names.min(1), z.record(z.string(), z.number().positive())]),
  }),
  http: z.strictObject({
    kind: z.literal("http"),
    url: z.string(),
    method: z.enum(["GET", "POST"]).optional(),
    body: z.unknown().optional(),
    headers,
    hits: z.string(),
    id: z.string().optional(),
    score: z.string().optional(),
    payload: z.record(z.string(), z.string()).optional(),
    answers: z.string().optional(),
    batchSize: z.number().int().min(1).optional(),
    tls: z.strictObject({ caFile: z.string().optional(), rejectUnauthorized: z.boolean().optional() }).optional(),
    fingerprint: z
      .union([z.string(), probes, z.strictObject({ url: z.string(), path: z.string().optional() })])
      .optional(),
    catalogue,
    ...resilience,
  }),
  opensearch: z.strictObject({
    kind: z.literal("opensearch"),
    node: z.union([z.string(), names.min(1)]),
    index: z.string(),
    query: json.optional(),
    body: json.optional(),
    id: z.string().optional(),
    payload: names.optional(),
    tieBreaker: z.string().optional(),
    preference: z.string().optional(),
    maxQueryWords: z.number().int().min(1).optional(),
    allowSyntax: z.array(z.enum(["query_string", "simple_query_string", "regexp", "wildcard"])).optional(),
    searchType: z.enum(["query_then_fetch", "dfs_query_then_fetch"]).optional(),
    batchSize: z.number().int().min(1).optional(),
    auth: z
      .union([
        z.strictObject({ username: z.string(), password: z.string() }),
        z.strictObject({ apiKey: z.string() }),
        z.strictObject({ bearer: z.string() }),
      ])
      .optional(),
    tls: z.strictObject({ caFile: z.string().optional(), rejectUnauthorized: z.boolean().optional() }).optional(),
    headers,
    fingerprint: z.union([z.string(), probes]).optional(),
    catalogue,
    ...resilience,
  }),
  rerank: z.strictObject({
    kind: z.literal("rerank"),
    by: z.enum(["order", "description"]),
    candidates: json,
    describedBy: json.optional(),
    topCandidates: z.number().int().min(1).optional(),
    depth: z.number().int().min(1).optional(),
  }),
  sequential: z.strictObject({
    kind: z.literal("sequential"),
    model: z.string().optional(),
    histories: z.string().optional(),
    catalogue: z.string(),
    text: names.min(1).optional(),
    id: z.string().optional(),
    store: names.optional(),
    wordWeight: z.number().min(0).optional(),
    wordsLast: z.boolean().optional(),
    reach: z.number().int().min(1).optional(),
    lookback: z.number().int().min(1).optional(),
    decay: z.number().positive().max(1).optional(),
  }),
} as const;

type Kind = keyof typeof kinds;

/** Kinds that can be chosen by name. */
export const recommenderKinds = Object.keys(kinds) as Kind[];

export interface SettingsPlace {
  /** What messages call the settings: a file's path. */
  source: string;
  /** Folder that relative paths in them are meant from. */
  folder: string;
  /** Where `${NAME}` is looked up. Default `process.env`. */
  environment?: Readonly<Record<string, string | undefined>>;
  signal?: AbortSignal;
}

/**
 * Opens the recommender of a settings file.
 * @throws ConfigError `BAD_RECOMMENDER`, `NO_SECRET` …; what opening it throws
 */
export async function openRecommenderFile(path: string, signal?: AbortSignal): Promise<Recommender> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw describeFileError(error, "read the recommender's settings", path);
  }
  let settings: unknown;
  try {
    settings = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (cause) {
    throw new ConfigError("BAD_RECOMMENDER", `${path}: not JSON (${(cause as Error).message}).`, { cause });
  }
  const folder = dirname(resolve(path));
  return openRecommender(settings, { source: path, folder, ...(signal ? { signal } : {}) });
}

/** Opens the recommender of a settings object. @throws as {@link openRecommenderFile} */
export async function openRecommender(settings: unknown, place: SettingsPlace): Promise<Recommender> {
  const checked = checkSettings(settings, place);
  switch (checked.kind) {
    case "lancedb": {
      const { LanceDbRecommender } = await import("../recommenders/lancedb/index.ts");
      const { kind: _, catalogue: file, ...options } = checked;
      return LanceDbRecommender.fromJsonl(resolve(place.folder, file), options as never);
    }
    case "http": {
      const { HttpRecommender } = await import("../recommenders/http/index.ts");
      const { kind: _, catalogue: items, tls, ...options } = fillSecrets(checked, place);
      const ca = tls?.caFile === undefined ? undefined : await readText(resolve(place.folder, tls.caFile));
      const trust = tls && { ...without(tls, "caFile"), ...(ca === undefined ? {} : { ca }) };
      return holdTo(
        await HttpRecommender.open({ ...options, ...(trust ? { tls: trust } : {}) } as never),
        items,
        place,
      );
    }
    case "opensearch": {
      const { OpenSearchRecommender } = await import("../recommenders/opensearch/index.ts");
      const { kind: _, catalogue: items, tls, ...options } = fillSecrets(checked, place);
      const caFile = tls?.caFile === undefined ? undefined : resolve(place.folder, tls.caFile);
      const trust = tls && { ...tls, ...(caFile === undefined ? {} : { caFile }) };
      const opened = await OpenSearchRecommender.open({ ...options, ...(trust ? { tls: trust } : {}) } as never);
      return holdTo(opened, items, place);
    }
    case "rerank": {
      const { rerank } = await import("../recommenders/rerank/index.ts");
      const { kind: _, candidates, describedBy, ...options } = checked;
      const source = await openRecommender(candidates, place);
      try {
        const finder = describedBy === undefined ? {} : { describedBy: await openRecommender(describedBy, place) };
        return rerank({ ...options, candidates: source, ...finder } as never);
      } catch (error) {
        await source.close();
        throw error;
      }
    }
    case "sequential": {
      const { SequentialRecommender } = await import("../recommenders/sequential/index.ts");
      const { kind: _, model, histories, catalogue: file, ...options } = checked;
      const path = (name: string): string => resolve(place.folder, name);
      if ((model === undefined) === (histories === undefined)) {
        throw new ConfigError(
          "BAD_RECOMMENDER",
          `${place.source}: a sequential recommender needs either "model", a folder that rec-r1 sequential train wrote, or "histories", a file to count in.`,
        );
      }
      return model === undefined
        ? SequentialRecommender.fromHistories(path(histories as string), path(file), options as never)
        : SequentialRecommender.open(path(model), path(file), options as never);
    }
  }
}

type Settings = { [K in Kind]: z.output<(typeof kinds)[K]> }[Kind];

function checkSettings(settings: unknown, { source }: SettingsPlace): Settings {
  const { kind } = (settings ?? {}) as { kind?: unknown };
  if (typeof kind !== "string" || !Object.hasOwn(kinds, kind)) {
    const hint = typeof kind === "string" ? suggestion(kind, recommenderKinds) : "";
    throw new ConfigError(
      "BAD_RECOMMENDER",
      `${source}: the recommender's kind is ${JSON.stringify(kind) ?? "missing"}; expected one of ${recommenderKinds.join(", ")}.${hint}`,
    );
  }
  const result = kinds[kind as Kind].safeParse(settings);
  if (result.success) return result.data as Settings;
  const problems = result.error.issues.map(({ path, message }) => `${path.join(".") || kind}: ${message}`);
  throw new ConfigError("BAD_RECOMMENDER", `${source}: recommender "${kind}": ${problems.join("; ")}.`);
}

/** The settings with `${NAME}` in headers and credentials replaced. @throws ConfigError `NO_SECRET` */
function fillSecrets<T extends { headers?: unknown; auth?: unknown }>(settings: T, place: SettingsPlace): T {
  const environment = place.environment ?? process.env;
  const fill = (value: unknown): unknown => {
    if (typeof value === "string") {
      return value.replace(/\$\{(\w+)\}/g, (_, name: string) => {
        const secret = environment[name];
        if (secret !== undefined && secret !== "") return secret;
        throw new ConfigError("NO_SECRET", `${place.source}: the environment variable ${name} isn't set.`);
      });
    }
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fill(item)]));
  };
  const { headers, auth } = settings;
  return {
    ...settings,
    ...(headers === undefined ? {} : { headers: fill(headers) }),
    ...(auth === undefined ? {} : { auth: fill(auth) }),
  };
}

async function holdTo(
  recommender: Recommender,
  items: { file: string; id?: string | undefined } | undefined,
  { folder, signal }: SettingsPlace,
): Promise<Recommender> {
  if (!items) return recommender;
  return withKnownIds(recommender, await readCatalogueIds(resolve(folder, items.file), items.id, signal));
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw describeFileError(error, "read the certificate", path);
  }
}

function without<T extends object, K extends keyof T>(object: T, key: K): Omit<T, K> {
  return Object.fromEntries(Object.entries(object).filter(([name]) => name !== key)) as Omit<T, K>;
}
