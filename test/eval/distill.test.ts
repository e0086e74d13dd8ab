/** Rules instead of a policy: found in its rewrites, kept where they help, applied as a synonym filter applies them. */
import { describe, expect, it } from "vitest";
import { distillRules } from "../../src/eval/distill/distill.ts";
import * as formats from "../../src/eval/distill/formats.ts";
import { findCandidates, RuleSet } from "../../src/eval/distill/rules.ts";
import type { Rule } from "../../src/eval/distill/rules.ts";
import { defineTask } from "../../src/rl/task.ts";
import type { Task } from "../../src/rl/task.ts";
import { ndcg } from "../../src/ranking/index.ts";
import { WordSearch } from "../support/word-search.ts";

const rule = (phrase: string, words: string, keepsPhrase = true): Rule => ({
  phrase: phrase.split(" "),
  words: words.split(" "),
  keepsPhrase,
  support: 3,
  confidence: 0.5,
  gain: 0.25,
});

describe("applying rules", () => {
  it.each([
    ["add user", "add user plus account"],
    ["User, ADD!", "User, ADD! account plus"],
    ["log in page", "log in page login"],
    ["log book", "log book journal"],
    ["add plus", "add plus"],
    ["nothing known", "nothing known"],
    ["fav song", "song star"],
    ["fav user", "user star account"],
    ["", ""],
  ])("%s becomes %s", (query, expected) => {
    const rules = [rule("add", "plus"), rule("user", "account"), rule("log in", "login"), rule("log", "journal")];
    expect(new RuleSet([...rules, rule("fav", "star", false)]).apply(query)).toBe(expected);
  });

  it("does nothing without rules", () => {
    expect(new RuleSet([]).apply("as it is")).toBe("as it is");
  });
});

describe("finding candidates", () => {
  it("counts what is written where a phrase stands", () => {
    const found = findCandidates(
      [
        { query: "add user", written: "add user plus" },
        { query: "add file", written: "add file plus" },
        { query: "add", written: "add" },
        { query: "fav song", written: "star song" },
        { query: "fav film", written: "star film" },
      ],
      { minSupport: 2 },
    );
    expect(found).toEqual([
      { phrase: ["fav"], word: "star", keepsPhrase: false, support: 2, confidence: 1, queries: [3, 4] },
      { phrase: ["fav"], word: "star", keepsPhrase: true, support: 2, confidence: 1, queries: [3, 4] },
      { phrase: ["add"], word: "plus", keepsPhrase: true, support: 2, confidence: 2 / 3, queries: [0, 1, 2] },
    ]);
    expect(findCandidates([], {})).toEqual([]);
  });
});

describe("distilling", () => {
  /** Items are found by other words than users say; every third rewrite is useless or harmful. */
  const nouns = ["box", "cart", "door", "file", "gift", "heart", "image", "key"];
  const items = Object.fromEntries([
    ...nouns.flatMap((noun) => [
      [`${noun}-plus`, `${noun} plus`],
      [`${noun}-star`, `${noun} star`],
      [`${noun}-minus`, `${noun} minus`],
    ]),
    ["trap", "junk junk"],
  ]) as Record<string, string>;
  const row = (verb: string, noun: string, item: string, written: string) => ({
    example: { query: `${verb} ${noun}`, relevant: [`${noun}-${item}`] },
    query: `${verb} ${noun}`,
    written,
  });
  const train = nouns
    .slice(0, 5)
    .flatMap((noun) => [
      row("add", noun, "plus", `add ${noun} plus junk`),
      row("favorite", noun, "star", `favorite ${noun} star`),
      row("remove", noun, "minus", `remove ${noun} junk`),
    ]);
  const held = nouns.slice(5).flatMap((noun) => [row("add", noun, "plus", ""), row("favorite", noun, "star", "")]);
  const task = defineTask<{ query: string; relevant: string[] }>({
    name: "verbs",
    data: { train: train.map(({ example }) => example) },
    prompt: ({ query }) => query,
    reward: ({ hits, example }) => (hits ? ndcg(hits, example.relevant, { k: 10 }) : 0),
    topK: 10,
  }) as unknown as Task<object>;
  const valid = held.map(({ example }, i) => ({ id: `v${i}`, example: example as object }));
  const options = () => ({ task, recommender: new WordSearch(items), signal: new AbortController().signal });

  it("keeps the rules that help on queries that they were not made from, and drops habits that don't", async () => {
    const { rules, valid: measured, tried, helped } = await distillRules(train, valid, options());
    expect(rules.map(({ phrase, words }) => [phrase.join(" "), ...words])).toEqual(
      expect.arrayContaining([
        ["add", "plus"],
        ["favorite", "star"],
      ]),
    );
    expect(rules.flatMap(({ words }) => words)).not.toContain("junk");
    expect(rules).toHaveLength(2);
    expect(tried).toBeGreaterThan(helped);
    expect(measured?.rules).toBeCloseTo(1, 10);
    expect(measured?.raw).toBeLessThan(0.9);
    expect(rules[0]).toMatchObject({ support: 5, confidence: 1, keepsPhrase: true });
  });

  it("keeps none where none helps on validation", async () => {
    const others = nouns.map((noun, i) => ({
      id: `o${i}`,
      example: { query: `add ${noun}`, relevant: [`${noun}-minus`] },
    }));
    const { rules, valid: measured } = await distillRules(train, others, options());
    expect(measured?.rules).toBeGreaterThanOrEqual(measured?.raw as number);
    expect(rules.filter(({ phrase }) => phrase.includes("add"))).toEqual([]);
  });

  it("takes all that helped in training where there are no validation queries", async () => {
    const { rules, valid: measured } = await distillRules(train, [], options());
    expect(measured).toBeUndefined();
    expect(rules.length).toBeGreaterThanOrEqual(2);
  });
});

describe("formats", () => {
  const rules = [rule("log in", "login account"), rule("fav", "star", false)];

  it("writes Solr's, Elasticsearch's and Querqy's", () => {
    expect(formats.formatSolr(rules)).toBe("log in => log in, login, account\nfav => star\n");
    expect(JSON.parse(formats.formatSynonymsSet(rules))).toEqual({
      synonyms_set: [
        { id: "rule-1", synonyms: "log in => log in, login, account" },
        { id: "rule-2", synonyms: "fav => star" },
      ],
    });
    const { settings } = JSON.parse(formats.formatAnalysis(rules)) as {
      settings: { analysis: { filter: Record<string, unknown>; analyzer: object } };
    };
    expect(settings.analysis.filter.rec_r1_synonyms).toMatchObject({
      type: "synonym_graph",
      synonyms: ["log in => log in, login, account", "fav => star"],
    });
    expect(formats.formatQuerqy(rules)).toBe(
      "log in =>\n  SYNONYM: login\n  SYNONYM: account\n\nfav =>\n  SYNONYM: star\n  DELETE: fav\n",
    );
    expect(formats.formatTable(rules).split("\n")[1]).toBe("log in\tlogin account\ttrue\t3\t0.500\t0.2500");
  });

  it("lets nothing that a policy wrote be syntax", () => {
    const hostile = 'a, b => c # x\n"d"\\e';
    const rewrites = [1, 2].map(() => ({ query: hostile, written: `${hostile} DELETE: everything => ${hostile}` }));
    for (const { phrase, word } of findCandidates(rewrites)) {
      for (const text of [...phrase, word]) expect(text).toMatch(/^[\p{L}\p{N}]+$/u);
    }
  });
});
