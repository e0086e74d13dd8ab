/** Models from the model hub: a list of files with sizes and hashes, then each file of that commit. */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  downloadFile,
  maxAttempts,
  pauseAfter,
  request,
  type ExpectedFile,
  type RequestOptions,
} from "./http-download.ts";
import type { KnownModel } from "./known-models.ts";
import { PullFailure } from "./pull-failure.ts";

interface HubFile extends ExpectedFile {
  name: string;
}

/** What models and sentence encoders are loaded from; pictures, licences and other formats stay where they are. */
const wantedFiles = new RegExp(
  [
    /^(config|generation_config|tokenizer|tokenizer_config|model\.safetensors\.index)\.json$/,
    /^chat_template\.jinja$/,
    /^model(-\d+-of-\d+)?\.safetensors$/,
    /^(modules|sentence_bert_config|config_sentence_transformers|1_Pooling\/config)\.json$/,
  ]
    .map(({ source }) => source)
    .join("|"),
);

const maxListingBytes = 16 * 1024 * 1024;

/** HF_ENDPOINT, or the public hub; without a slash at the end. */
export function hubEndpoint(env: NodeJS.ProcessEnv): string {
  return (env.HF_ENDPOINT?.trim() || "https://huggingface.co").replace(/\/+$/, "");
}

/** Whether HF_HUB_OFFLINE is set to a yes. */
export function isHubOffline(env: NodeJS.ProcessEnv): boolean {
  return ["1", "true", "yes", "on"].includes(env.HF_HUB_OFFLINE?.trim().toLowerCase() ?? "");
}

/**
 * Downloads a model's files into `folder`, going on where an earlier call was stopped.
 * @param onBytes called with the bytes done so far, of all files
 * @returns SHA-256 by file name
 * @throws PullFailure, AbortError; errors of the file system as they come
 */
export async function pullFromHub(
  model: KnownModel,
  folder: string,
  onBytes: (bytes: number, totalBytes: number) => void,
  options: RequestOptions & { env: NodeJS.ProcessEnv },
): Promise<Map<string, string>> {
  const { env } = options;
  if (isHubOffline(env)) throw new PullFailure("HF_HUB_OFFLINE is set");
  const endpoint = hubEndpoint(env);
  const token = env.HF_TOKEN?.trim();
  // Refused here, because the error about a malformed header would quote it.
  if (token && !/^[\x21-\x7e]+$/.test(token)) {
    throw new PullFailure("HF_TOKEN is not an access token: it holds characters that none has");
  }
  const http: RequestOptions = { ...options, headers: token ? { Authorization: `Bearer ${token}` } : {} };
  const { commit, files } = await listFiles(endpoint, model, http);
  const totalBytes = files.reduce((sum, file) => sum + file.byteLength, 0);
  const hashes = new Map<string, string>();
  let doneBytes = 0;
  for (const file of files) {
    const url = `${endpoint}/${model.repo}/resolve/${commit}/${file.name}`;
    const onFileBytes = (bytes: number): void => onBytes(doneBytes + bytes, totalBytes);
    const path = join(folder, file.name);
    await mkdir(dirname(path), { recursive: true });
    hashes.set(file.name, await downloadFile(url, path, file, onFileBytes, http));
    doneBytes += file.byteLength;
  }
  return hashes;
}

async function listFiles(
  endpoint: string,
  model: KnownModel,
  http: RequestOptions,
): Promise<{ commit: string; files: HubFile[] }> {
  const url = `${endpoint}/api/models/${model.repo}/revision/${encodeURIComponent(model.revision)}?blobs=true`;
  const { sha, siblings } = parseListing(url, await fetchListing(url, http));
  const files = siblings.filter((file) => wantedFiles.test(file.name)).sort((a, b) => a.byteLength - b.byteLength);
  const missing = [/^config\.json$/, /^tokenizer\.json$/, /\.safetensors$/].find(
    (pattern) => !files.some((file) => pattern.test(file.name)),
  );
  if (missing) throw new PullFailure(`${url}: the model has no file ${missing.source}`);
  return { commit: sha, files };
}

/** The list's text. A busy hub is asked again; one that can't be reached isn't, since the next source may be at hand. */
async function fetchListing(url: string, http: RequestOptions): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    try {
      const { body } = await request(url, [200], http);
      return await readListing(url, body);
    } catch (error) {
      const isBusy = error instanceof PullFailure && error.retryable && error.isAnswered;
      if (!isBusy || attempt === maxAttempts) throw error;
      await pauseAfter(attempt, http);
    }
  }
}

async function readListing(url: string, body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > maxListingBytes)
      throw new PullFailure(`${url}: the list of files is longer than ${maxListingBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseListing(url: string, text: string): { sha: string; siblings: HubFile[] } {
  try {
    const { sha, siblings } = JSON.parse(text) as { sha?: unknown; siblings?: unknown };
    if (typeof sha !== "string" || !/^[0-9a-f]{6,64}$/.test(sha)) throw new Error('no commit in "sha"');
    if (!Array.isArray(siblings)) throw new Error('no list "siblings"');
    return { sha, siblings: siblings.map(parseSibling) };
  } catch (cause) {
    throw new PullFailure(`${url}: not a model's list of files: ${(cause as Error).message}`, { cause });
  }
}

function parseSibling(value: unknown): HubFile {
  const file = (value ?? {}) as { rfilename?: unknown; size?: unknown; blobId?: unknown; lfs?: unknown };
  const lfs = (file.lfs ?? {}) as { sha256?: unknown; size?: unknown };
  if (typeof file.rfilename !== "string") throw new Error('a file without "rfilename"');
  const size = lfs.size ?? file.size;
  const sha256 = hexDigits(lfs.sha256, 64);
  // The blob of a large file is its pointer, so its id says nothing about the contents.
  const gitBlobId = sha256 === null ? hexDigits(file.blobId, 40) : null;
  const isWanted = wantedFiles.test(file.rfilename);
  if (isWanted && (!Number.isSafeInteger(size) || (sha256 === null && gitBlobId === null))) {
    throw new Error(`no size or hash of ${file.rfilename}, so it couldn't be checked`);
  }
  return { name: file.rfilename, byteLength: Number(size ?? 0), sha256, gitBlobId };
}

const hexDigits = (value: unknown, length: number): string | null =>
  typeof value === "string" && value.length === length && /^[0-9a-f]+$/.test(value) ? value : null;
