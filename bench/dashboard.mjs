// The dashboard on a large run: writes one by the real writer of run folders, then measures what a reader waits for.
// Options: --steps N (2000), --prompts N (25), --group-size N (10), --repeats N (5), --runs FOLDER (keeps the run there,
// and measures the one that is there already).
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createJiti } from "jiti";
import { startDashboard } from "../dist/server/dashboard/dashboard.js";
import { median, numberOption, textOption } from "./parts/statistics.mjs";

const jiti = createJiti(import.meta.url);

const milliseconds = (values) => Math.round(median(values));

/** Bytes of a folder. */
async function sizeOf(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

export async function run(args, say) {
  const steps = numberOption(args, "steps", 2_000);
  const promptsPerStep = numberOption(args, "prompts", 25);
  const groupSize = numberOption(args, "group-size", 10);
  const repeats = numberOption(args, "repeats", 5);
  const [{ writeSyntheticRun }, { findChromium, startChromium }] = await Promise.all([
    jiti.import("../test/support/synthetic-run.ts"),
    jiti.import("../test/eval/browser.ts"),
  ]);
  const chromium = findChromium();
  if (!chromium) throw new Error("No Chromium found; set CHROMIUM_PATH to one.");
  const kept = textOption(args, "runs", "");
  const root = kept || (await mkdtemp(join(tmpdir(), "rec-r1-bench-dashboard-")));
  try {
    const runs = root;
    if (!existsSync(join(runs, "large"))) {
      say(`writing a run of ${steps} steps`);
      await writeSyntheticRun(join(runs, "large"), {
        steps,
        promptsPerStep,
        groupSize,
        evaluated: 700,
        onStep: (step) => step % 200 === 0 && say(`  step ${step}`),
      });
    }
    const rollouts = steps * promptsPerStep * groupSize;
    const figures = { steps, rollouts, run_mb: Math.round((await sizeOf(runs)) / 1e6) };
    const browser = await startChromium(chromium);
    const paints = [];
    const loads = [];
    const switches = { rollouts: [], compare: [] };
    const replies = { curves: [], group: [], search: [] };
    let memory = 0;
    try {
      for (let i = 0; i < repeats; i++) {
        // A server and a browser context of its own each time: nothing is known yet.
        const before = process.memoryUsage().rss;
        const dashboard = await startDashboard({
          runs,
          port: 0,
          openPlayground: () => Promise.reject(new Error("not here")),
        });
        const context = await browser.newContext({ viewport: { width: 1440, height: 1000 } });
        const page = await context.newPage();
        const start = performance.now();
        await page.goto(`${dashboard.url}/#/curves?run=large`);
        await page.waitForFunction(() => document.querySelectorAll(".chart canvas").length >= 10);
        loads.push(performance.now() - start);
        paints.push(
          await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Number.NaN),
        );
        for (const [view, shows] of [
          ["rollouts", ".card"],
          ["compare", ".compared"],
        ]) {
          const opened = performance.now();
          await page.goto(`${dashboard.url}/#/${view}?run=large`);
          await page.locator(shows).first().waitFor();
          switches[view].push(performance.now() - opened);
        }
        memory = Math.max(memory, process.memoryUsage().rss - before);
        const ask = async (path) => {
          const asked = performance.now();
          const reply = await fetch(`${dashboard.url}/api/${path}`);
          const body = await reply.json();
          if (!reply.ok) throw new Error(JSON.stringify(body));
          return { body, ms: performance.now() - asked };
        };
        replies.curves.push((await ask("curves?run=large")).ms);
        replies.group.push((await ask(`rollouts/groups?run=large&step=${1 + Math.floor(steps / 2) + i}`)).ms);
        const searched = performance.now();
        let found = 0;
        for (let cursor = ""; cursor !== null;) {
          const { body } = await ask(`rollouts/search?run=large&text=zzz-nowhere&limit=50&cursor=${cursor}`);
          found += body.matches.length;
          cursor = body.next;
        }
        if (found !== 0) throw new Error("The search found what is not there.");
        replies.search.push(performance.now() - searched);
        await context.close();
        await dashboard.close();
        say(`round ${i + 1}: curves after ${Math.round(loads.at(-1))} ms`);
      }
    } finally {
      await browser.close();
    }
    return {
      ...figures,
      first_paint_ms: milliseconds(paints),
      curves_ms: milliseconds(loads),
      curves_ms_max: Math.round(Math.max(...loads)),
      rollouts_ms: milliseconds(switches.rollouts),
      before_after_ms: milliseconds(switches.compare),
      curves_again_ms: milliseconds(replies.curves),
      one_step_ms: milliseconds(replies.group),
      search_of_all_ms: milliseconds(replies.search),
      server_growth_mb: Math.round(memory / 1e6),
    };
  } finally {
    if (!kept) await rm(root, { recursive: true, force: true });
  }
}
