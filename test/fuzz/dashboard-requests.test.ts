/** What the dashboard is asked, over real HTTP: bodies, and addresses with their parameters. */
import fc from "fast-check";
import { Agent, request as sendRequest } from "node:http";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openExampleDashboard, writeSmallPages } from "../server/dashboard/example-dashboard.ts";
import { damaged, damagedJson, fuzz, fuzzFolder, timeout } from "./fuzz.ts";

const bodies: Record<string, unknown> = {
  "/api/try": { run: "first", text: "a house" },
  "/api/credit": { run: "first", split: "test", example: "example-1", query: "house roof" },
};
const addresses = [
  "/",
  "//",
  "//a:b@c:d/",
  "/%",
  "/app.js",
  "/api/runs",
  "/api/curves?run=first&points=100",
  "/api/config?run=first&run=second",
  "/api/rollouts/steps?run=first",
  "/api/rollouts/groups?run=first&step=3&offset=0&limit=5",
  "/api/rollouts/groups?run=first&step=3&example=example-1&limit=5",
  "/api/rollouts/group?run=first&step=3&example=example-1",
  "/api/rollouts/search?run=first&text=icon&minReward=0.1&maxReward=1&limit=3&cursor=1",
  "/api/comparison?run=first&split=test&baseline=raw&order=gain&filter=all&text=icon&limit=3",
  "/api/suspects?run=second",
];

interface Asked {
  method: "GET" | "POST";
  path: string;
  bytes: Buffer;
}

/** Only what a client can put into an address; everything else is refused before it is sent. */
const toAddress = (bytes: Buffer): string =>
  `/${bytes.toString("latin1").replace(/[^\x21-\x7e]/g, "%")}`.slice(0, 8000);

const posts = Object.entries(bodies).map(([path, body]) =>
  damagedJson(body).map((bytes): Asked => ({ method: "POST", path, bytes })),
);
const gets = addresses.map((address) => {
  const good = Buffer.from(address.slice(1));
  const bytes = fc.oneof({ weight: 1, arbitrary: fc.constant(good) }, { weight: 20, arbitrary: damaged(good) });
  return bytes.map((each): Asked => ({ method: "GET", path: toAddress(each), bytes: Buffer.alloc(0) }));
});

test("what the dashboard is asked", { timeout }, async () => {
  const root = await fuzzFolder();
  const faults: unknown[] = [];
  const dashboard = await openExampleDashboard(join(root, "runs"), {
    pagesDir: await writeSmallPages(join(root, "pages")),
    rate: { perSecond: 1e6, burst: 1e6 },
    onFault: (error) => void faults.push(error),
  });
  const agent = new Agent({ keepAlive: true });
  onTestFinished(async () => {
    agent.destroy();
    await dashboard.close();
  });
  const ask = ({ method, path, bytes }: Asked): Promise<{ status: number; text: string }> =>
    new Promise((resolve, reject) => {
      const sent = sendRequest(
        dashboard.url,
        { agent, method, path, headers: { "content-type": "application/json", "content-length": bytes.length } },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          // A page that follows a run gets events without end.
          const isEndless = response.headers["content-type"]?.startsWith("text/event-stream");
          if (isEndless) response.destroy();
          response.on("data", (chunk: string) => (text += chunk));
          response.on("close", () => resolve({ status: response.statusCode ?? 0, text }));
        },
      );
      sent.on("error", reject);
      sent.end(bytes);
    });
  await fuzz({
    name: "what the dashboard is asked",
    inputs: fc.oneof(...posts, ...gets),
    sizeOf: ({ path, bytes }) => path.length + bytes.length,
    run: async (asked) => {
      const { status, text } = await ask(asked);
      expect([200, 303, 400, 404, 413, 415, 422]).toContain(status);
      if (status >= 400) {
        expect(JSON.parse(text)).toMatchObject({ error: { code: expect.stringMatching(/^[A-Z_]+$/) as string } });
      }
    },
    leastRefused: 0,
  });
  expect(faults).toEqual([]);
});
