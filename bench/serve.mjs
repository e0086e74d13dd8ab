// The service under load: a run's policy in front of its recommender, against the recommender alone behind the same HTTP
// server, and the policy's completions against llama.cpp (node-llama-cpp) on the same GGUF file. Every server is a process
// of its own, the load comes from this one: closed loops of 1, 4 and 16 clients, each with a query that nobody asked before.
// Options: --run FOLDER (runs/demo), --requests N (64, for each number of clients), --rounds N (2), --threads N (2),
// --clients N (only this many), --no-peer.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { wantsLlama } from "./parts/llama-peer.mjs";
import { numberOption, percentile, spread, textOption } from "./parts/statistics.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const agent = new Agent({ keepAlive: true, maxSockets: 64 });

/** Starts a server and waits for the line with its address. */
async function startServer(name, script, settings) {
  const child = spawn(process.execPath, [here(script), JSON.stringify(settings)], { stdio: ["pipe", "pipe", "pipe"] });
  let errors = "";
  child.stderr.on("data", (chunk) => (errors = (errors + String(chunk)).slice(-4000)));
  const url = await new Promise((resolve, reject) => {
    child.stdout.on("data", (chunk) => {
      const [found] = /http:\/\/127\.0\.0\.1:\d+/.exec(String(chunk)) ?? [];
      if (found) resolve(found);
    });
    child.once("exit", () => reject(new Error(`${name} ended early:\n${errors}`)));
  });
  return {
    url,
    async stop() {
      child.stdin.end();
      if (child.exitCode === null) await new Promise((resolve) => child.once("exit", resolve));
    },
  };
}

function post(url, body) {
  const text = JSON.stringify(body);
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: "POST", agent, headers }, (response) => {
      let reply = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => (reply += chunk));
      response.on("end", () =>
        response.statusCode === 200
          ? resolve(JSON.parse(reply))
          : reject(new Error(`${url}: status ${response.statusCode}: ${reply.slice(0, 300)}`)),
      );
    });
    sent.on("error", reject);
    sent.end(text);
  });
}

/** Milliseconds of each request, sent by so many clients one after the other, and how long all of it took. */
async function load(send, bodies, clients) {
  const open = bodies.slice();
  const [times, replies] = [[], []];
  const start = performance.now();
  const client = async () => {
    for (let body = open.shift(); body !== undefined; body = open.shift()) {
      const sentAt = performance.now();
      replies.push(await send(body));
      times.push(performance.now() - sentAt);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { times, replies, seconds: (performance.now() - start) / 1000 };
}

const shareOfTuned = (replies) => replies.filter(({ source }) => source === "tuned").length / replies.length;

export async function run(args, log) {
  const runDir = textOption(args, "run", "runs/demo");
  const [requests, rounds] = [numberOption(args, "requests", 64), numberOption(args, "rounds", 2)];
  const threads = numberOption(args, "threads", 2);
  const only = numberOption(args, "clients", 0);
  const clientCounts = only > 0 ? [only] : [1, 4, 16];
  const withPeer = wantsLlama(args, log);
  const { openRun } = await import("../dist/cli/open-run.js");
  const { loadSplit } = await import("../dist/rl/task.js");
  const { task, config } = await openRun(runDir);
  const examples = ((await loadSplit(task, "train")) ?? []).map(({ example }) => example);
  const scratch = mkdtempSync(join(tmpdir(), "rec-r1-bench-serve-"));
  const exported = join(scratch, "gguf");
  const cli = [here("../dist/cli/main.js"), "export", runDir, "--format", "gguf", "--out", exported];
  const { status } = spawnSync(process.execPath, cli, { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error("rec-r1 export failed");
  const gguf = join(
    exported,
    readdirSync(exported).find((name) => name.endsWith(".gguf")),
  );

  let used = 0;
  /** Examples that no server was asked about. */
  const fresh = (count) => {
    if (used + count > examples.length) throw new Error(`The training split has only ${examples.length} queries.`);
    return examples.slice(used, (used += count));
  };
  const searchBody = (example) => ({ query: task.raw(example), topK: 10 });
  const chatBody = (example) => ({ messages: task.prompt(example), temperature: 0, max_tokens: config.maxTokens });
  const systems = {
    recommender: {
      script: "parts/serve-side.mjs",
      settings: { mode: "recommender", runDir },
      path: "/search",
      body: searchBody,
    },
    serve: {
      script: "parts/serve-side.mjs",
      settings: { mode: "serve", runDir, threads },
      path: "/search",
      body: searchBody,
    },
    chat: {
      script: "parts/serve-side.mjs",
      settings: { mode: "chat", gguf, threads },
      path: "/v1/chat/completions",
      body: chatBody,
    },
    ...(withPeer
      ? {
          llama: {
            script: "llama-cpp/serve.mjs",
            settings: { gguf, threads, sequences: 16 },
            path: "/v1/chat/completions",
            body: chatBody,
          },
        }
      : {}),
  };
  const rows = {};
  /** Remembers a load under a system's name and its number of clients, and says what it was. */
  const record = (name, clients, { times, replies, seconds }) => {
    const row = ((rows[name] ??= {})[clients] ??= { p50: [], p95: [], perSecond: [], replies: [] });
    const [p50, p95, perSecond] = [percentile(times, 0.5), percentile(times, 0.95), replies.length / seconds];
    row.p50.push(p50);
    row.p95.push(p95);
    row.perSecond.push(perSecond);
    row.replies.push(...replies);
    log(
      `${name}, ${clients} clients: p50 ${p50.toFixed(1)} ms, p95 ${p95.toFixed(1)} ms, ${perSecond.toFixed(1)} a second`,
    );
  };
  const texts = { chat: new Map(), llama: new Map() };
  try {
    // A server's idle threads would disturb the others, so each is there only for its own turn.
    for (let round = 0; round < rounds; round++) {
      const asked = new Map(clientCounts.map((clients) => [clients, fresh(requests)]));
      const warm = fresh(8);
      for (const [name, { script, settings, path, body }] of Object.entries(systems)) {
        const server = await startServer(name, script, settings);
        try {
          await load((given) => post(server.url + path, given), warm.map(body), 4);
          for (const clients of clientCounts) {
            const bodies = asked.get(clients).map(body);
            const send = async (given) => {
              const reply = await post(server.url + path, given);
              if (texts[name]) texts[name].set(JSON.stringify(given.messages), reply.choices[0].message.content);
              return reply;
            };
            record(name, clients, await load(send, bodies, clients));
            // The same queries again: rewrites and hits are remembered.
            if (name === "serve") record("serve_cached", clients, await load(send, bodies, clients));
          }
        } finally {
          await server.stop();
        }
      }
    }
  } finally {
    agent.destroy();
    rmSync(scratch, { recursive: true, force: true });
  }
  const result = { requests, rounds, threads, max_tokens: config.maxTokens };
  for (const [name, byClients] of Object.entries(rows)) {
    result[name] = Object.fromEntries(
      Object.entries(byClients).map(([clients, { p50, p95, perSecond, replies }]) => [
        clients,
        {
          p50_ms: spread(p50),
          p95_ms: spread(p95),
          per_second: spread(perSecond),
          ...(name === "serve" ? { tuned_share: Number(shareOfTuned(replies).toFixed(3)) } : {}),
        },
      ]),
    );
  }
  if (withPeer) {
    const shared = [...texts.chat].filter(([key]) => texts.llama.has(key));
    result.same_text_as_llama = shared.filter(([key, text]) => texts.llama.get(key) === text).length / shared.length;
  }
  return result;
}
