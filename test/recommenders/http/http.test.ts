import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HttpRecommender, type HttpOptions } from "../../../src/recommenders/http/index.ts";
import {
  ask,
  makeCertificate,
  quick,
  serversForTests,
  startServer,
  type Behaviour,
  type LocalServer,
  type Received,
} from "../../support/local-server.ts";

const serve = serversForTests();
const good = { json: { results: [{ id: "a", score: 2 }, { id: "b", score: 1 }] } }; // prettier-ignore

async function openFor(server: LocalServer, options: Partial<HttpOptions> = {}): Promise<HttpRecommender> {
  return HttpRecommender.open({
    url: `${server.url}/search`,
    body: { q: "{{query}}", n: "{{topK}}" },
    hits: "$.results[*]",
    score: "$.score",
    ...quick,
    ...options,
  });
}

describe("http requests", () => {
  it("have the text as a value only, in bodies and in addresses", async () => {
    const server = await serve(() => good);
    const post = await openFor(server);
    const url = `${server.url}/a/{{query}}/b?q={{query}}&n={{topK}}`;
    const address = await HttpRecommender.open({ url, hits: "$.results[*]", ...quick });
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary", minLength: 1, maxLength: 40 }), async (text) => {
        fc.pre(text.trim() !== "");
        server.received.length = 0;
        await ask(post, text);
        await ask(address, text);
        const [first, second] = server.received as [Received, Received];
        const clean = text.replace(/\p{Surrogate}/gu, "\ufffd");
        expect(JSON.parse(first.body)).toEqual({ q: clean, n: 5 });
        expect(second.method).toBe("GET");
        const [path = "", search = ""] = second.path.split("?");
        const segments = path.split("/");
        expect(segments).toHaveLength(4);
        expect([".", ".."]).not.toContain(segments[2]);
        expect(decodeURIComponent(segments[2] as string).trim()).toBe(clean.trim());
        const parameters = new URLSearchParams(search);
        expect([...parameters.keys()]).toEqual(["q", "n"]);
        expect(parameters.get("q")?.trim()).toBe(clean.trim());
      }),
      { numRuns: 40, examples: [["/../../admin"], [".."], ["."], ["a&n=9#x"], ["%2e%2e"], ["?q=1"], ["\r\nHost: x"]] },
    );
    await post.close();
    await address.close();
  }, 300_000);

  it("carry the headers they are given, which are no part of the fingerprint", async () => {
    const server = await serve(() => good);
    const [one, two] = [
      await openFor(server, { headers: { Authorization: "Bearer one" } }),
      await openFor(server, { headers: { Authorization: "Bearer two" } }),
    ];
    await ask(one, "pen");
    expect(server.received[0]?.headers).toMatchObject({
      authorization: "Bearer one",
      "content-type": "application/json",
    });
    expect(await one.fingerprint()).toBe(await two.fingerprint());
    await one.close();
    await two.close();
  });

  it("are as many at a time as they may be", async () => {
    const server = await serve(async () => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      return good;
    });
    const recommender = await openFor(server, { concurrency: 3 });
    await ask(recommender, ...Array.from({ length: 20 }, (_, i) => `q${i}`));
    expect(server.busy.most).toBe(3);
    await recommender.close();
  });
});

describe("http replies", () => {
  it("give ids, scores and payload by their paths; ranks stand in for scores", async () => {
    const server = await serve(() => ({ json: { data: { list: [{ key: 7, t: ["x"], s: 0.5 }, { key: "b", s: 0.25 }] } } })); // prettier-ignore
    const paths = { hits: "$.data.list[*]", id: "$.key", payload: { title: "$.t[0]" } };
    const scored = await openFor(server, { ...paths, score: "$.s" });
    expect(await ask(scored, "pen")).toEqual([
      [
        { id: "7", score: 0.5, payload: { title: "x" } },
        { id: "b", score: 0.25, payload: {} },
      ],
    ]);
    const ranked = await HttpRecommender.open({ url: `${server.url}/?q={{query}}`, ...paths, ...quick });
    expect((await ask(ranked, "pen"))[0]?.map(({ score }) => score)).toEqual([2, 1]);
    const first = await ranked.search([{ text: "pen" }], { topK: 1 });
    expect(first[0]?.map(({ id }) => id)).toEqual(["7"]);
    const bare = await serve(() => ({ json: ["x", "y"] }));
    const ids = await HttpRecommender.open({ url: `${bare.url}/?q={{query}}`, hits: "$[*]", id: "$", ...quick });
    expect((await ask(ids, "pen"))[0]?.map(({ id }) => id)).toEqual(["x", "y"]);
  });

  it.each<[string, Behaviour, string, RegExp]>([
    ["a score that is null", { json: { results: [{ id: "a", score: null }] } }, "RECOMMENDER_BAD_ANSWER", /score null/],
    ["a score too large", { text: '{"results": [{"id": "a", "score": 1e999}]}' }, "RECOMMENDER_BAD_ANSWER", /Infinity/],
    ["no score", { json: { results: [{ id: "a" }] } }, "RECOMMENDER_BAD_REPLY", /0 values for the score of hit 1/],
    ["no id", { json: { results: [{ score: 1 }] } }, "RECOMMENDER_BAD_REPLY", /0 values for the id of hit 1/],
    ["an id twice", { json: { results: [{ id: "a", score: 2 }, { id: "a", score: 1 }] } }, "RECOMMENDER_BAD_ANSWER", /both "a"/], // prettier-ignore
    ["hits out of order", { json: { results: [{ id: "a", score: 1 }, { id: "b", score: 2 }] } }, "RECOMMENDER_BAD_ANSWER", /best first/], // prettier-ignore
    ["another shape", { json: { error: "quota exceeded" } }, "RECOMMENDER_BAD_REPLY", /no list at \$\.results.*quota/],
    ["a refusal", { status: 401, json: {} }, "RECOMMENDER_HTTP_STATUS", /401 Unauthorized.*credentials/],
    ["a redirect", { status: 302, headers: { location: "http://example.invalid/" }, json: {} }, "RECOMMENDER_HTTP_STATUS", /Redirects are not followed/], // prettier-ignore
  ])("with %s are failures, not answers, and not asked for again", async (_, behaviour, code, message) => {
    const server = await serve(() => behaviour);
    const recommender = await openFor(server);
    const error: unknown = await ask(recommender, "pen").catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code, retryable: false });
    expect((error as Error).message).toMatch(message);
    expect(server.received).toHaveLength(1);
    await recommender.close();
  });

  it.each<[string, Behaviour, string, RegExp]>([
    ["HTML", { text: "<!doctype html><h1>It works!</h1>" }, "RECOMMENDER_NOT_JSON", /HTML or XML.*It works!/],
    ["nothing", { text: "" }, "RECOMMENDER_NOT_JSON", /answered with nothing/],
    ["half of its JSON", { text: '{"results": [{"id": "a"' }, "RECOMMENDER_NOT_JSON", /something else/],
    ["NaN, which is no JSON", { text: '{"results": [{"id": "a", "score": NaN}]}' }, "RECOMMENDER_NOT_JSON", /JSON/],
    ["a server's error", { status: 500, text: "oops" }, "RECOMMENDER_HTTP_STATUS", /500 Internal Server Error: oops/],
  ])("with %s are asked for again, and don't count as an outage", async (_, behaviour, code, message) => {
    const server = await serve(() => behaviour);
    const recommender = await openFor(server, { attempts: 2, breakerFailures: 1 });
    for (const query of ["pen", "ink"]) {
      const error: unknown = await ask(recommender, query).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code, retryable: true, answered: true });
      expect((error as Error).message).toMatch(message);
    }
    expect(server.received).toHaveLength(4);
    await recommender.close();
  });

  it("without hits are answers where the list is there", async () => {
    const server = await serve(() => ({ json: { results: [] } }));
    expect(await ask(await openFor(server), "pen")).toEqual([[]]);
  });

  it("to several queries have to be as many", async () => {
    const server = await serve(() => ({ json: { answers: [{ results: [] }] } }));
    const recommender = await openFor(server, { body: { qs: "{{queries}}" }, answers: "$.answers[*]" });
    await expect(ask(recommender, "a", "b")).rejects.toMatchObject({
      code: "RECOMMENDER_BAD_REPLY",
      message: expect.stringContaining("1 answers to 2 queries") as string,
    });
    expect(await ask(recommender, "a")).toEqual([[]]);
  });
});

describe("an http API in trouble", () => {
  it.each<[string, Behaviour]>([
    ["429", { status: 429, json: {} }],
    ["502", { status: 502, text: "bad gateway" }],
    ["503", { status: 503, headers: { "retry-after": "0" }, json: {} }],
    ["504", { status: 504, text: "" }],
    ["a reset connection", "reset"],
    ["a reply that breaks off", "cut"],
  ])("is asked again after %s", async (_, behaviour) => {
    let calls = 0;
    const server = await serve(() => (++calls <= 2 ? behaviour : good));
    const recommender = await openFor(server);
    expect((await ask(recommender, "pen"))[0]).toHaveLength(2);
    expect(calls).toBe(3);
    await recommender.close();
  });

  it("is given up after the last attempt, and then left alone", async () => {
    let calls = 0;
    const server = await serve(() => (calls++, { status: 503, json: {} }));
    const recommender = await openFor(server, { attempts: 2, breakerFailures: 2, concurrency: 1 });
    const codes: unknown[] = [];
    for (let i = 0; i < 4; i++) {
      codes.push(await ask(recommender, `q${i}`).catch((error: { code: string }) => error.code));
    }
    expect(codes).toEqual([
      ...Array.from({ length: 2 }, () => "RECOMMENDER_HTTP_STATUS"),
      ...Array.from({ length: 2 }, () => "RECOMMENDER_CIRCUIT_OPEN"),
    ]);
    expect(calls).toBe(4);
    await recommender.close();
  });

  it("has its time, and no more", async () => {
    const server = await serve(() => "hang");
    const recommender = await openFor(server, { timeoutMs: 50, attempts: 2 });
    await expect(ask(recommender, "pen")).rejects.toMatchObject({ code: "RECOMMENDER_TIMEOUT" });
    expect(server.received).toHaveLength(2);
    await recommender.close();
  });

  it("that isn't there is reported with its address", async () => {
    const server = await startServer(() => good);
    await server.close();
    const recommender = await openFor(server, { attempts: 2 });
    await expect(ask(recommender, "pen")).rejects.toMatchObject({
      code: "RECOMMENDER_UNREACHABLE",
      retryable: true,
      message: expect.stringContaining(`no connection to ${server.url}`) as string,
    });
  });

  it("has to show a certificate that is trusted", async () => {
    const certificate = await makeCertificate();
    const server = await serve(() => good, certificate);
    const untrusted = await openFor(server);
    await expect(ask(untrusted, "pen")).rejects.toMatchObject({ code: "RECOMMENDER_TLS", retryable: false });
    const trusted = await openFor(server, { tls: { ca: certificate.cert } });
    expect((await ask(trusted, "pen"))[0]).toHaveLength(2);
    const careless = await openFor(server, { tls: { rejectUnauthorized: false } });
    expect((await ask(careless, "pen"))[0]).toHaveLength(2);
    for (const recommender of [untrusted, trusted, careless]) await recommender.close();
  });
});

describe("an http API's fingerprint", () => {
  it("is its settings, and a version, an endpoint or answers where that is asked for", async () => {
    let build = 1;
    let hits = ["a", "b"];
    const server = await serve(({ path }) =>
      path === "/version" ? { json: { build } } : { json: { results: hits.map((id) => ({ id, score: 1 })) } },
    );
    const of = async (options: Partial<HttpOptions>) => (await openFor(server, options)).fingerprint();
    const [settings, version] = [await of({}), await of({ fingerprint: "v1" })];
    expect(await of({})).toBe(settings);
    expect(await of({ fingerprint: "v2" })).not.toBe(version);
    expect(await of({ body: { q: "{{query}}", n: "{{topK}}", lang: "de" } })).not.toBe(settings);
    expect(await of({ payload: { title: "$.title" } })).not.toBe(settings);
    const endpoint = { fingerprint: { url: `${server.url}/version`, path: "$.build" } };
    const probes = { fingerprint: { queries: ["pen", "paper"] } };
    const [byEndpoint, byProbes] = [await of(endpoint), await of(probes)];
    build = 2;
    expect(await of(endpoint)).not.toBe(byEndpoint);
    expect(await of(probes)).toBe(byProbes);
    hits = ["b", "a"];
    expect(await of(probes)).not.toBe(byProbes);
    await expect(of({ fingerprint: { url: "http://127.0.0.1:1/version" } })).rejects.toMatchObject({
      code: "CONFIG_BAD_URL",
    });
    await expect(of({ fingerprint: { url: `${server.url}/version`, path: "$.none" } })).rejects.toMatchObject({
      code: "RECOMMENDER_BAD_REPLY",
    });
  });
});

describe("http settings", () => {
  const base = { url: "http://127.0.0.1:1/s?q={{query}}", hits: "$.results[*]" };
  it.each<[string, Partial<HttpOptions>, string]>([
    ["no address", { url: "search" }, "CONFIG_BAD_URL"],
    ["another protocol", { url: "ftp://127.0.0.1/{{query}}" }, "CONFIG_BAD_URL"],
    ["a password in the address", { url: "http://me:secret@127.0.0.1/{{query}}" }, "CONFIG_BAD_URL"],
    ["a blank in the host", { url: "http://{{query}}/" }, "CONFIG_BAD_TEMPLATE"],
    ["a blank nobody fills", { url: "http://127.0.0.1/{{query}}/{{user}}" }, "CONFIG_BAD_TEMPLATE"],
    ["no blank for the query", { url: "http://127.0.0.1/", body: { q: "pen" } }, "CONFIG_BAD_TEMPLATE"],
    ["a blank in a key", { body: { "{{query}}": 1 } }, "CONFIG_BAD_TEMPLATE"],
    ["a body for GET", { method: "GET", body: { q: "{{query}}" } }, "CONFIG_BAD_TEMPLATE"],
    ["several queries without their answers", { url: "http://127.0.0.1/", body: { q: "{{queries}}" } }, "CONFIG_BAD_TEMPLATE"], // prettier-ignore
    ["a path that is none", { hits: "results[*" }, "CONFIG_BAD_JSON_PATH"],
    ["a header in two lines", { headers: { x: "a\r\nb" } }, "CONFIG_BAD_HEADER"],
    ["a blank in a header", { headers: { x: "{{query}}" } }, "CONFIG_BAD_HEADER"],
    ["no time", { timeoutMs: 0 }, "CONFIG_BAD_NUMBER"],
  ])("with %s are refused", async (_, options, code) => {
    const error: unknown = await HttpRecommender.open({ ...base, ...options }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code });
    expect((error as Error).message).not.toContain("secret");
  });
});
