/**
 * Before and after, query by query: the examples sorted into better, worse, equal and never found, and drawn as rows
 * that show what every system asked and what came back.
 */
import {
  countNoun,
  foreignText,
  formatDifference,
  formatScore,
  groupDigits,
  html,
  type Html,
  type PictureSheet,
} from "./html.ts";
import type { ReportAnswer, ReportData, ReportExample, ReportItem } from "./report-data.ts";

/** Rows of a group that are there at once; the rest is behind a disclosure. */
export const openRows = 8;

const mostPictures = 10;
const mostTitles = 5;
const mostRelevant = 3;

export interface ExampleGroup {
  id: "better" | "worse" | "same" | "missed";
  title: string;
  /** One sentence below the title. */
  note: string;
  examples: readonly ReportExample[];
}

/** The examples by what the focus made of them against the baseline, the largest changes first. */
export function groupExamples(data: ReportData): ExampleGroup[] {
  const focus = upperFirst(phraseOf(data, data.focus));
  const baseline = phraseOf(data, data.baseline);
  const change = (example: ReportExample): number =>
    (example.answers[data.focus]?.metric ?? NaN) - (example.answers[data.baseline]?.metric ?? NaN);
  const compared = data.examples.filter((example) => Number.isFinite(change(example)));
  const select = (keep: (difference: number, example: ReportExample) => boolean): ReportExample[] =>
    compared
      .filter((example) => keep(change(example), example))
      .sort((a, b) => Math.abs(change(b)) - Math.abs(change(a)));
  const equal = 1e-9;
  const missed = (example: ReportExample): boolean => (example.answers[data.focus]?.metric ?? 0) <= equal;
  return [
    {
      id: "better",
      title: "Better",
      note: `${focus} scored higher than ${baseline}. Largest gains first.`,
      examples: select((d) => d > equal),
    },
    {
      id: "worse",
      title: "Worse",
      note: `${focus} scored lower than ${baseline}. Largest losses first.`,
      examples: select((d) => d < -equal),
    },
    {
      id: "same",
      title: "Same",
      note: "Both found it at the same rank.",
      examples: select((d, example) => Math.abs(d) <= equal && !missed(example)),
    },
    {
      id: "missed",
      title: "Still not found",
      note: "Neither found what was wanted.",
      examples: select((d, example) => Math.abs(d) <= equal && missed(example)),
    },
  ];
}

/** `name` of a system, or its id where the report has no such system. */
export function nameOf(data: ReportData, id: string): string {
  return data.systems.find((system) => system.id === id)?.name ?? id;
}

/** What the system is called within a sentence. */
export function phraseOf(data: ReportData, id: string): string {
  return data.systems.find((system) => system.id === id)?.phrase ?? nameOf(data, id);
}

/** A phrase as the beginning of a sentence. */
export function upperFirst(phrase: string): string {
  return phrase.charAt(0).toUpperCase() + phrase.slice(1);
}

/** The whole part of the page: the shares, the controls, the four groups. */
export function drawExamples(data: ReportData, groups: readonly ExampleGroup[], sheet: PictureSheet): Html {
  const total = groups.reduce((sum, group) => sum + group.examples.length, 0);
  if (total === 0) return html``;
  return html`<section id="examples" aria-labelledby="examples-title">
    <h2 id="examples-title">Before and after, query by query</h2>
    <p class="note">
      ${countNoun(total, "query", "queries")}.
      <span class="legend">
        <span class="swatch found" aria-hidden="true"></span> marks what was wanted; hover over a picture for its name.
      </span>
    </p>
    ${drawShares(groups, total)}
    <div class="controls" hidden>
      <label>Find <input type="search" id="find" placeholder="words or an item’s name" autocomplete="off" /></label>
      <label>
        Order
        <select id="order">
          <option value="change">largest change first</option>
          <option value="words">by the user’s words</option>
          <option value="after">best score after first</option>
        </select>
      </label>
      <output id="found" for="find" aria-live="polite"></output>
    </div>
    ${groups.map((group) => drawGroup(data, group, sheet))}
  </section>`;
}

/** The four groups as one bar and four links. */
function drawShares(groups: readonly ExampleGroup[], total: number): Html {
  let start = 0;
  return html`<div class="shares">
    <svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">
      ${groups.map(({ id, examples }) => {
        const length = Math.round((examples.length / total) * 1000);
        const bar = html`<rect class="${id}" x="${start}" width="${Math.max(0, length - 3)}" height="10" />`;
        start += length;
        return bar;
      })}
    </svg>
    <ul>
      ${groups.map(
        ({ id, title, examples }) =>
          html`<li>
            <a href="#${id}"
              ><span class="swatch ${id}" aria-hidden="true"></span>${title} <b>${groupDigits(examples.length)}</b></a
            >
          </li>`,
      )}
    </ul>
  </div>`;
}

function drawGroup(data: ReportData, group: ExampleGroup, sheet: PictureSheet): Html {
  const { id, title, note, examples } = group;
  // Gains and losses are equally in sight; what did not change is one step away.
  const open = id === "better" || id === "worse" ? openRows : 0;
  const rest = examples.length - open;
  const rows = examples.map((example) => drawExample(data, example, sheet));
  return html`<section class="group ${id}" id="${id}" aria-labelledby="${id}-title" tabindex="-1">
    <h3 id="${id}-title">
      <span class="swatch ${id}" aria-hidden="true"></span>${title} <b>${groupDigits(examples.length)}</b>
    </h3>
    <p class="note">${examples.length > 0 ? note : "None."}</p>
    ${
      open > 0 &&
      examples.length > 0 &&
      html`<ol class="cases">
        ${rows.slice(0, open)}
      </ol>`
    }
    ${
      rest > 0 &&
      html`<details>
        <summary>Show ${open > 0 ? `the other ${groupDigits(rest)}` : `all ${groupDigits(rest)}`}</summary>
        <ol class="cases">
          ${rows.slice(open)}
        </ol>
      </details>`
    }
  </section>`;
}

function drawExample(data: ReportData, example: ReportExample, sheet: PictureSheet): Html {
  const relevantIds = new Set(example.relevant.map(({ id }) => id));
  const after = example.answers[data.focus]?.metric ?? 0;
  const before = example.answers[data.baseline]?.metric ?? 0;
  const direction = after - before > 1e-9 ? "up" : after - before < -1e-9 ? "down" : "level";
  const wanted = example.relevant.slice(0, mostRelevant);
  const pictures = wanted
    .map(({ picture, title }) => sheet.draw(picture, title))
    .filter((drawn) => drawn !== undefined);
  const more = example.relevant.length - wanted.length;
  return html`<li class="case" data-change="${after - before}" data-after="${after}">
    <div class="want">${pictures}</div>
    <div class="ask">
      <h4 class="words">${foreignText(example.query)}</h4>
      <p>
        wanted:
        ${wanted.map(({ title }, i) => html`${i > 0 && ", "}<span class="words">${foreignText(title, 120)}</span>`)}
        ${more > 0 && html` and ${countNoun(more, "other", "others")}`}
      </p>
    </div>
    <p class="change ${direction}">
      <span>${formatScore(before, 2)} → ${formatScore(after, 2)}</span> <b>${formatDifference(after - before, 2)}</b>
    </p>
    <div class="answers">
      ${data.systems.map((system) => {
        const answer = example.answers[system.id];
        const focused = system.id === data.focus;
        return html`<div class="answer${focused ? " focus" : ""}">
          <span class="who">${system.name}</span>
          ${answer ? drawAnswer(answer, relevantIds, sheet) : html`<em class="wrote">failed on this query; not counted</em>`}
        </div>`;
      })}
    </div>
  </li>`;
}

function drawAnswer(answer: ReportAnswer, relevantIds: ReadonlySet<string>, sheet: PictureSheet): Html {
  const rank = answer.hits.findIndex(({ id }) => relevantIds.has(id)) + 1;
  const wrote =
    answer.query === null
      ? html`<em class="wrote">no query in the answer</em>`
      : html`<span class="wrote words">${foreignText(answer.query)}</span>`;
  return html`${wrote} ${drawHits(answer.hits, relevantIds, sheet)}
    <p class="score">${formatScore(answer.metric, 2)} <small>${rank > 0 ? `rank ${rank}` : "not there"}</small></p>`;
}

function drawHits(hits: readonly ReportItem[], relevantIds: ReadonlySet<string>, sheet: PictureSheet): Html {
  if (hits.length === 0) return html`<em class="hits">no hits</em>`;
  const items = hits.map(({ id, title, picture }) => {
    const found = relevantIds.has(id);
    return { picture, found, title: found ? `${title} (wanted)` : title };
  });
  const titles = items
    .slice(0, mostTitles)
    .map(({ title, found }) => html`<li class="${found ? "found" : "other"}">${foreignText(title, 120)}</li>`);
  return (
    sheet.drawRow(items.slice(0, mostPictures), mostPictures) ??
    html`<ol class="hits titled">
      ${titles}
    </ol>`
  );
}
