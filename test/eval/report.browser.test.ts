/** The report in a real browser: as a colleague opens it from disk. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { ReportData } from "../../src/eval/report/report-data.ts";
import { writeReport } from "../../src/eval/report/report.ts";
import { findChromium, startChromium } from "./browser.ts";
import { buildIconReport } from "./icon-report.ts";

/** What the tests use of the page's own globals; the project's types have no DOM, because its code runs in Node. */
interface PageElement {
  id: string;
  tagName: string;
  textContent: string;
  scrollWidth: number;
  getAttribute(name: string): string | null;
  closest(selector: string): PageElement | null;
}
declare const document: {
  body: PageElement;
  documentElement: PageElement;
  activeElement: PageElement;
  getElementById(id: string): PageElement | null;
  querySelector(selector: string): PageElement;
};
declare function getComputedStyle(element: unknown): { color: string; backgroundColor: string; outlineStyle: string };

const chromiumPath = findChromium();
if (!chromiumPath) console.warn("Skipping the browser tests: no Chromium found; set CHROMIUM_PATH to one.");

describe.skipIf(!chromiumPath)("the report in Chromium", () => {
  let folder = "";
  let browser: Browser;
  let data: ReportData;
  let address = "";
  let complaints: string[] = [];
  let requests: string[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rec-r1-report-browser-"));
    data = buildIconReport(700);
    address = pathToFileURL(await writeReport(join(folder, "report.html"), data)).href;
    browser = await startChromium(chromiumPath as string);
  });

  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });

  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    expect(complaints, "console messages and page errors").toEqual([]);
    expect(
      requests.filter((url) => !url.startsWith("file:") && !url.startsWith("data:")),
      "requests to elsewhere",
    ).toEqual([]);
  });

  async function openPage(url: string, options: BrowserContextOptions = {}): Promise<Page> {
    complaints = [];
    requests = [];
    const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
    const page = await context.newPage();
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("request", (request) => requests.push(request.url()));
    await page.goto(url);
    return page;
  }

  const countVisible = (page: Page): Promise<number> =>
    page.locator(".case").evaluateAll((cases) => cases.filter((element) => element.checkVisibility()).length);

  it("draws the icons and marks the wanted one", async () => {
    const page = await openPage(address);
    const box = await page.locator("#better .case").first().locator(".found use").last().boundingBox();
    expect(box?.width).toBeGreaterThan(12);
    expect(await page.locator("#better > .cases > .case").count()).toBe(8);
    expect(await page.locator("#worse > .cases > .case").count()).toBe(8);
    // The colour of the style sheet arrived, so the policy's hash is right.
    expect(await page.locator(".figures .focus .figure").evaluate((element) => getComputedStyle(element).color)).toBe(
      "rgb(10, 107, 91)",
    );
  });

  it("finds examples by their words, wherever they are, and puts everything back", async () => {
    const page = await openPage(address);
    const before = await countVisible(page);
    expect(before).toBe(16);
    const query = data.examples[5]?.query ?? "";
    await page.getByLabel("Find").fill(query);
    await page.waitForFunction(() => document.getElementById("found")?.textContent !== "");
    const said = await page.locator("#found").textContent();
    const visible = await countVisible(page);
    expect(visible).toBeGreaterThan(0);
    expect(visible).toBeLessThan(200);
    expect(Number.parseInt(said ?? "", 10)).toBe(visible);
    await page.getByLabel("Find").fill("");
    await page.waitForFunction(() => document.getElementById("found")?.textContent === "");
    expect(await countVisible(page)).toBe(before);
  });

  it("orders examples within their groups", async () => {
    const page = await openPage(address);
    const readQueries = (): Promise<string[]> => page.locator("#worse .case h4").allTextContents();
    const byChange = await readQueries();
    await page.getByLabel("Order").selectOption("words");
    const byWords = await readQueries();
    const collator = new Intl.Collator("en-US", { numeric: true });
    expect(byWords).toEqual([...byChange].sort((a, b) => collator.compare(a, b)));
    expect(byWords).not.toEqual(byChange);
    expect(await page.locator("#worse > .cases > .case").count()).toBe(8);
    await page.getByLabel("Order").selectOption("change");
    expect((await readQueries()).sort()).toEqual(byChange.sort());
  });

  it("reads values off the curve by pointer and by keyboard", async () => {
    const page = await openPage(address);
    const chart = page.locator(".chart").first();
    const readout = chart.locator(".readout");
    await chart.locator("svg").hover({ position: { x: 60, y: 100 } });
    await expect.poll(() => readout.textContent()).toMatch(/^Step 0, after 0 ms: 0\.\d{3}$/);
    await chart.locator("svg").focus();
    await page.keyboard.press("End");
    expect(await readout.textContent()).toMatch(/^Step 60, after 12 min 36 s/);
    await page.keyboard.press("ArrowLeft");
    expect(await readout.textContent()).toMatch(/^Step 50,/);
  });

  it("can be used by keyboard alone", async () => {
    const page = await openPage(address);
    const reached = new Set<string>();
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press("Tab");
      const { name, outlined } = await page.evaluate(() => {
        const element = document.activeElement;
        return {
          name: `${element.tagName.toLowerCase()} ${element.id || element.getAttribute("href") || element.closest("section")?.id || ""}`,
          outlined: getComputedStyle(element).outlineStyle !== "none",
        };
      });
      expect(outlined, `${name} shows that it has the focus`).toBe(true);
      reached.add(name);
      if (name === "summary missed") break;
    }
    for (const name of ["a #content", "a #worse", "svg curve", "summary curve", "input find", "select order"]) {
      expect(reached, name).toContain(name);
    }
    for (const group of ["better", "worse", "same", "missed"]) expect(reached).toContain(`summary ${group}`);
    const before = await countVisible(page);
    await page.keyboard.press("Enter");
    expect(await countVisible(page)).toBeGreaterThan(before);
  });

  it.each([320, 400, 700])("fits a width of %i without scrolling sideways", async (width) => {
    const page = await openPage(address, { viewport: { width, height: 800 } });
    await page.locator("#worse summary").click();
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
  });

  it("has readable contrast in light and dark", async () => {
    for (const colorScheme of ["light", "dark"] as const) {
      const page = await openPage(address, { colorScheme });
      const ratios = await page.evaluate(() => {
        const luminance = (color: string): number => {
          const channels = (color.match(/[\d.]+/g) ?? []).slice(0, 3).map((part) => Number(part) / 255);
          const [r = 0, g = 0, b = 0] = channels.map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const paper = getComputedStyle(document.body).backgroundColor;
        return [".note", ".verdict", ".figures .focus .figure", ".change b", ".answer .who", ".ask p"].map(
          (selector) => {
            const style = getComputedStyle(document.querySelector(selector));
            const ground = style.backgroundColor === "rgba(0, 0, 0, 0)" ? paper : style.backgroundColor;
            const [a, b] = [luminance(style.color), luminance(ground)];
            return { selector, ratio: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) };
          },
        );
      });
      for (const { selector, ratio } of ratios) expect(ratio, `${selector} in ${colorScheme}`).toBeGreaterThan(4.5);
    }
  });

  it("is complete without its script", async () => {
    const page = await openPage(address, { javaScriptEnabled: false });
    expect(await page.locator(".case").count()).toBe(700);
    expect(await page.locator(".controls").isVisible()).toBe(false);
    expect(await page.locator("#worse .case").first().isVisible()).toBe(true);
    expect(await page.locator(".readout").first().textContent()).toContain("Step 60");
  });

  it("prints dark on white, without controls", async () => {
    const page = await openPage(address, { colorScheme: "dark" });
    await page.emulateMedia({ media: "print" });
    expect(await page.locator(".controls").isVisible()).toBe(false);
    expect(await page.evaluate(() => getComputedStyle(document.body).color)).toBe("rgb(27, 28, 30)");
    expect((await page.pdf()).length).toBeGreaterThan(20_000);
  });

  it("shows hostile text as text", async () => {
    const attacks = [
      `<script>document.title = "owned"</script>`,
      `"><img src=x onerror="document.title='owned'">`,
      `</title></style></script><svg onload="document.title='owned'">`,
      `javascript:document.title='owned'`,
      `<a href="https://example.com/">x</a><base href="https://example.com/">`,
    ];
    const hostile: ReportData = {
      ...data,
      title: attacks[0] as string,
      subtitle: attacks,
      systems: data.systems.map((system) => ({ ...system, name: attacks[2] as string })),
      learned: attacks.map((attack) => ({ from: attack, to: attack, count: 1, example: attack })),
      settings: Object.fromEntries(attacks.map((attack) => [attack, attack])),
      reproduce: attacks,
      examples: attacks.map((attack) => ({
        query: attack,
        relevant: [{ id: attack, title: attack, picture: { path: attack, viewBox: attack } }],
        answers: {
          raw: { query: attack, hits: [{ id: "a", title: attack, picture: { path: `M0 0"${attack}` } }], metric: 0 },
          tuned: { query: attack, hits: [{ id: attack, title: attack }], metric: 1 },
        },
      })),
    };
    const page = await openPage(pathToFileURL(await writeReport(join(folder, "hostile.html"), hostile)).href);
    await page.getByLabel("Find").fill("<img");
    await page.waitForFunction(() => document.getElementById("found")?.textContent !== "");
    expect(await page.title()).toBe(attacks[0]);
    expect(await page.locator("h1").textContent()).toBe(attacks[0]);
    expect(
      await page.locator("main script, main img, main a[href^='http'], main a[href^='javascript'], base").count(),
    ).toBe(0);
    expect(await page.locator("#better .case h4").allTextContents()).toEqual(attacks);
  });
});
