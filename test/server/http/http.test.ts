/** What the servers of this package share: who may ask, how much, how often, and what is said to whom. */
import { request as sendRequest, type IncomingMessage } from "node:http";
import { describe, expect, it, onTestFinished } from "vitest";
import { z } from "zod";
import { RecommenderError } from "../../../src/core/errors.ts";
import { readJson } from "../../../src/server/http/body.ts";
import { isLoopback, makeGuard, type GuardOptions } from "../../../src/server/http/guard.ts";
import { listenHttp } from "../../../src/server/http/listen.ts";
import { RateLimit } from "../../../src/server/http/rate-limit.ts";
import { sendError, sendJson } from "../../../src/server/http/reply.ts";
import { isSameSecret, makeToken, secretOf } from "../../../src/server/http/token.ts";

/** Sends a request with exactly these headers, which `fetch` would not let through. */
function ask(
  url: string,
  { headers = {}, method = "GET", body }: { headers?: Record<string, string>; method?: string; body?: string } = {},
): Promise<{ status: number; body: string; headers: IncomingMessage["headers"] }> {
  return new Promise((resolve, reject) => {
    const sent = sendRequest(url, { method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          body: Buffer.concat(chunks).toString("utf8"),
          headers: response.headers,
        }),
      );
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

async function serve(options: Partial<GuardOptions> = {}): Promise<{ url: string; faults: unknown[] }> {
  const guard = makeGuard({ host: "127.0.0.1", ...options });
  const faults: unknown[] = [];
  const server = await listenHttp(
    (request, response) => {
      const answer = async (): Promise<void> => {
        guard(request);
        if (request.url === "/fault") throw new Error("/home/somebody/secret");
        if (request.url === "/outage") throw new RecommenderError("DOWN", "It is down.", { retryable: true });
        const sent =
          request.method === "POST" ? await readJson(request, z.object({ text: z.string().max(10) }), 100) : {};
        sendJson(response, 200, { ok: true, ...sent });
      };
      answer().catch((error: unknown) => sendError(response, error, (fault) => faults.push(fault)));
    },
    { port: 0 },
  );
  onTestFinished(() => server.close());
  return { url: server.url, faults };
}

describe("the guard", () => {
  it.each(["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])("answers to %s, with and without a port", async (host) => {
    const { url } = await serve();
    expect((await ask(url, { headers: { host } })).status).toBe(200);
    expect((await ask(url, { headers: { host: `${host}:8080` } })).status).toBe(200);
  });

  it.each(["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "192.168.0.7", "10.0.0.1:80"])(
    "refuses the name %j, which a stranger may have pointed here",
    async (host) => {
      const { url } = await serve();
      const { status, body } = await ask(url, { headers: { host } });
      expect(status).toBe(403);
      expect(JSON.parse(body)).toMatchObject({ error: { code: "BAD_HOST" } });
    },
  );

  it("refuses pages of other origins, other ports of this machine included", async () => {
    const { url } = await serve();
    const host = new URL(url).host;
    for (const origin of ["https://evil.example", "null", "http://localhost:1", `http://${host}.evil.example`, ""]) {
      const { status } = await ask(url, { headers: { origin } });
      expect(status, origin).toBe(403);
    }
    expect((await ask(url, { headers: { origin: `http://${host}` } })).status).toBe(200);
  });

  it("refuses what browsers say comes from elsewhere, but follows links", async () => {
    const { url } = await serve();
    const navigation = { "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
    for (const site of ["cross-site", "same-site"]) {
      const headers = { "sec-fetch-site": site };
      expect((await ask(url, { headers })).status).toBe(403);
      expect((await ask(url, { headers: { ...headers, "sec-fetch-mode": "no-cors" } })).status).toBe(403);
      expect((await ask(url, { headers: { ...headers, ...navigation, "sec-fetch-dest": "iframe" } })).status).toBe(403);
      expect((await ask(url, { headers: { ...headers, ...navigation }, method: "POST" })).status).toBe(403);
      expect((await ask(url, { headers: { ...headers, ...navigation } })).status).toBe(200);
    }
    expect((await ask(url, { headers: { "sec-fetch-site": "same-origin" } })).status).toBe(200);
  });

  it("lets the pages in that it was told of", async () => {
    const { url } = await serve({ allowedOrigins: ["https://shop.example"], allowedHosts: ["search.internal"] });
    const headers = { origin: "https://shop.example", "sec-fetch-site": "cross-site", host: "search.internal:80" };
    expect((await ask(url, { headers })).status).toBe(200);
    expect((await ask(url, { headers: { ...headers, origin: "https://shop.example.evil" } })).status).toBe(403);
  });

  it("asks for a token wherever other machines can connect", async () => {
    expect(() => makeGuard({ host: "0.0.0.0" })).toThrow(/token/);
    expect(["127.0.0.1", "127.9.9.9", "localhost", "::1"].map(isLoopback)).toEqual([true, true, true, true]);
    expect(["0.0.0.0", "::", "192.168.0.7", "127.0.0.1.evil"].map(isLoopback)).toEqual([false, false, false, false]);
    const token = makeToken();
    const { url } = await serve({ token, cookieName: "rec-r1" });
    expect((await ask(url)).status).toBe(401);
    for (const headers of [
      { authorization: `Bearer ${token}x` },
      { "x-api-key": token.slice(1) },
      { cookie: `other=${token}` },
      { cookie: `rec-r1=${token}0` },
    ]) {
      expect((await ask(url, { headers: headers as Record<string, string> })).status).toBe(401);
    }
    for (const headers of [
      { authorization: `Bearer ${token}` },
      { "x-api-key": token },
      { cookie: `a=b; rec-r1=${token}` },
    ]) {
      expect((await ask(url, { headers: headers as Record<string, string> })).status).toBe(200);
    }
    expect(isSameSecret("", "")).toBe(true);
    expect(secretOf({ cookie: "rec-r1=x" })).toBe("");
  });

  it("limits how often a sender asks", async () => {
    const { url } = await serve({ rate: { perSecond: 0.01, burst: 3 } });
    const statuses: number[] = [];
    for (let i = 0; i < 5; i++) statuses.push((await ask(url)).status);
    expect(statuses).toEqual([200, 200, 200, 429, 429]);
    expect((await ask(url)).headers["retry-after"]).toMatch(/^\d+$/);
  });
});

describe("the rate limit", () => {
  it("fills up with time, for each sender on its own", () => {
    let now = 0;
    const limit = new RateLimit({ perSecond: 2, burst: 2, now: () => now });
    limit.take("a");
    limit.take("a");
    expect(() => limit.take("a")).toThrow(/Too many/);
    limit.take("b");
    now = 500;
    limit.take("a");
    expect(() => limit.take("a")).toThrow(/Too many/);
    now = 100_000;
    limit.take("a");
    limit.take("a");
    expect(() => limit.take("a")).toThrow(/Too many/);
  });
});

describe("bodies and replies", () => {
  const json = { "content-type": "application/json" };

  it("takes JSON of the right shape and size, and nothing else", async () => {
    const { url, faults } = await serve();
    const post = async (body: string, headers: Record<string, string> = json): Promise<[number, unknown]> => {
      const reply = await ask(url, { method: "POST", headers, body });
      return [reply.status, (JSON.parse(reply.body) as { error?: { code: string } }).error?.code];
    };
    expect(await post('{"text": "hi"}')).toEqual([200, undefined]);
    expect(await post('{"text": "hi"}', { "content-type": "application/json; charset=utf-8" })).toEqual([
      200,
      undefined,
    ]);
    expect(await post('{"text": "hi"}', { "content-type": "text/plain" })).toEqual([415, "BAD_TYPE"]);
    expect(await post('{"text": "hi"}', {})).toEqual([415, "BAD_TYPE"]);
    expect(await post('{"text"')).toEqual([400, "BAD_JSON"]);
    expect(await post('{"text": 3}')).toEqual([422, "BAD_REQUEST"]);
    expect(await post('{"text": "longer than ten"}')).toEqual([422, "BAD_REQUEST"]);
    expect(await post(`{"text": "${"x".repeat(200)}"}`)).toEqual([413, "TOO_LARGE"]);
    expect(await post(`{"text": "${"x".repeat(200)}"}`, { ...json, "transfer-encoding": "chunked" })).toEqual([
      413,
      "TOO_LARGE",
    ]);
    expect(faults).toEqual([]);
  });

  it("tells what failed, but not what a foreign error says", async () => {
    const { url, faults } = await serve();
    const fault = await ask(`${url}/fault`);
    expect(fault.status).toBe(500);
    expect(fault.body).not.toContain("secret");
    const outage = await ask(`${url}/outage`);
    expect(outage.status).toBe(503);
    expect(JSON.parse(outage.body)).toEqual({ error: { code: "DOWN", message: "It is down." } });
    expect(faults).toHaveLength(2);
  });

  it("sends headers that keep browsers from making more of a reply", async () => {
    const { url } = await serve();
    const { headers } = await ask(url);
    expect(headers).toMatchObject({
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
      "cross-origin-resource-policy": "same-origin",
      "x-frame-options": "DENY",
    });
    expect(headers["access-control-allow-origin"]).toBeUndefined();
    const head = await ask(url, { method: "HEAD" });
    expect([head.status, head.body]).toEqual([200, ""]);
  });

  it("says that a port is taken", async () => {
    const { url } = await serve();
    await expect(listenHttp(() => {}, { port: Number(new URL(url).port) })).rejects.toMatchObject({
      code: "PORT_UNAVAILABLE",
    });
  });
});
