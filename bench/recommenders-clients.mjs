// How many queries a second the HTTP and OpenSearch clients drive against a server on this machine that answers at once,
// and what that adds to a training step. The server is a process of its own with answers made beforehand, so the figures
// are the client's side plus the least that a server can do.
//   npm run bench -- recommenders-clients [--queries 4096] [--top-k 100] [--step-queries 128] [--step-seconds 26.5]
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

const self = fileURLToPath(import.meta.url);

/** Words of about a query's length, different for each number. */
const textOf = (i) => `query ${i} ${(i * 7919) % 1000} stapler strip`;

function serve(topK) {
  const ids = Array.from({ length: topK }, (_, i) => `item-${i}`);
  const plain = JSON.stringify({ results: ids.map((id, i) => ({ id, score: topK - i })) });
  const response = JSON.stringify({
    status: 200,
    timed_out: false,
    _shards: { total: 1, successful: 1, failed: 0 },
    hits: { hits: ids.map((id, i) => ({ _index: "items", _id: id, _score: topK - i })) },
  });
  const server = createServer((request, reply) => {
    let lines = 0;
    request.on("data", (chunk) => {
      for (const byte of chunk) if (byte === 10) lines++;
    });
    request.on("end", () => {
      const body = request.url.startsWith("/_msearch")
        ? `{"responses":[${Array(lines / 2)
            .fill(response)
            .join(",")}]}`
        : plain;
      reply.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
      reply.end(body);
    });
  });
  server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));
  process.stdin.resume().on("end", () => process.exit(0));
}

async function startServer(topK) {
  const child = spawn(process.execPath, [self, "--serve", String(topK)], { stdio: ["pipe", "pipe", "inherit"] });
  const port = await new Promise((resolve, reject) => {
    child.stdout.once("data", (data) => resolve(Number(data)));
    child.once("error", reject);
  });
  return { url: `http://127.0.0.1:${port}`, stop: () => child.stdin.end() };
}

function option(args, name, fallback) {
  const at = args.indexOf(`--${name}`);
  const value = at === -1 ? fallback : Number(args[at + 1]);
  if (!(value > 0)) throw new Error(`--${name} expects a number above 0.`);
  return value;
}

export async function run(args, log) {
  const { HttpRecommender } = await import("../dist/recommenders/http/index.js");
  const { OpenSearchRecommender } = await import("../dist/recommenders/opensearch/index.js");
  const [queries, topK] = [option(args, "queries", 4096), option(args, "top-k", 100)];
  const [stepQueries, stepSeconds] = [option(args, "step-queries", 128), option(args, "step-seconds", 26.5)];
  const server = await startServer(topK);
  const clients = {
    http: await HttpRecommender.open({
      url: `${server.url}/search`,
      body: { q: "{{query}}", n: "{{topK}}" },
      hits: "$.results[*]",
      score: "$.score",
    }),
    opensearch: await OpenSearchRecommender.open({
      node: server.url,
      index: "items",
      query: { match: { title: "{{query}}" } },
    }),
  };
  const result = { queries, top_k: topK, step_queries: stepQueries, step_seconds: stepSeconds };
  try {
    for (const [name, client] of Object.entries(clients)) {
      let next = 0;
      const ask = async (count) => {
        const batch = Array.from({ length: count }, () => ({ text: textOf(next++) }));
        const start = performance.now();
        const answers = await client.search(batch, { topK });
        if (answers.some((hits) => hits.length !== topK)) throw new Error(`${name}: an answer isn't whole`);
        return (performance.now() - start) / 1000;
      };
      await ask(Math.min(256, queries));
      let seconds = 0;
      for (let left = queries; left > 0; left -= 256) seconds += await ask(Math.min(256, left));
      const times = [];
      for (let i = 0; i < 5; i++) times.push(await ask(stepQueries));
      const step = times.sort((a, b) => a - b)[2];
      result[`${name}_queries_per_second`] = Math.round(queries / seconds);
      result[`${name}_seconds_of_a_step`] = Number(step.toFixed(4));
      result[`${name}_share_of_a_step`] = Number((step / (step + stepSeconds)).toFixed(5));
      log(`${name}: ${result[`${name}_queries_per_second`]} queries a second`);
    }
  } finally {
    for (const client of Object.values(clients)) await client.close();
    server.stop();
  }
  return result;
}

if (process.argv[2] === "--serve") serve(Number(process.argv[3]));
