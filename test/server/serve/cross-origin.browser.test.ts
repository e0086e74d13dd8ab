/** Pages of other origins in a real browser: what `--allow-origin` lets in, and what it doesn't. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { findChromium, startChromium } from "../../eval/browser.ts";
import { startServer } from "../../support/local-server.ts";
import { startOffice } from "./start.ts";

const chromiumPath = findChromium();
if (!chromiumPath) console.warn("Skipping the browser tests: no Chromium found; set CHROMIUM_PATH to one.");

describe.skipIf(!chromiumPath)("a page of another origin", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await startChromium(chromiumPath as string);
  });
  afterAll(() => browser?.close());

  /** What a page of an origin of its own reads when it searches, by the token that it brings. */
  async function ask(isAllowed: boolean): Promise<(token: string) => Promise<unknown>> {
    const shop = await startServer(() => ({ text: "<!doctype html><title>shop</title>", headers: { "content-type": "text/html" } })); // prettier-ignore
    onTestFinished(() => shop.close());
    const { url } = await startOffice({ token: "s3cret", ...(isAllowed ? { allowedOrigins: [shop.url] } : {}) });
    const page = await browser.newPage();
    onTestFinished(() => page.close());
    await page.goto(shop.url);
    return (token) =>
      page.evaluate(
        async ([address, secret]) => {
          try {
            const headers = { "content-type": "application/json", authorization: `Bearer ${secret}` };
            const body = JSON.stringify({ query: "thing that joins sheets" });
            const reply = await fetch(`${address}/search`, { method: "POST", headers, body });
            return { status: reply.status, body: await reply.json() };
          } catch (error) {
            return (error as Error).message;
          }
        },
        [url, token] as const,
      );
  }

  it("that was let in searches with its token, and reads what is wrong with another", async () => {
    const search = await ask(true);
    expect(await search("s3cret")).toMatchObject({ status: 200, body: { source: "tuned", hits: [{}, {}] } });
    expect(await search("guess")).toMatchObject({ status: 401, body: { error: { code: "UNAUTHORIZED" } } });
  });

  it("that was not gets nothing", async () => {
    expect(await (await ask(false))("s3cret")).toMatch(/Failed to fetch/);
  });
});
