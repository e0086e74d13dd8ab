/** Bodies that `rec-r1 serve` is sent, over real HTTP. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { startOffice } from "../server/serve/start.ts";
import { damagedJson, fuzz, timeout } from "./fuzz.ts";

const query = "thing that joins sheets";
const bodies: Record<string, unknown> = {
  "/search": { query, topK: 5 },
  "/rewrite": { query },
  "/v1/chat/completions": {
    model: "office",
    messages: [{ role: "user", content: query }],
    ...{ temperature: 0.7, top_p: 0.9, n: 2, seed: 5, stop: ["\n"], max_tokens: 7, logprobs: true },
  },
};

test("bodies that the service is sent", { timeout }, async () => {
  const { post, errors } = await startOffice();
  await fuzz({
    name: "bodies that the service is sent",
    inputs: fc.oneof(
      ...Object.entries(bodies).map(([path, body]) => damagedJson(body).map((bytes) => ({ path, bytes }))),
    ),
    sizeOf: ({ bytes }) => bytes.length,
    run: async ({ path, bytes }) => {
      const { status, json } = await post(path, bytes);
      expect([200, 400, 404, 413, 415, 422]).toContain(status);
      if (status >= 400)
        expect(json).toMatchObject({ error: { code: expect.stringMatching(/^[A-Z_a-z]+$/) as string } });
    },
    leastRefused: 0,
  });
  expect(errors).toEqual([]);
});
