/** The dashboard in a real browser: a run that trains meanwhile, by pointer and by keyboard, wide and narrow. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { findChromium, startChromium } from "../../eval/browser.ts";
import { openSyntheticRun, writeSyntheticRun } from "../../support/synthetic-run.ts";
import { openExampleDashboard } from "./example-dashboard.ts";

/** What the tests use of the page's own globals; the project's types have no DOM, because its code runs in Node. */
interface PageElement {
  tagName: string;
  scrollWidth: number;
  className: string;
  id: string;
  textContent: string;
}
declare const document: {
  documentElement: PageElement & { dataset: Record<string, string> };
  body: PageElement;
  activeElement: PageElement;
  title: string;
};
declare const window: { axe: { run: (context: unknown, options: unknown) => Promise<AxeResult> } };
declare function getComputedStyle(element: unknown): { backgroundColor: string; outlineStyle: string };

type Box = NonNullable<Awaited<ReturnType<Locator["boundingBox"]>>>;

interface AxeResult {
  violations: { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }[];
}

const root = join(dirname(fileURLToPath(import.meta.url)), "../../..");
const chromiumPath = findChromium();
if (!chromiumPath) console.warn("Skipping the browser tests: no Chromium found; set CHROMIUM_PATH to one.");

/** Texts that would do something if they were markup. */
const attacks = [
  `<script>document.title = "owned"</script>`,
  `"><img src=x onerror="document.title='owned'">`,
  `</title></style></script><svg onload="document.title='owned'">`,
  `<a href="javascript:document.title='owned'">x</a>`,
];

const views = ["curves", "rollouts", "compare", "try", "warnings", "config"] as const;

describe.skipIf(!chromiumPath)("the dashboard in Chromium", () => {
  let folder = "";
  let browser: Browser;
  let dashboard: Awaited<ReturnType<typeof openExampleDashboard>>;
  let axe = "";
  let complaints: string[] = [];
  let requests: string[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rec-r1-dashboard-browser-"));
    const { buildWeb } = (await import(pathToFileURL(join(root, "scripts/build-web.mjs")).href)) as {
      buildWeb: (outDir: string) => Promise<void>;
    };
    const pagesDir = join(folder, "pages");
    await buildWeb(pagesDir);
    axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
    await writeSyntheticRun(join(folder, "runs", "hostile"), {
      steps: 2,
      promptsPerStep: 2,
      groupSize: 4,
      evalEvery: 1,
      evaluated: 10,
      titles: Array.from({ length: 2000 }, (_, i) => attacks[i % attacks.length] as string),
      config: { note: attacks[0] as string },
    });
    dashboard = await openExampleDashboard(join(folder, "runs"), { pagesDir });
    browser = await startChromium(chromiumPath as string);
  });

  afterAll(async () => {
    await browser?.close();
    await dashboard?.close();
    await rm(folder, { recursive: true, force: true });
  });

  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    expect(complaints, "console messages and page errors").toEqual([]);
    const elsewhere = requests.filter((url) => !url.startsWith(dashboard.url) && !url.startsWith("data:"));
    expect(elsewhere, "requests to elsewhere").toEqual([]);
  });

  async function openPage(hash = "", options: BrowserContextOptions = {}): Promise<Page> {
    complaints = [];
    requests = [];
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("request", (request) => requests.push(request.url()));
    await page.goto(`${dashboard.url}/${hash}`);
    await page.locator("main > *").first().waitFor();
    return page;
  }

  /** Until the list of runs, which is believed for a moment, has one that was just made. */
  const isListed = (run: string): Promise<void> =>
    expect
      .poll(async () => {
        const runs = (await (await fetch(`${dashboard.url}/api/runs`)).json()) as { id: string }[];
        return runs.map(({ id }) => id);
      })
      .toContain(run) as Promise<void>;

  /** Until nothing on the page says that it is loading. */
  const settle = (page: Page): Promise<void> =>
    expect.poll(() => page.locator("main .loading").count(), { timeout: 10_000 }).toBe(0) as Promise<void>;

  it("draws a run's curves, and reads values off them by keyboard", async () => {
    const page = await openPage("#/curves?run=second");
    await page.locator(".chart canvas").first().waitFor();
    const titles = await page.locator(".chart h3").allTextContents();
    for (const title of [
      "Validation ndcg@10",
      "Reward",
      "KL divergence",
      "Entropy",
      "Clip fraction",
      "Gradient norm",
      "Completion length",
      "Groups without variance",
      "Parse failures",
      "Sampling against training",
      "Latency",
      "Errors",
      "Tokens a second",
    ]) {
      expect(titles).toContain(title);
    }
    expect(await page.locator(".chart .none").count()).toBe(0);
    const reward = page.getByRole("slider", { name: "Reward" });
    await reward.focus();
    await page.keyboard.press("Home");
    await expect.poll(() => reward.getAttribute("aria-valuetext")).toMatch(/^step 1: .*mean 0\.\d{3}/);
    await page.keyboard.press("ArrowRight");
    await expect.poll(() => reward.getAttribute("aria-valuetext")).toMatch(/^step 2: /);
  });

  it("lays runs over each other, and tells their settings apart", async () => {
    const page = await openPage("#/curves?run=second");
    await page.getByRole("checkbox", { name: "Show first" }).check();
    const validation = page.locator(".chart", { hasText: "Validation" }).locator(".reading");
    await expect.poll(() => validation.count()).toBe(2);
    await page.getByRole("link", { name: "Settings" }).click();
    await expect.poll(() => page.locator("table.config tbody tr").count()).toBe(3);
    expect(await page.locator("table.config").textContent()).toContain("config.learningRate0.00020.0001");
    await page.getByRole("checkbox", { name: "Only what differs" }).uncheck();
    expect(await page.locator("table.config tbody tr").count()).toBeGreaterThan(10);
  });

  it("smooths, and goes over minutes in place of steps", async () => {
    const page = await openPage("#/curves?run=second");
    const reading = page.locator(".chart", { hasText: "Entropy" }).locator(".reading b");
    const smoothed = page.locator(".chart", { hasText: "Entropy" }).locator(".reading .smoothed");
    await reading.waitFor();
    await page.getByLabel("Smoothing").fill("0");
    await expect.poll(() => smoothed.count()).toBe(0);
    const measured = await reading.textContent();
    await page.getByLabel("Smoothing").fill("0.5");
    const little = await smoothed.textContent();
    await page.getByLabel("Smoothing").fill("0.9");
    await expect.poll(() => smoothed.textContent()).not.toBe(little);
    expect(await reading.textContent()).toBe(measured);
    await page.getByLabel("Over").selectOption("minutes");
    const entropy = page.getByRole("slider", { name: "Entropy" });
    await entropy.focus();
    // The chart is made anew for minutes, in the next frame or the one after.
    const atTheEnd = async (): Promise<string | null> => {
      await page.keyboard.press("End");
      return entropy.getAttribute("aria-valuetext");
    };
    await expect.poll(atTheEnd).toMatch(/^after \d+ min/);
  });

  it("follows a run that trains", async () => {
    const run = await openSyntheticRun(join(folder, "runs", "live"), {
      steps: 30,
      promptsPerStep: 2,
      groupSize: 4,
      evalEvery: 2,
      pictures: false,
    });
    try {
      await run.step();
      await isListed("live");
      const page = await openPage("#/curves?run=live");
      const status = page.locator(".progress");
      await expect.poll(() => status.textContent()).toContain("step 1 of 30");
      await expect.poll(() => page.locator(".live.on").count(), { timeout: 10_000 }).toBe(1);
      for (let i = 0; i < 3; i++) await run.step();
      await expect.poll(() => status.textContent(), { timeout: 10_000 }).toContain("step 4 of 30");
      await expect.poll(() => status.textContent(), { timeout: 10_000 }).toMatch(/about .* left/);
      const validation = page.getByRole("slider", { name: /Validation/ });
      await expect.poll(() => validation.getAttribute("aria-valuemax")).toBe("2");
      // The rollouts browser learns of new steps, too.
      await page.getByRole("link", { name: "Rollouts" }).click();
      await expect.poll(() => page.locator(".steps label").first().textContent()).toContain("of 4");
      await run.step();
      await expect
        .poll(() => page.locator(".steps label").first().textContent(), { timeout: 10_000 })
        .toContain("of 5");
      await run.close();
      await page.getByRole("link", { name: "Curves" }).click();
      await expect.poll(() => status.textContent(), { timeout: 10_000 }).toContain("stopped");
    } finally {
      await run.close();
    }
  });

  it("draws the first evaluation when it comes", async () => {
    const run = await openSyntheticRun(join(folder, "runs", "unevaluated"), {
      steps: 30,
      promptsPerStep: 2,
      groupSize: 4,
      evalEvery: 2,
      evalFirst: false,
      pictures: false,
    });
    try {
      await run.step();
      await isListed("unevaluated");
      const page = await openPage("#/curves?run=unevaluated");
      const validation = page.locator(".chart", { hasText: "Validation" });
      await expect.poll(() => validation.locator(".none").count()).toBe(1);
      await expect.poll(() => page.locator(".live.on").count(), { timeout: 10_000 }).toBe(1);
      await run.step();
      await expect.poll(() => validation.locator(".readout").count(), { timeout: 10_000 }).toBe(1);
      await expect.poll(() => validation.locator("canvas").count()).toBe(1);
    } finally {
      await run.close();
    }
  });

  it("keeps the part of a curve that the reader chose while the run goes on", async () => {
    const run = await openSyntheticRun(join(folder, "runs", "zoomed"), {
      steps: 30,
      promptsPerStep: 2,
      groupSize: 4,
      pictures: false,
    });
    try {
      for (let i = 0; i < 9; i++) await run.step();
      await isListed("zoomed");
      const page = await openPage("#/curves?run=zoomed");
      const chart = page.getByRole("slider", { name: "Entropy" });
      const plot = chart.locator(".u-over");
      await plot.scrollIntoViewIfNeeded();
      const { x, y, width, height } = (await plot.boundingBox()) as Box;
      const pointAt = (part: number): Promise<void> => page.mouse.move(x + part * width, y + height / 2);
      const firstStep = async (): Promise<string | null> => {
        await pointAt(0.5);
        await pointAt(0.01);
        return page.locator(".chart", { has: chart }).locator(".where").textContent();
      };
      expect(await firstStep()).toBe("step 1");
      await pointAt(0.5);
      await page.mouse.down();
      await pointAt(0.95);
      await page.mouse.up();
      await expect.poll(firstStep).toBe("step 5");
      await expect.poll(() => page.locator(".live.on").count(), { timeout: 10_000 }).toBe(1);
      await run.step();
      await expect.poll(() => chart.getAttribute("aria-valuemax"), { timeout: 10_000 }).toBe("9");
      expect(await firstStep()).toBe("step 5");
      await plot.dblclick();
      await expect.poll(firstStep).toBe("step 1");
    } finally {
      await run.close();
    }
  });

  it("shows a group's completions side by side, and their tokens", async () => {
    const page = await openPage("#/rollouts?run=second&step=40");
    await page.locator(".card").first().waitFor();
    expect(await page.locator(".card").count()).toBe(8);
    expect(await page.locator(".card .picture").count()).toBeGreaterThan(20);
    const second = page.locator(".list .row").nth(1);
    const text = await second.locator(".text").textContent();
    await second.click();
    await expect.poll(() => page.locator(".group h2").textContent()).toBe(text);
    await page.getByRole("button", { name: "Token by token" }).click();
    const card = page.locator(".card").first();
    await card.getByRole("slider", { name: "Tokens" }).focus();
    const before = await card.locator(".reading").textContent();
    expect(before).toMatch(/log-prob -?\d\.\d{3}, probability .*, advantage [+−±]\d/);
    await page.keyboard.press("ArrowRight");
    await expect.poll(() => card.locator(".reading").textContent()).not.toBe(before);
    await page.getByRole("button", { name: "‹ Before" }).click();
    await expect.poll(() => page.locator(".group .hint").textContent()).toContain("recordTokensEvery");
  });

  it("keeps the group that is read while the run goes on", async () => {
    const run = await openSyntheticRun(join(folder, "runs", "read"), {
      steps: 30,
      promptsPerStep: 3,
      groupSize: 4,
      pictures: false,
    });
    try {
      await run.step();
      await isListed("read");
      const page = await openPage("#/rollouts?run=read");
      const row = page.locator(".list .row").nth(1);
      const text = await row.locator(".text").textContent();
      await row.click();
      const open = page.locator(".group h2");
      await expect.poll(() => open.textContent()).toBe(text);
      await expect.poll(() => page.url()).toContain("step=1&");
      await expect.poll(() => page.locator(".live.on").count(), { timeout: 10_000 }).toBe(1);
      await run.step();
      await expect
        .poll(() => page.locator(".steps label").first().textContent(), { timeout: 10_000 })
        .toContain("of 2");
      await settle(page);
      expect(await open.textContent()).toBe(text);
    } finally {
      await run.close();
    }
  });

  it("opens the example that the address names, and says where a step doesn't have it", async () => {
    await writeSyntheticRun(join(folder, "runs", "wide"), {
      steps: 2,
      promptsPerStep: 70,
      groupSize: 2,
      pictures: false,
    });
    await isListed("wide");
    const page = await openPage("#/rollouts?run=wide&step=1");
    const code = page.locator(".group header code");
    const pager = page.locator(".list .pager");
    await page.locator(".list").getByRole("button", { name: "Next" }).click();
    await expect.poll(() => pager.textContent()).toContain("51–70 of 70");
    await page.locator(".list .row").nth(3).click();
    await expect.poll(() => page.url()).toContain("example=");
    const address = page.url();
    const example = new URLSearchParams(address.split("?")[1]).get("example");
    await expect.poll(() => code.textContent()).toBe(example);
    await page.goto("about:blank");
    await page.goto(address);
    await expect.poll(() => code.textContent()).toBe(example);
    expect(await pager.textContent()).toContain("51–70 of 70");
    expect(await page.locator(".list [aria-current=true]").count()).toBe(1);
    // On another page of the list it stays open.
    await page.locator(".list").getByRole("button", { name: "Before" }).click();
    await expect.poll(() => pager.textContent()).toContain("1–50 of 70");
    await settle(page);
    expect(await code.textContent()).toBe(example);
    await page.getByRole("button", { name: "Next ›" }).click();
    const note = page.locator(".split .meta", { hasText: "Step 2 has no rollouts of the example" });
    await expect.poll(() => note.locator("code").textContent()).toBe(example);
    await expect.poll(() => page.locator(".card").count()).toBe(2);
    await page.locator(".list .row").nth(1).click();
    await expect.poll(() => note.count()).toBe(0);
  });

  it("goes to the next step each time it is asked, and to one that is typed", async () => {
    const page = await openPage("#/rollouts?run=first&step=1");
    await page.clock.install();
    await page.reload();
    await page.locator(".card").first().waitFor();
    await page.clock.pauseAt(Date.now() + 60_000);
    const field = page.getByRole("spinbutton", { name: /^Step/ });
    let step = 1;
    const next = async (): Promise<void> => {
      step++;
      await page.keyboard.press("]");
      await expect.poll(() => `${page.url()}&`).toContain(`step=${step}&`);
      // The address changes before the page does, and the next press is for what the page has.
      await expect.poll(() => field.inputValue()).toBe(String(step));
    };
    // Around the moment in which what was typed would be taken up.
    for (let gap = 276; gap <= 340; gap += 8) {
      await next();
      await page.clock.runFor(gap);
      await next();
      await page.clock.runFor(1_000);
      expect(`${page.url()}&`, `${gap} ms apart`).toContain(`step=${step}&`);
    }
    await field.fill("7");
    await page.clock.runFor(1_000);
    await expect.poll(() => `${page.url()}&`).toContain("step=7&");
  });

  it("finds rollouts by their words and by reward, and opens one", async () => {
    const page = await openPage("#/rollouts?run=second");
    await page.getByLabel("Reward from").fill("0.99");
    await expect.poll(() => page.locator(".matches tbody tr").count()).toBe(50);
    for (const reward of await page.locator(".matches tbody td:nth-child(2)").allTextContents())
      expect(Number(reward)).toBe(1);
    await page.getByRole("button", { name: "More" }).click();
    await expect.poll(() => page.locator(".matches tbody tr").count()).toBeGreaterThan(50);
    await page.locator(".matches button.link").first().click();
    await expect.poll(() => page.locator(".card").count()).toBe(8);
    await page.getByRole("button", { name: "This example at every step" }).click();
    await expect
      .poll(() => page.locator(".matches .meta").textContent())
      .toMatch(/of this example, in 40 of 40 steps; that is all/);
    await page.getByLabel("Search completions and queries").fill("no such words anywhere");
    await expect.poll(() => page.locator(".matches .meta").textContent()).toMatch(/^0 rollouts found/);
    await page.getByRole("button", { name: "Show all" }).click();
    await page.locator(".steps").waitFor();
  });

  it("has in its search fields what the address has", async () => {
    const page = await openPage("#/rollouts?run=second");
    const find = page.getByLabel("Search completions and queries");
    await find.fill("no such words");
    await expect.poll(() => page.url()).toContain("text=no+such+words");
    await page.getByRole("link", { name: "Rollouts" }).click();
    await page.locator(".steps").waitFor();
    await expect.poll(() => find.inputValue()).toBe("");
    await page.goBack();
    await expect.poll(() => find.inputValue()).toBe("no such words");
    await page.goBack();
    await page.locator(".steps").waitFor();
    await expect.poll(() => find.inputValue()).toBe("");
    // What has just been typed goes, too.
    await find.fill("not yet in the address");
    await page.getByRole("button", { name: "Show all" }).click();
    await expect.poll(() => find.inputValue()).toBe("");
    await page.getByRole("link", { name: "Before and after" }).click();
    const query = page.getByLabel("Find", { exact: true });
    await query.fill("no such words");
    await expect.poll(() => page.locator("main > .meta").first().textContent()).toContain("0 queries");
    await page.getByRole("link", { name: "Before and after" }).click();
    await expect.poll(() => page.locator(".compared").count()).toBeGreaterThan(0);
    await expect.poll(() => query.inputValue()).toBe("");
  });

  it("compares before and after, losses as readily as wins", async () => {
    const page = await openPage("#/compare?run=second");
    await page.locator(".compared").first().waitFor();
    const [better, worse] = await Promise.all(
      ["Better", "Worse"].map((name) => page.getByRole("button", { name }).boundingBox()),
    );
    expect(worse?.height).toBe(better?.height);
    const count = async (name: string): Promise<number> =>
      Number(/\d+/.exec((await page.getByRole("button", { name }).textContent()) ?? "")?.[0]);
    const gains = async (): Promise<number[]> =>
      (await page.locator(".compared .gain").allTextContents()).map((text) =>
        Number(text.replace("−", "-").replace("±", "")),
      );
    expect((await gains()).every((gain) => gain < 0)).toBe(true);
    expect(await page.locator(".compared").first().locator(".columns > section").count()).toBe(3);
    expect(await page.locator(".reasons li").count()).toBeGreaterThan(0);
    const wins = await count("Better");
    await page.getByRole("button", { name: "Better" }).click();
    await expect.poll(async () => (await gains())[0]).toBeGreaterThan(0);
    expect(await page.locator("main > .meta").first().textContent()).toContain(`${wins} queries`);
    const sorted = await gains();
    expect(sorted).toEqual([...sorted].sort((a, b) => b - a));
    await page.locator(".answer.tuned button").first().click();
    await expect.poll(() => page.locator(".credit tr").count()).toBeGreaterThan(1);
  });

  it("tries a query on every policy", async () => {
    const page = await openPage("#/try?run=second");
    await page.getByRole("searchbox").fill("user");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.locator(".trial .answer").count()).toBe(3);
    expect(await page.locator(".trial .query").allTextContents()).toEqual(["user", "user icon", "user account"]);
    expect(await page.locator(".answer.tuned .hits li").count()).toBe(3);
  });

  it("says why there is no answer of the tuned policy", async () => {
    const page = await openPage("#/try?run=second");
    dashboard.playground.hasCheckpoint = false;
    try {
      await page.getByRole("searchbox").fill("user");
      await page.keyboard.press("Enter");
      await expect.poll(() => page.getByRole("button", { name: "Ask", exact: true }).count()).toBe(1);
      await expect.poll(() => page.locator(".trial .answer").count()).toBe(2);
      await expect.poll(() => page.locator(".trial > .meta").textContent()).toBe("This run has no checkpoint yet.");
    } finally {
      dashboard.playground.hasCheckpoint = true;
    }
    await page.keyboard.press("Enter");
    await expect.poll(() => page.locator(".trial .answer").count()).toBe(3);
    await expect.poll(() => page.locator(".trial > .meta").textContent()).toBe("");
  });

  it("keeps what is shown when the list of runs can't be read for once", async () => {
    const page = await openPage("#/try?run=second");
    await page.clock.install();
    await page.reload();
    await page.getByRole("searchbox").fill("user");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.locator(".trial .answer").count()).toBe(3);
    // A reply that was cut off.
    await page.route("**/api/runs?*", (route) => route.fulfill({ body: "[" }));
    await page.clock.fastForward(10_000);
    await expect.poll(() => page.locator(".runs [role=alert]").count()).toBe(1);
    expect(await page.getByRole("searchbox").inputValue()).toBe("user");
    expect(await page.locator(".trial .answer").count()).toBe(3);
    expect(await page.locator(".runs li").count()).toBeGreaterThan(1);
    await page.unroute("**/api/runs?*");
    await page.clock.fastForward(10_000);
    await expect.poll(() => page.locator(".runs [role=alert]").count()).toBe(0);
  });

  it("marks suspects with their reasons, and leads to them", async () => {
    const page = await openPage("#/warnings?run=second");
    await page.locator(".suspects li").first().waitFor();
    await settle(page);
    expect(await page.getByRole("heading", { name: /Repeated text \(\d+\)/ }).count()).toBe(1);
    expect(await page.locator(".suspects .reason").allTextContents()).toContainEqual(
      expect.stringMatching(/different words?/),
    );
    await page
      .getByRole("link", { name: /in the evaluation/ })
      .first()
      .click();
    await expect.poll(() => page.locator(".compared").count()).toBe(1);
  });

  it("can be used by keyboard alone", async () => {
    const page = await openPage("#/curves?run=second");
    await settle(page);
    for (const [i, view] of views.entries()) {
      await page.keyboard.press(String(i + 1));
      await expect.poll(() => page.url()).toContain(`#/${view}?`);
      await settle(page);
      await page.evaluate(() => (document.activeElement as unknown as { blur: () => void }).blur());
      const reached = new Set<string>();
      for (let tab = 0; tab < 18; tab++) {
        await page.keyboard.press("Tab");
        const { name, outlined } = await page.evaluate(() => {
          const element = document.activeElement;
          return {
            name: `${element.tagName} ${element.className} ${element.id} ${element.textContent.slice(0, 20)}`,
            outlined: getComputedStyle(element).outlineStyle !== "none" || element === document.body,
          };
        });
        expect(outlined, `${view}: ${name} shows that it has the focus`).toBe(true);
        reached.add(name);
      }
      expect(reached.size, view).toBeGreaterThan(8);
      await page.evaluate(() => (document.activeElement as unknown as { blur: () => void }).blur());
    }
    await page.keyboard.press("2");
    await page.locator(".row").first().waitFor();
    const open = (): Promise<string | null> => page.locator(".group h2").textContent();
    const first = await open();
    await page.keyboard.press("j");
    await expect.poll(open).not.toBe(first);
    await page.keyboard.press("[");
    await expect.poll(() => page.url()).toContain("step=39");
    await page.keyboard.press("/");
    expect(await page.evaluate(() => document.activeElement.id)).toBe("find");
    await page.keyboard.type("3");
    expect(page.url()).toContain("#/rollouts");
    await page.locator("h1").click();
    await page.keyboard.press("?");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await expect.poll(() => page.getByRole("dialog").count()).toBe(0);
  });

  it("is light or dark, as the system or the reader says", async () => {
    const ground = (page: Page): Promise<string> =>
      page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const page = await openPage("", { colorScheme: "dark" });
    expect(await ground(page)).toBe("rgb(20, 22, 23)");
    await page.keyboard.press("t");
    await expect.poll(() => ground(page)).toBe("rgb(251, 251, 250)");
    await page.reload();
    await page.locator("main > *").first().waitFor();
    expect(await ground(page)).toBe("rgb(251, 251, 250)");
  });

  it.each([320, 390, 700])("fits a width of %i without scrolling sideways", async (width) => {
    const page = await openPage("#/curves?run=second", { viewport: { width, height: 800 } });
    for (const view of views) {
      await page.goto(`${dashboard.url}/#/${view}?run=second&step=40`);
      await settle(page);
      expect(await page.evaluate(() => document.documentElement.scrollWidth), view).toBe(width);
    }
  });

  it.each(["light", "dark"] as const)("has no serious findings of axe in %s", async (colorScheme) => {
    const page = await openPage("#/curves?run=second", { colorScheme });
    // Set by the test and not by the page, which allows no script but its own.
    const serious: string[] = [];
    for (const view of views) {
      await page.goto(`${dashboard.url}/#/${view}?run=second&run=first&step=40`);
      await settle(page);
      if (view === "rollouts") await page.getByRole("button", { name: "Token by token" }).click();
      await page.evaluate(axe);
      // What colours change is contrast alone.
      const runOnly = colorScheme === "light" ? ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"] : ["color-contrast"];
      const { violations } = await page.evaluate((only) => window.axe.run(document, { runOnly: only }), runOnly);
      for (const { id, impact, nodes } of violations) {
        if (!["serious", "critical"].includes(impact)) continue;
        serious.push(`${view}: ${id}: ${nodes[0]?.html.slice(0, 160)} ${nodes[0]?.failureSummary.slice(0, 300)}`);
      }
    }
    expect(serious).toEqual([]);
  });

  it("shows hostile text as text", async () => {
    const page = await openPage("#/rollouts?run=hostile");
    for (const view of views) {
      await page.goto(`${dashboard.url}/#/${view}?run=hostile${view === "compare" ? "&filter=all" : ""}`);
      await settle(page);
      expect(
        await page.locator("main script, main img, main iframe, main a[href^='javascript'], main base").count(),
        view,
      ).toBe(0);
    }
    await page.goto(`${dashboard.url}/#/compare?run=hostile&filter=all`);
    await page.locator(".hits .title").first().waitFor();
    const titles = await page.locator(".hits .title").allTextContents();
    expect(titles.length).toBeGreaterThan(20);
    for (const title of titles) expect(attacks).toContain(title);
    expect(await page.title()).toBe("hostile · Before and after · rec-r1");
  });
});
