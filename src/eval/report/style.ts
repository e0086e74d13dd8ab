/** The page's style sheet: one column, two colours besides ink, light and dark, narrow screens and paper. */
export const reportStyle = `
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --panel: #f4f4f0; --ink: #1b1c1e; --soft: #5d6168; --line: #e2e2dc; --track: #e6e6e0;
  --up: #0a6b5b; --up-wash: #d9efe9; --down: #a8431c; --down-wash: #f7e3d9; --level: #9a9ca0; --missed: #cfcfc9;
  font: 16px/1.55 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #141517; --panel: #1c1e21; --ink: #e9e9e6; --soft: #a0a4ab; --line: #2d3034; --track: #2a2d31;
    --up: #58c9b3; --up-wash: #173c36; --down: #f09a73; --down-wash: #452619; --level: #7d8188; --missed: #43474d;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0 auto; max-width: 70rem; padding: clamp(1.25rem, 4vw, 3.5rem) clamp(1rem, 4vw, 3rem);
  background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
}
h1, h2, h3, h4, p, ol, ul, figure { margin: 0; padding: 0; font-weight: inherit; font-size: inherit; }
ol, ul { list-style: none; }
b, th { font-weight: 600; }
a { color: inherit; text-underline-offset: 0.2em; text-decoration-color: var(--level); }
a:hover { text-decoration-color: currentColor; }
:focus-visible { outline: 2px solid var(--up); outline-offset: 3px; border-radius: 3px; }
[tabindex="-1"]:focus { outline: none; }
[hidden] { display: none !important; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--paper); padding: 0.3rem 0.6rem; z-index: 2; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.sheet { position: absolute; width: 0; height: 0; overflow: hidden; }
.note, .over, .lead, small { color: var(--soft); }
.note { font-size: 0.875rem; max-width: 46rem; }
.number, .figure, .score, .change, .tick, .readout { font-variant-numeric: tabular-nums; }

.over { font-size: 0.8125rem; margin-bottom: 0.5rem; }
h1 { font-size: clamp(1.75rem, 1.2rem + 2.4vw, 2.625rem); font-weight: 650; line-height: 1.12; letter-spacing: -0.022em; }
.lead { max-width: 44rem; margin-top: 0.5rem; }
.notice { max-width: 44rem; margin-top: 0.875rem; padding: 0.625rem 0.875rem; border-left: 3px solid var(--down); background: var(--panel); }
h1 + .lead { margin-top: 0.875rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin-top: 1.25rem; font-size: 0.875rem; }
main > section { margin-top: clamp(2.25rem, 5vw, 3.5rem); }
main > section + section { border-top: 1px solid var(--line); padding-top: clamp(1.5rem, 3vw, 2.25rem); }
h2 { font-size: 1.375rem; font-weight: 650; letter-spacing: -0.012em; line-height: 1.25; margin-bottom: 0.375rem; }
h3 { font-weight: 600; }

.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1.5rem clamp(1.25rem, 3vw, 2.5rem); }
.figures .name { font-weight: 600; font-size: 0.9375rem; }
.figures .figure { font-size: clamp(2.5rem, 1.6rem + 3vw, 3.5rem); line-height: 1.15; font-weight: 400; letter-spacing: -0.035em; }
.figures .focus .figure { font-weight: 650; color: var(--up); }
.figures .note { margin-top: 0.5rem; }
.bar { display: block; width: 100%; height: 4px; }
.bar .track { fill: var(--track); }
.bar .fill { fill: var(--level); }
.focus .bar .fill { fill: var(--up); }
.verdict { margin-top: 1.75rem; max-width: 44rem; font-size: 1.0625rem; }
.verdict + .note { margin-top: 0.625rem; }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.5rem 2.5rem; margin: 1.25rem 0 1rem; }
.chart { max-width: 34rem; }
.chart figcaption { font-size: 0.9375rem; font-weight: 600; margin-bottom: 0.375rem; }
.chart svg { display: block; width: 100%; height: auto; touch-action: pan-y; }
.grid { stroke: var(--line); stroke-width: 1; }
.tick { fill: var(--soft); font-size: 12.5px; }
.reference { stroke: var(--soft); stroke-width: 1.25; stroke-dasharray: 5 4; }
.reference-label { fill: var(--soft); font-size: 12.5px; paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
.line { fill: none; stroke: var(--up); stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
.faint { fill: none; stroke: var(--level); stroke-width: 1; opacity: 0.7; }
.dot { fill: var(--up); }
.target { fill: transparent; }
.cursor { stroke: var(--level); stroke-width: 1; }
.cursor-dot { fill: var(--paper); stroke: var(--up); stroke-width: 2.5; }
.readout { font-size: 0.875rem; color: var(--soft); }

.scroll { overflow-x: auto; margin-top: 1.25rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.9375rem; }
th, td { padding: 0.5rem 1rem 0.5rem 0; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: 0; }
thead th { font-size: 0.8125rem; color: var(--soft); font-weight: 500; white-space: nowrap; overflow-wrap: normal; }
tbody th { font-weight: 500; min-width: 6rem; }
.number { text-align: right; white-space: nowrap; }
.plot { width: 11rem; }
.interval { display: block; width: 10rem; height: 1.25rem; }
.interval .dot, .interval .whisker { fill: var(--soft); stroke: var(--soft); }
.interval .whisker { stroke-width: 2.5; stroke-linecap: round; }
.focus .interval .dot, .focus .interval .whisker { fill: var(--up); stroke: var(--up); }
table .focus b, table .focus th { color: var(--up); }
.scroll + .note { margin-top: 0.625rem; }
details > summary { cursor: pointer; font-size: 0.9375rem; padding: 0.5rem 0; width: fit-content; color: var(--soft); }
details > summary:hover { color: var(--ink); }

.swatch { display: inline-block; width: 0.6875rem; height: 0.6875rem; border-radius: 2px; margin-right: 0.4375rem; }
.swatch.better, .shares .better { background: var(--up); fill: var(--up); }
.swatch.worse, .shares .worse { background: var(--down); fill: var(--down); }
.swatch.same, .shares .same { background: var(--level); fill: var(--level); }
.swatch.missed, .shares .missed { background: var(--missed); fill: var(--missed); }
.legend .swatch.found { width: 1.125rem; height: 1.125rem; border-radius: 4px; background: var(--up-wash); box-shadow: inset 0 0 0 1.5px var(--up); vertical-align: -0.25rem; margin: 0 0.125rem; }
.shares { margin-top: 1.25rem; }
.shares > svg { display: block; width: 100%; height: 10px; }
.shares ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.5rem; margin-top: 0.625rem; font-size: 0.9375rem; }
.shares a { text-decoration: none; }
.shares a:hover { text-decoration: underline; }
.controls { display: flex; flex-wrap: wrap; gap: 0.75rem 1.25rem; align-items: center; margin-top: 1.25rem; font-size: 0.875rem; color: var(--soft); }
.controls label { white-space: nowrap; display: inline-flex; align-items: center; gap: 0.5rem; }
.controls input, .controls select { font: inherit; color: var(--ink); background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 0.375rem 0.625rem; min-width: 0; }
.controls input { width: 16rem; max-width: 100%; }
.group { margin-top: 2rem; scroll-margin-top: 1rem; }
.group h3 { font-size: 1.125rem; }
.cases { margin-top: 0.75rem; }
.case {
  display: grid; grid-template-columns: auto 1fr auto; gap: 0.625rem 0.875rem; align-items: center;
  padding: 1rem 0; border-top: 1px solid var(--line); content-visibility: auto; contain-intrinsic-size: auto 12rem;
}
details > .cases { margin-top: 0.25rem; }
.want { display: flex; gap: 0.25rem; }
.want:empty { display: none; }
.want:empty + .ask { grid-column: 1 / 3; }
.want svg { display: block; width: 2.5rem; height: 2.5rem; fill: currentColor; }
.ask h4 { font-size: 1.0625rem; font-weight: 600; line-height: 1.3; }
.ask h4, .wrote { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden; }
.ask p { font-size: 0.875rem; color: var(--soft); line-height: 1.35; }
.change { font-size: 0.875rem; color: var(--soft); text-align: right; white-space: nowrap; }
.change b { display: inline-block; min-width: 3.25rem; padding: 0.0625rem 0.4375rem; margin-left: 0.375rem; border-radius: 99px; text-align: center; background: var(--panel); }
.change.up b { color: var(--up); background: var(--up-wash); }
.change.down b { color: var(--down); background: var(--down-wash); }
.answers { grid-column: 1 / -1; display: grid; gap: 0.3125rem; }
.answer { display: grid; grid-template-columns: 8.5rem minmax(0, 1fr) auto 4.75rem; gap: 0 1rem; align-items: center; font-size: 0.875rem; color: var(--soft); }
.answer.focus, .answer.focus .wrote { color: var(--ink); }
.answer.focus .who { font-weight: 600; }
.wrote { line-height: 1.35; }
.answer:has(.titled) { align-items: start; }
.hits.pictured { display: block; width: 20rem; fill: currentColor; }
.hits .found { color: var(--up); }
.hits .found rect { fill: var(--up-wash); stroke: var(--up); stroke-width: 1.5; }
.hits.titled { width: 25rem; list-style: decimal inside; }
.hits.titled li { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.hits.titled .found { font-weight: 600; }
em.hits { width: 20rem; }
.score { text-align: right; line-height: 1.2; }
.score small { display: block; font-size: 0.75rem; }

.learned { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem 2rem; margin-top: 1.25rem; }
.learned i { font-style: normal; color: var(--level); }
.learned .from { color: var(--soft); }
.commands { margin-top: 1rem; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 0.875rem 1rem; }
code { font: 0.875rem/1.7 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; user-select: all; }
.commands li::before { content: "$ "; color: var(--level); font: 0.875rem/1.7 ui-monospace, Menlo, Consolas, monospace; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 2rem 3rem; margin-top: 1.75rem; align-items: start; }
.columns th { color: var(--soft); font-weight: 400; }
.columns table { font-size: 0.875rem; margin-top: 0.375rem; }
.columns th, .columns td { padding-top: 0.3125rem; padding-bottom: 0.3125rem; }
.columns .total th, .columns .total td { color: var(--ink); font-weight: 600; border-bottom: 0; }

@media print, screen and (min-width: 34rem) { .settings th { white-space: nowrap; overflow-wrap: normal; } }
@media screen and (max-width: 52rem) {
  .answer { grid-template-columns: minmax(0, 1fr) auto; gap: 0.125rem 0.75rem; padding: 0.25rem 0; }
  .answer .who { font-size: 0.75rem; }
  .answer .wrote { grid-column: 1 / -1; }
  .answer .who + .wrote { grid-row: 2; }
  .answer .hits { grid-column: 1 / -1; grid-row: 3; }
  .hits.pictured { width: 100%; max-width: 21rem; }
  .hits.titled { width: auto; }
  .answer .score { grid-row: 1; grid-column: 2; display: flex; gap: 0.5rem; align-items: baseline; }
  .case { contain-intrinsic-size: auto 19rem; }
}
@media screen and (max-width: 34rem) {
  .figures { grid-template-columns: 1fr; gap: 1.25rem; }
  .pairs, .pairs tbody { display: block; }
  .pairs thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .pairs tr { display: grid; grid-template-columns: auto auto 1fr; gap: 0.25rem 1.5rem; padding: 0.625rem 0; border-bottom: 1px solid var(--line); }
  .pairs th, .pairs td { border: 0; padding: 0; text-align: left; }
  .pairs th { grid-column: 1 / -1; }
  .pairs td::before { content: attr(data-name); display: block; font-size: 0.75rem; color: var(--soft); }
  .plot { display: none; }
  .tick, .reference-label { font-size: 15px; }
  th, td { padding-right: 0.75rem; }
  .case { grid-template-columns: auto 1fr; align-items: start; }
  .change { grid-column: 1 / -1; text-align: left; }
  .controls label, .controls input, .controls select { width: 100%; }
}
@media print {
  @page { margin: 15mm; }
  :root { --paper: #fff; font-size: 9pt; }
  body { padding: 0; max-width: none; }
  .charts { grid-template-columns: 1fr 1fr; }
  .figures { grid-template-columns: repeat(3, 1fr); }
  nav, .controls, .skip, .readout, details:not([open]) { display: none !important; }
  section, .case, .chart, tr, .learned li { break-inside: avoid; }
  main > section, .group { break-inside: auto; }
  h2, h3 { break-after: avoid; }
  .case { content-visibility: visible; }
  .swatch, .found, .change b, .bar rect, .shares rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
`;
