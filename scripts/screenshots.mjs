// Pictures of the dashboard, of runs that are made up: node scripts/screenshots.mjs [FOLDER] (default: runs/screenshots).
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { createJiti } from "jiti";
import { buildWeb } from "./build-web.mjs";

const jiti = createJiti(import.meta.url);
const [{ openExampleDashboard }, { findChromium, startChromium }] = await Promise.all([
  jiti.import("../test/server/dashboard/example-dashboard.ts"),
  jiti.import("../test/eval/browser.ts"),
]);

const devices = {
  desktop: { viewport: { width: 1440, height: 1000 } },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
};
const views = {
  curves: "#/curves?run=second",
  overlay: "#/curves?run=second&run=first",
  rollouts: "#/rollouts?run=second&step=40",
  compare: "#/compare?run=second&filter=worse",
  gains: "#/compare?run=second&filter=better",
  try: "#/try?run=second",
  warnings: "#/warnings?run=second",
  config: "#/config?run=second&run=first",
};

/** Brings a view to where there is something to see. */
async function prepare(page, view) {
  await page.waitForSelector("main > *");
  if (view === "rollouts") await page.getByRole("button", { name: "Token by token" }).click();
  if (view === "compare") await page.locator(".answer.tuned button").first().click();
  if (view === "try") {
    await page.getByRole("searchbox").fill("user");
    await page.getByRole("button", { name: "Ask" }).click();
    await page.locator(".answer.tuned .hits").waitFor();
  }
  await page.waitForFunction(() => !document.querySelector("main .loading"));
  await page.waitForTimeout(300);
}

const folder = resolve(process.argv[2] ?? fileURLToPath(new URL("../runs/screenshots", import.meta.url)));
const chromium = findChromium();
if (!chromium) throw new Error("No Chromium found; set CHROMIUM_PATH to one.");
const work = await mkdtemp(join(tmpdir(), "rec-r1-screenshots-"));
const browser = await startChromium(chromium);
try {
  await mkdir(folder, { recursive: true });
  await buildWeb(join(work, "pages"));
  const dashboard = await openExampleDashboard(join(work, "runs"), { pagesDir: join(work, "pages") });
  for (const [device, options] of Object.entries(devices)) {
    for (const colorScheme of ["light", "dark"]) {
      const context = await browser.newContext({ ...options, colorScheme });
      const page = await context.newPage();
      for (const [view, hash] of Object.entries(views)) {
        if (device === "phone" && colorScheme === "dark" && view !== "curves") continue;
        await page.goto("about:blank");
        await page.goto(`${dashboard.url}/${hash}`);
        await prepare(page, view);
        const path = join(folder, `${device}-${colorScheme}-${view}.png`);
        await page.screenshot({ path, fullPage: view === "curves" && device === "desktop" });
        process.stdout.write(`${path}\n`);
      }
      await context.close();
    }
  }
  await dashboard.close();
} finally {
  await browser.close();
  await rm(work, { recursive: true, force: true });
}
