// Our servers for bench/serve, each in a process of its own until standard input ends: the recommender alone, the whole
// service, or the service's chat API on a GGUF file.
import { fromFunction } from "../../dist/recommenders/function/index.js";
import { openRun } from "../../dist/cli/open-run.js";
import { loadPolicy } from "../../dist/cli/load-policy.js";
import { Reporter } from "../../dist/cli/progress.js";
import { LocalEngine } from "../../dist/engines/local/index.js";
import { defineTask } from "../../dist/index.js";
import { readJson } from "../../dist/server/http/body.js";
import { makeGuard } from "../../dist/server/http/guard.js";
import { listenHttp } from "../../dist/server/http/listen.js";
import { sendError, sendJson } from "../../dist/server/http/reply.js";
import { searchRequestOf } from "../../dist/server/serve/schemas.js";
import { startService } from "../../dist/server/serve/serve.js";

const { mode, runDir, gguf, threads } = JSON.parse(process.argv[2]);
const rate = { perSecond: 1e6, burst: 1e6 };
const { signal } = new AbortController();
const reporter = new Reporter();

/** The recommender behind the same guard, body checks and JSON as the service's. */
async function serveRecommender() {
  const run = await openRun(runDir);
  const recommender = await run.openRecommender({ signal, onWarning: () => {} });
  const guard = makeGuard({ host: "127.0.0.1", rate });
  const schema = searchRequestOf(100);
  const answer = async (request, response) => {
    guard(request);
    const { query, topK } = await readJson(request, schema);
    const [hits] = await recommender.search([{ text: query }], { topK });
    sendJson(response, 200, { hits });
  };
  return listenHttp(
    (request, response) => void answer(request, response).catch((error) => sendError(response, error)),
    {
      port: 0,
    },
  );
}

async function serveRun() {
  const run = await openRun(runDir);
  const recommender = await run.openRecommender({ signal, onWarning: () => {} });
  const engine = await run.openEngine({ reporter, signal, threads });
  const step = await loadPolicy(engine, runDir, "best", reporter);
  const { maxTokens, maxPromptTokens } = run.config;
  const names = { modelName: "bench", run: runDir, step };
  const parts = { engine, task: run.task, recommender, maxTokens, maxPromptTokens };
  // Long enough that every answer is the policy's: what is measured is how long it takes.
  return startService({ ...parts, ...names, port: 0, rate, timeLimitMs: 60_000 });
}

async function serveChat() {
  const engine = await LocalEngine.load(gguf, { threads });
  const task = defineTask({ name: "chat", data: { train: [{}] }, prompt: () => "none", reward: () => 0 });
  const recommender = fromFunction(async (queries) => queries.map(() => []));
  const names = { modelName: "bench", run: gguf, step: 0 };
  return startService({ engine, task, recommender, ...names, maxTokens: 64, port: 0, rate });
}

const server = await { recommender: serveRecommender, serve: serveRun, chat: serveChat }[mode]();
process.stdout.write(`${server.url}\n`);
process.stdin.resume().on("end", () => void server.close().then(() => process.exit(0)));
