/** What every recommender must do, whatever it is: one suite run over all of them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RecommenderError } from "../../src/core/errors.ts";
import type { Hit, Recommender } from "../../src/recommenders/recommender.ts";
import { validateAnswers } from "../../src/recommenders/validate.ts";

export interface CatalogueItem {
  id: string;
  title: string;
}

/** Opens the recommender over these items, of which only titles are searched. */
export type RecommenderFactory = (items: readonly CatalogueItem[]) => Promise<Recommender>;

const colours = ["red", "green", "blue", "black", "white"];
const things = ["pen", "paper", "stapler", "notebook", "folder", "envelope"];

/** The words of all titles. */
export const contractWords: readonly string[] = [...colours, ...things];

/** Every colour with every thing, ten times over, so that there are many ties. */
export const contractItems: CatalogueItem[] = colours.flatMap((colour) =>
  things.flatMap((thing) =>
    Array.from({ length: 10 }, (_, i) => ({ id: `${colour}-${thing}-${(i * 7) % 10}`, title: `${colour} ${thing}` })),
  ),
);

function ask(recommender: Recommender, texts: readonly string[], topK: number): Promise<Hit[][]> {
  return recommender.search(
    texts.map((text) => ({ text })),
    { topK },
  );
}

const idsOf = (hits: readonly Hit[] | undefined): string[] => (hits ?? []).map(({ id }) => id);

/**
 * The suite.
 * @param skips Cases that don't apply, by their names, with the reason.
 */
export function describeRecommender(
  name: string,
  factory: RecommenderFactory,
  skips: Readonly<Record<string, string>> = {},
): void {
  const check = (what: string, body: () => Promise<void>): void => {
    const reason = skips[what];
    if (reason === undefined) it(what, body);
    else it.skip(`${what} (skipped: ${reason})`, body);
  };

  describe(`${name} keeps the recommender's contract`, () => {
    let recommender: Recommender;
    beforeAll(async () => {
      recommender = await factory(contractItems);
    });
    afterAll(() => recommender.close());

    check("answers each query in the order given, best first, at most topK", async () => {
      const texts = ["red pen", "blue envelope", "pen"];
      const answers = await ask(recommender, texts, 15);
      validateAnswers(
        name,
        texts.map((text) => ({ text })),
        answers,
        15,
      );
      const [redPen, blueEnvelope, pen] = answers.map(idsOf);
      expect(redPen?.slice(0, 10).every((id) => id.startsWith("red-pen-"))).toBe(true);
      expect(blueEnvelope?.slice(0, 10).every((id) => id.startsWith("blue-envelope-"))).toBe(true);
      expect(redPen).toHaveLength(15);
      expect(pen?.every((id) => id.includes("-pen-"))).toBe(true);
    });

    check("finds nothing for words that no item has", async () => {
      expect(await ask(recommender, ["zebra", "pen"], 5)).toEqual([[], expect.objectContaining({ length: 5 })]);
    });

    check("gives fewer than topK where fewer match, and one where one is asked for", async () => {
      expect((await ask(recommender, ["stapler"], 1000))[0]).toHaveLength(50);
      expect((await ask(recommender, ["stapler"], 1))[0]).toHaveLength(1);
    });

    check("finds nothing for no queries and for queries without words", async () => {
      expect(await ask(recommender, [], 10)).toEqual([]);
      expect(await ask(recommender, ["", "   ", "\n\t", "?!.,;", '""', "()"], 10)).toEqual([[], [], [], [], [], []]);
    });

    check("takes query text for plain text, never for syntax", async () => {
      const [plain] = await ask(recommender, ["red pen"], 60);
      const decorated = [
        '"red pen"',
        "(red) [pen]",
        "red: pen*",
        "+red -pen",
        "red~2 pen^9",
        "\\red/ {pen}",
        "red\npen",
      ];
      for (const answer of await ask(recommender, decorated, 60)) expect(idsOf(answer)).toEqual(idsOf(plain));
    });

    check("takes any text without failing", async () => {
      const long = Array.from({ length: 3000 }, (_, i) => `word${i}`).join(" ");
      const texts = [
        `pen ${long}`,
        "pen ".repeat(20_000),
        `${"x".repeat(100_000)} pen`,
        "pen \ud800 \0 \u202e 😀",
        "笔 قلم pen",
        '{"query": "pen"}',
        "'; DROP TABLE items; -- pen",
      ];
      const answers = await ask(recommender, texts, 5);
      expect(answers.map((hits) => hits.length)).toEqual(texts.map(() => 5));
    });

    check("gives the same order every time, ties included, alone and in company, at every topK", async () => {
      const texts = ["pen", "red", "white folder", "black notebook paper"];
      const together = (await ask(recommender, [...texts, ...texts], 30)).map(idsOf);
      expect(together.slice(4)).toEqual(together.slice(0, 4));
      for (const [i, text] of texts.entries()) {
        for (const topK of [1, 7, 30]) {
          const [alone] = await ask(recommender, [text], topK);
          expect(idsOf(alone)).toEqual(together[i]?.slice(0, topK));
        }
      }
    });

    check("gives callers lists of their own", async () => {
      const [first, second] = await ask(recommender, ["pen", "pen"], 10);
      const before = idsOf(second);
      (first as Hit[]).length = 0;
      expect(idsOf(second)).toEqual(before);
      expect(idsOf((await ask(recommender, ["pen"], 10))[0])).toEqual(before);
    });

    check("answers many calls at once", async () => {
      const texts = colours.flatMap((colour) => things.map((thing) => `${colour} ${thing}`));
      const answers = await Promise.all(texts.map((text) => ask(recommender, [text], 10)));
      answers.forEach(([hits], i) => {
        const prefix = (texts[i] as string).replace(" ", "-");
        expect(idsOf(hits).every((id) => id.startsWith(`${prefix}-`))).toBe(true);
      });
    });

    check("refuses a topK that is no number of hits", async () => {
      for (const topK of [0, -1, 1.5, NaN, Infinity, "10" as never]) {
        await expect(ask(recommender, ["pen"], topK)).rejects.toBeInstanceOf(RecommenderError);
      }
    });

    check("stops on request, before and during a search, and can be asked again", async () => {
      const stopped = new AbortController();
      stopped.abort();
      const queries = contractItems.map(({ id }) => ({ text: `${id} pen` }));
      await expect(recommender.search(queries, { topK: 100, signal: stopped.signal })).rejects.toMatchObject({
        code: "ABORTED",
      });
      const controller = new AbortController();
      const search = recommender.search(queries, { topK: 100, signal: controller.signal });
      controller.abort();
      await expect(search).rejects.toMatchObject({ code: "ABORTED" });
      expect((await ask(recommender, ["pen"], 3))[0]).toHaveLength(3);
    });

    check("knows which ids there are", async () => {
      expect(await recommender.has?.("red-pen-0")).toBe(true);
      expect(await recommender.has?.("red-pen-10")).toBe(false);
      expect(await recommender.has?.("constructor")).toBe(false);
    });

    check("has a fingerprint that changes with the contents and with nothing else", async () => {
      const fingerprint = await recommender.fingerprint();
      expect(await recommender.fingerprint()).toBe(fingerprint);
      const same = await factory(contractItems);
      const other = await factory([...contractItems, { id: "extra", title: "extra" }]);
      expect(await same.fingerprint()).toBe(fingerprint);
      expect(await other.fingerprint()).not.toBe(fingerprint);
      await Promise.all([same.close(), other.close()]);
    });

    check("closes once a search under way has ended, may be closed twice, and isn't asked after that", async () => {
      const closing = await factory(contractItems);
      const search = ask(closing, ["red pen", "blue pen"], 10);
      await Promise.allSettled([search, closing.close()]);
      expect((await search)[0]).toHaveLength(10);
      await closing.close();
      await expect(ask(closing, ["red pen"], 10)).rejects.toMatchObject({ code: "RECOMMENDER_CLOSED" });
    });
  });
}
