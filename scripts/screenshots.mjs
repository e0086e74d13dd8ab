// Pictures of the dashboard and of the report: npm run screenshots -- [FOLDER] [--runs RUNS] (FOLDER: runs/screenshots).
// Without --runs they are of runs that are made up. With it, of the two newest runs in RUNS, after `npm run build`; "Try it"
// then asks the run's own model, and a run's report.html is pictured where there is one. Printed: each file, and what the
// browser complained of.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { createJiti } from "jiti";
import { buildWeb } from "./build-web.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const jiti = createJiti(import.meta.url);
const [{ openExampleDashboard }, { findChromium, startChromium }, { buildIconReport }, { writeReport }] =
  await Promise.all([
    jiti.import("../test/server/dashboard/example-dashboard.ts"),
    jiti.import("../test/eval/browser.ts"),
    jiti.import("../test/eval/icon-report.ts"),
    jiti.import("../src/eval/report/report.ts"),
  ]);

const devices = {
  desktop: { viewport: { width: 1440, height: 1000 } },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
};

/** Addresses of the views, for one run and another beside it. */
function listViews(run, other, step) {
  const [shown, both] = [`run=${encodeURIComponent(run)}`, `run=${encodeURIComponent(other)}`];
  return {
    curves: `#/curves?${shown}`,
    overlay: `#/curves?${shown}&${both}`,
    rollouts: `#/rollouts?${shown}&step=${step}`,
    compare: `#/compare?${shown}&filter=worse`,
    gains: `#/compare?${shown}&filter=better`,
    try: `#/try?${shown}`,
    warnings: `#/warnings?${shown}`,
    config: `#/config?${shown}&${both}`,
  };
}

/** Clicks the first of what was found, where there is any. */
async function clickFirst(found) {
  if ((await found.count()) > 0) await found.first().click();
}

/** Brings a view to where there is something to see. */
async function prepare(page, view) {
  await page.waitForSelector("main > *");
  await page.waitForFunction(() => !document.querySelector("main .loading"));
  if (view === "rollouts") await clickFirst(page.getByRole("button", { name: "Token by token" }));
  if (view === "compare") await clickFirst(page.locator(".answer.tuned button"));
  if (view === "try") {
    await page.getByRole("searchbox").fill("user");
    await page.getByRole("button", { name: "Ask" }).click();
    await page.locator(".answer.tuned .hits").waitFor({ timeout: 240_000 });
  }
  await page.waitForFunction(() => !document.querySelector("main .loading"), undefined, { timeout: 240_000 });
  await page.waitForTimeout(300);
}

/** `rec-r1 dashboard RUNS` in a process of its own. */
async function openRealDashboard(runs) {
  const child = spawn(process.execPath, [here("../dist/cli/main.js"), "dashboard", runs, "--port", "0"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const url = await new Promise((found, failed) => {
    child.stdout.on("data", (chunk) => {
      const [address] = /http:\/\/\S+/.exec(String(chunk)) ?? [];
      if (address) found(address);
    });
    child.once("exit", (code) => failed(new Error(`rec-r1 dashboard ended with exit code ${code}`)));
  });
  return {
    url,
    close: async () => {
      child.kill("SIGINT");
      if (child.exitCode === null) await new Promise((done) => child.once("exit", done));
    },
  };
}

/** The two newest runs of a dashboard, one of them twice where there is only one; and a step with rollouts. */
async function chooseRuns(url) {
  const runs = await (await fetch(`${url}/api/runs`)).json();
  if (runs.length === 0) throw new Error("There are no runs to picture.");
  const [{ id }, other] = runs;
  const { steps } = await (await fetch(`${url}/api/rollouts/steps?run=${encodeURIComponent(id)}`)).json();
  return listViews(id, (other ?? runs[0]).id, steps.at(-1) ?? 0);
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { runs: { type: "string" } } });
const folder = resolve(positionals[0] ?? here("../runs/screenshots"));
const chromium = findChromium();
if (!chromium) throw new Error("No Chromium found; set CHROMIUM_PATH to one.");
const work = await mkdtemp(join(tmpdir(), "rec-r1-screenshots-"));
const browser = await startChromium(chromium);
let dashboard;
try {
  await mkdir(folder, { recursive: true });
  let views = listViews("second", "first", 40);
  let report = join(work, "report.html");
  if (values.runs === undefined) {
    await buildWeb(join(work, "pages"));
    dashboard = await openExampleDashboard(join(work, "runs"), { pagesDir: join(work, "pages") });
    await writeReport(report, buildIconReport());
  } else {
    dashboard = await openRealDashboard(values.runs);
    views = await chooseRuns(dashboard.url);
    report = join(values.runs, "report.html");
  }
  const told = (path) => process.stdout.write(`${path}\n`);
  for (const [device, options] of Object.entries(devices)) {
    for (const colorScheme of ["light", "dark"]) {
      const context = await browser.newContext({ ...options, colorScheme });
      const page = await context.newPage();
      const complain = (text) => process.stdout.write(`${device} ${colorScheme}: ${text}\n`);
      page.on("console", (message) => complain(message.text()));
      page.on("pageerror", (error) => complain(error.message));
      for (const [view, hash] of Object.entries(views)) {
        if (device === "phone" && colorScheme === "dark" && view !== "curves") continue;
        await page.goto("about:blank");
        await page.goto(`${dashboard.url}/${hash}`);
        await prepare(page, view);
        const path = join(folder, `${device}-${colorScheme}-${view}.png`);
        await page.screenshot({ path, fullPage: view === "curves" && device === "desktop" });
        told(path);
      }
      if (existsSync(report)) {
        await page.goto(pathToFileURL(resolve(report)).href);
        await page.screenshot({ path: join(folder, `${device}-${colorScheme}-report.png`) });
        told(join(folder, `${device}-${colorScheme}-report.png`));
        if (device === "desktop" && colorScheme === "light") {
          await page.screenshot({ path: join(folder, "report-whole.png"), fullPage: true });
          told(join(folder, "report-whole.png"));
          await page.pdf({ path: join(folder, "report.pdf"), format: "A4", printBackground: true });
          told(join(folder, "report.pdf"));
        }
      }
      await context.close();
    }
  }
} finally {
  await dashboard?.close();
  await browser.close();
  await rm(work, { recursive: true, force: true });
}
