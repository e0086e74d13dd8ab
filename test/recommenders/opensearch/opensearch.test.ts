import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { OpenSearchRecommender, type OpenSearchOptions } from "../../../src/recommenders/opensearch/index.ts";
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
import { readSearches, toResponse } from "../../support/search-servers.ts";

const serve = serversForTests();
const found = toResponse([{ id: "a", score: 2, title: "A" }, { id: "b", score: 1, title: "B" }]); // prettier-ignore

async function openFor(server: LocalServer, options: Partial<OpenSearchOptions> = {}): Promise<OpenSearchRecommender> {
  return OpenSearchRecommender.open({
    node: server.url,
    index: "items",
    query: { match: { title: "{{query}}" } },
    ...quick,
    ...options,
  });
}

/** The same response to every query. */
const always = (response: object) => (request: Received) => ({
  json: { responses: readSearches(request.body).map(() => response) },
});

describe("OpenSearch requests", () => {
  it("have any text as one value of one search, and nothing else changes", async () => {
    const server = await serve(always(found));
    const recommender = await openFor(server, {
      query: { bool: { must: [{ multi_match: { query: "{{query}}", fields: ["title^2", "text"] } }], filter: [{ term: { on: true } }] } }, // prettier-ignore
    });
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary", minLength: 1, maxLength: 60 }), async (text) => {
        fc.pre(text.trim() !== "");
        server.received.length = 0;
        await ask(recommender, text);
        const [request] = server.received as [Received];
        expect(request.path).toBe("/_msearch");
        expect(readSearches(request.body)).toEqual([
          {
            header: { index: "items", preference: "rec-r1" },
            search: {
              query: {
                bool: {
                  must: [
                    { multi_match: { query: text.replace(/\p{Surrogate}/gu, "\ufffd"), fields: ["title^2", "text"] } },
                  ],
                  filter: [{ term: { on: true } }],
                },
              },
              size: 5,
              _source: false,
              track_total_hits: false,
            },
          },
        ]);
      }),
      {
        numRuns: 40,
        examples: [
          ['"}}}\n{"index":"secrets"}\n{"query":{"match_all":{}}}'],
          ["{{topK}} {{query}}"],
          ['\\"], "size": 0'],
        ],
      },
    );
    await recommender.close();
  }, 300_000);

  it("come in multi-searches of a batch's size, so many at a time", async () => {
    const server = await serve(async (request) => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      return always(found)(request);
    });
    const recommender = await openFor(server, { batchSize: 10, concurrency: 2 });
    await ask(recommender, ...Array.from({ length: 95 }, (_, i) => `q${i}`), "q0", "q1");
    expect(server.received.map(({ body }) => readSearches(body).length).sort()).toEqual([...Array.from({ length: 9 }, () => 10), 5].sort()); // prettier-ignore
    expect(server.busy.most).toBe(2);
    await recommender.close();
  });

  it("order ties, keep fields, take ids from a field and add to the body where that is asked for", async () => {
    const response = {
      ...toResponse([]),
      hits: { hits: [{ _id: "1", _score: 1, _source: { sku: "x", shop: { name: "S" }, "a.b": 3 } }] },
    };
    const server = await serve(always(response));
    const recommender = await openFor(server, {
      id: "sku",
      payload: ["shop.name", "a.b", "none"],
      tieBreaker: "sku",
      body: { min_score: 0.5, rescore: { window_size: "{{topK}}" } },
      maxQueryWords: 3,
      searchType: "dfs_query_then_fetch",
    });
    expect(await ask(recommender, "one two  three four five")).toEqual([
      [{ id: "x", score: 1, payload: { "shop.name": "S", "a.b": 3 } }],
    ]);
    expect(server.received[0]?.path).toBe("/_msearch?search_type=dfs_query_then_fetch");
    expect(readSearches(server.received[0]?.body ?? "")[0]?.search).toMatchObject({
      sort: [{ _score: "desc" }, { sku: "asc" }],
      _source: ["sku", "shop.name", "a.b", "none"],
      min_score: 0.5,
      rescore: { window_size: 5 },
      query: { match: { title: "one two three" } },
    });
    expect(recommender.has).toBeUndefined();
    await recommender.close();
  });

  it("carry vectors of the texts for knn and hybrid queries", async () => {
    const server = await serve(always(found));
    const query = {
      hybrid: {
        queries: [{ match: { title: "{{query}}" } }, { knn: { vector: { vector: "{{vector}}", k: "{{topK}}" } } }],
      },
    };
    const embed = (texts: readonly string[]) => Promise.resolve(texts.map((text) => [text.length, 0.5]));
    const recommender = await openFor(server, { query, embed, body: { search_pipeline: "mix" } });
    await ask(recommender, "pen", "paper");
    const [first, second] = readSearches(server.received[0]?.body ?? "").map(({ search }) => search);
    expect(first).toMatchObject({
      search_pipeline: "mix",
      query: { hybrid: { queries: [{ match: { title: "pen" } }, { knn: { vector: { vector: [3, 0.5], k: 5 } } }] } },
    });
    expect(second).toMatchObject({ query: { hybrid: { queries: [{}, { knn: { vector: { vector: [5, 0.5] } } }] } } });
    for (const bad of [
      () => Promise.resolve([[1], [NaN]]),
      () => Promise.resolve([[1]]),
      () => Promise.reject(new Error("no model")),
    ]) {
      // prettier-ignore
      const broken = await openFor(server, { query, embed: bad });
      await expect(ask(broken, "pen", "paper")).rejects.toMatchObject({ code: "RECOMMENDER_EMBED_FAILED" });
    }
    await expect(openFor(server, { query })).rejects.toMatchObject({ code: "CONFIG_NO_EMBED" });
    await recommender.close();
  });

  it.each<[string, OpenSearchOptions["auth"], string]>([
    ["a password", { username: "me", password: "se:cret" }, `Basic ${Buffer.from("me:se:cret").toString("base64")}`],
    ["an API key", { apiKey: "abc" }, "ApiKey abc"],
    ["a token", { bearer: "abc" }, "Bearer abc"],
  ])("say who asks, by %s", async (_, auth, header) => {
    const server = await serve(always(found));
    const recommender = await openFor(server, auth ? { auth } : {});
    await ask(recommender, "pen");
    expect(server.received[0]?.headers.authorization).toBe(header);
    await recommender.close();
  });
});

describe("OpenSearch responses", () => {
  const error = (type: string, reason: string, status: number): object => ({
    status,
    error: { type: "search_phase_execution_exception", reason: "all shards failed", root_cause: [{ type, reason }] },
  });
  it.each<[string, object, string, RegExp, boolean]>([
    ["an error", error("parsing_exception", "unknown query [mach]", 400), "RECOMMENDER_HTTP_STATUS", /400.*unknown query \[mach\]/, false], // prettier-ignore
    ["too much to do", error("rejected_execution", "queue is full", 429), "RECOMMENDER_HTTP_STATUS", /429/, true],
    [
      "a part of the shards",
      { ...found, _shards: { total: 3, failed: 1 } },
      "RECOMMENDER_PARTIAL",
      /1 of 3 shards/,
      true,
    ],
    ["what was found in time", { ...found, timed_out: true }, "RECOMMENDER_PARTIAL", /ran out of time/, true],
    ["no hits at all", { _shards: { failed: 0 } }, "RECOMMENDER_BAD_REPLY", /no hits\.hits/, false],
    ["a score that is null", toResponse([{ id: "a", score: null }]), "RECOMMENDER_BAD_ANSWER", /score null/, false],
    ["an id twice", toResponse([{ id: "a", score: 1 }, { id: "a", score: 1 }]), "RECOMMENDER_BAD_ANSWER", /both "a"/, false], // prettier-ignore
  ])("with %s are failures, not answers", async (_, response, code, message, retryable) => {
    const server = await serve(always(response));
    const recommender = await openFor(server, { attempts: 2 });
    const thrown: unknown = await ask(recommender, "pen").catch((caught: unknown) => caught);
    expect(thrown).toMatchObject({ code, retryable });
    expect((thrown as Error).message).toMatch(message);
    expect(server.received).toHaveLength(retryable ? 2 : 1);
    await recommender.close();
  });

  it("of a batch are kept where they are good: only the others are asked again", async () => {
    let calls = 0;
    const server = await serve((request) => {
      const isFirst = ++calls === 1;
      const busy = { status: 429, error: { type: "rejected_execution", reason: "queue is full" } };
      const responses = readSearches(request.body).map((_, i) => (isFirst && i % 3 === 1 ? busy : found));
      return { json: { responses } };
    });
    const recommender = await openFor(server);
    const answers = await ask(recommender, "q0", "q1", "q2", "q3", "q4");
    expect(answers.map((hits) => hits.length)).toEqual([2, 2, 2, 2, 2]);
    const asked = server.received.map(({ body }) =>
      readSearches(body).map(({ search }) => (search as { query: { match: { title: string } } }).query.match.title),
    );
    expect(asked).toEqual([
      ["q0", "q1", "q2", "q3", "q4"],
      ["q1", "q4"],
    ]);
    await recommender.close();
  });

  it("sorted otherwise are ranked by their order", async () => {
    const server = await serve(always(toResponse([{ id: "a", score: null }, { id: "b", score: null }]))); // prettier-ignore
    const recommender = await openFor(server, { body: { sort: [{ sold: "desc" }] } });
    expect((await ask(recommender, "pen"))[0]).toEqual([
      { id: "a", score: 2 },
      { id: "b", score: 1 },
    ]);
    await recommender.close();
  });
});

describe("an OpenSearch in trouble", () => {
  it.each<[string, Behaviour]>([
    ["429", { status: 429, headers: { "retry-after": "0" }, json: { error: "slow down" } }],
    ["502", { status: 502, text: "<html>bad gateway</html>" }],
    ["503", { status: 503, json: { error: { type: "unavailable", reason: "no master" } } }],
    ["504", { status: 504, text: "" }],
    ["a reset connection", "reset"],
    ["a reply that breaks off", "cut"],
  ])("is asked again after %s", async (_, behaviour) => {
    const log = vi.spyOn(console, "log");
    let calls = 0;
    const server = await serve((request) => (++calls <= 2 ? behaviour : always(found)(request)));
    const recommender = await openFor(server);
    expect((await ask(recommender, "pen"))[0]).toHaveLength(2);
    expect(calls).toBe(3);
    // Standard output is for results.
    expect(log).not.toHaveBeenCalled();
    log.mockRestore();
    await recommender.close();
  });

  it("has its time, and no more", async () => {
    const server = await serve(() => "hang");
    const recommender = await openFor(server, { timeoutMs: 50, attempts: 2 });
    await expect(ask(recommender, "pen")).rejects.toMatchObject({ code: "RECOMMENDER_TIMEOUT" });
    expect(server.received).toHaveLength(2);
  });

  it("that is something else is reported as such", async () => {
    const server = await serve(() => ({ text: "<html>It works!</html>" }));
    const recommender = await openFor(server);
    await expect(ask(recommender, "pen")).rejects.toMatchObject({
      code: "RECOMMENDER_NOT_JSON",
      message: expect.stringMatching(/It works!.*another program/) as string,
    });
    const gone = await openFor(await startServer(() => "hang").then((one) => one.close().then(() => one)), {
      attempts: 1,
    });
    await expect(ask(gone, "pen")).rejects.toMatchObject({ code: "RECOMMENDER_UNREACHABLE", retryable: true });
  });

  it("has to show a certificate that is trusted", async () => {
    const certificate = await makeCertificate();
    const server = await serve(always(found), certificate);
    const untrusted = await openFor(server);
    await expect(ask(untrusted, "pen")).rejects.toMatchObject({ code: "RECOMMENDER_TLS", retryable: false });
    const trusted = await openFor(server, { tls: { caFile: certificate.certFile } });
    expect((await ask(trusted, "pen"))[0]).toHaveLength(2);
    await expect(openFor(server, { tls: { caFile: `${certificate.certFile}.none` } })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
    await Promise.all([untrusted.close(), trusted.close()]);
  });
});

describe("OpenSearch's fingerprint", () => {
  const state = { uuid: "u1", seqNo: 5, docs: 3, analyzer: "standard", replicas: "0" };
  const answer = (path: string): object => {
    if (path.includes("_mapping")) return { items: { mappings: { properties: { title: { type: "text" } } } } };
    if (path.includes("_settings")) {
      const settings = {
        "index.uuid": state.uuid,
        "index.analysis.analyzer.default.type": state.analyzer,
        "index.number_of_replicas": state.replicas,
      };
      return { items: { settings } };
    }
    const copy = (primary: boolean, count: number) => ({
      routing: { primary },
      docs: { count },
      seq_no: { max_seq_no: state.seqNo },
    });
    return { indices: { items: { shards: { 0: [copy(false, -1), copy(true, state.docs)] } } } };
  };

  it("changes with writes, analysis and a new index of the name, and not with the number of copies", async () => {
    const server = await serve(({ path }) => ({ json: answer(path) }));
    const recommender = await openFor(server);
    const first = await recommender.fingerprint();
    expect(await recommender.fingerprint()).toBe(first);
    state.replicas = "2";
    expect(await recommender.fingerprint()).toBe(first);
    const seen = new Set([first]);
    for (const change of [{ seqNo: 6 }, { docs: 4 }, { analyzer: "english" }, { uuid: "u2" }]) {
      Object.assign(state, change);
      seen.add(await recommender.fingerprint());
    }
    expect(seen.size).toBe(5);
    const other = await openFor(server, { query: { match: { text: "{{query}}" } } });
    expect(seen).not.toContain(await other.fingerprint());
    await Promise.all([recommender.close(), other.close()]);
  });

  it("says what to do where contents may not be read, and can be answers or a version instead", async () => {
    const server = await serve((request) =>
      request.method === "GET" ? { status: 403, json: { error: "no permission" } } : always(found)(request),
    );
    await expect((await openFor(server)).fingerprint()).rejects.toMatchObject({
      status: 403,
      message: expect.stringContaining("give the option fingerprint") as string,
    });
    const version = await openFor(server, { fingerprint: "v1" });
    expect(await version.fingerprint()).toMatch(/:v1$/);
    for (const setting of [{ searchType: "dfs_query_then_fetch" as const }, { payload: ["brand"] }]) {
      const other = await openFor(server, { fingerprint: "v1", ...setting });
      expect(await other.fingerprint()).not.toBe(await version.fingerprint());
    }
    const probes = await openFor(server, { fingerprint: { queries: ["pen"] } });
    expect(await probes.fingerprint()).toBe(await probes.fingerprint());
  });
});

describe("OpenSearch settings", () => {
  const base = { node: "http://127.0.0.1:1", index: "items", query: { match: { title: "{{query}}" } } };
  it.each<[string, Partial<OpenSearchOptions>, string]>([
    ["no node", { node: [] }, "CONFIG_BAD_URL"],
    ["a node that is no address", { node: "localhost:9200" }, "CONFIG_BAD_URL"],
    ["a password in the address", { node: "http://me:secret@127.0.0.1:1" }, "CONFIG_BAD_URL"],
    ["no index", { index: "" }, "CONFIG_NO_INDEX"],
    ["no blank", { query: { match_all: {} } }, "CONFIG_BAD_TEMPLATE"],
    ["a size of their own", { body: { size: 10 } }, "CONFIG_BAD_TEMPLATE"],
    ["text as a program", { query: { script_score: { query: { match_all: {} }, script: { source: "{{query}}" } } } }, "CONFIG_BAD_TEMPLATE"], // prettier-ignore
    ["text as a query of its own", { query: { wrapper: { query: "{{query}}" } } }, "CONFIG_BAD_TEMPLATE"],
    ["text as Lucene's syntax", { query: { query_string: { query: "{{query}}" } } }, "CONFIG_BAD_TEMPLATE"],
    ["text as a pattern", { query: { bool: { should: [{ regexp: { title: "{{query}}" } }] } } }, "CONFIG_BAD_TEMPLATE"],
  ])("with %s are refused", async (_, options, code) => {
    const error: unknown = await OpenSearchRecommender.open({ ...base, ...options }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code });
    expect((error as Error).message).not.toContain("secret");
  });

  it("may allow syntax by name, and text as a script's parameter", async () => {
    const syntax = {
      query: { simple_query_string: { query: "{{query}}" } },
      allowSyntax: ["simple_query_string"] as const,
    };
    const script = { query: { script_score: { query: { match_all: {} }, script: { source: "1", params: { text: "{{query}}" } } } } }; // prettier-ignore
    for (const options of [syntax, script]) await (await OpenSearchRecommender.open({ ...base, ...options })).close();
  });
});
