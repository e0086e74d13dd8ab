/**
 * The report: one HTML file that holds everything it shows, asks the network for nothing and may run no script but its
 * own. Made to be mailed to a colleague, opened from disk and printed.
 */
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { writeFileAtomic } from "../../core/atomic-write.ts";
import { DataError } from "../../core/errors.ts";
import { drawExamples, groupExamples } from "./examples.ts";
import { escapeText, html, Html, PictureSheet } from "./html.ts";
import type { ReportData } from "./report-data.ts";
import { reportScript } from "./script.ts";
import { drawCurve, drawHeadline, drawLearned, drawMaking, drawSystems } from "./sections.ts";
import { reportStyle } from "./style.ts";

/**
 * The whole page as HTML text.
 *
 * @throws DataError when `focus`, `baseline` or a comparison names no system of the report.
 */
export function renderReport(data: ReportData): string {
  checkSystems(data);
  const sheet = new PictureSheet();
  const groups = groupExamples(data);
  const examples = drawExamples(data, groups, sheet);
  const sections = [
    drawHeadline(data),
    drawCurve(data),
    drawSystems(data),
    examples,
    drawLearned(data),
    drawMaking(data),
  ];
  const policy = [
    "default-src 'none'",
    `style-src ${hashSource(reportStyle)}`,
    `script-src ${hashSource(reportScript)}`,
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const when = data.when.toISOString();
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content="${policy}" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <meta name="referrer" content="no-referrer" />
        <meta name="generator" content="rec-r1" />
        <title>${data.title}</title>
        <link rel="icon" href="data:," />
        ${new Html(`<style>${reportStyle}</style>`)}
      </head>
      <body>
        <a class="skip" href="#content">To the content</a>
        <header class="top">
          <p class="over">rec-r1 report · <time datetime="${when}">${formatDate(data.when)}</time></p>
          <h1>${data.title}</h1>
          ${data.subtitle.map((line) => html`<p class="lead">${line}</p>`)}
          ${data.notice !== undefined && html`<p class="notice">${data.notice}</p>`} ${drawContents(sections)}
        </header>
        <main id="content" tabindex="-1">${sections}</main>
        ${sheet.symbols()} ${new Html(`<script>${reportScript}</script>`)}
      </body>
    </html>`;
  return `${page.text}\n`;
}

/** Links to the sections that the page has. */
function drawContents(sections: readonly Html[]): Html {
  const links: readonly [id: string, name: string][] = [
    ["curve", "Training"],
    ["systems", "Comparison"],
    ["better", "Better"],
    ["worse", "Worse"],
    ["learned", "What it learnt"],
    ["making", "How to reproduce"],
  ];
  const text = sections.map((section) => section.text).join("");
  const present = links.filter(([id]) => text.includes(`id="${escapeText(id)}"`));
  return html`<nav aria-label="Contents">
    <ul>
      ${present.map(([id, name]) => html`<li><a href="#${id}">${name}</a></li>`)}
    </ul>
  </nav>`;
}

function checkSystems(data: ReportData): void {
  const ids = new Set(data.systems.map(({ id }) => id));
  if (ids.size === 0 && data.comparisons.length === 0) return;
  const used = [data.focus, data.baseline, ...data.comparisons.flatMap(({ system, baseline }) => [system, baseline])];
  const unknown = used.find((id) => !ids.has(id));
  if (unknown === undefined) return;
  throw new DataError(
    "REPORT_SYSTEM",
    `The report compares system "${unknown}", which is none of its systems (${[...ids].join(", ") || "it has none"}).`,
  );
}

function hashSource(text: string): string {
  return `'sha256-${createHash("sha256").update(text, "utf8").digest("base64")}'`;
}

function formatDate(when: Date): string {
  return `${when.toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short", timeZone: "UTC" })} UTC`;
}

/**
 * Renders the report and puts it at `path`, folders included: the file is there whole or not at all, and an older
 * report stays until the new one is complete.
 *
 * @returns the file's absolute path.
 * @throws DataError as {@link renderReport}; RecR1Error with the path when the file can't be written.
 */
export async function writeReport(path: string, data: ReportData): Promise<string> {
  const target = resolve(path);
  await writeFileAtomic(target, renderReport(data));
  return target;
}
