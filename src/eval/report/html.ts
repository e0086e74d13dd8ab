/**
 * Markup in which nothing becomes a tag by accident: the `html` template escapes every value that is not markup made by
 * `html` itself. Pictures from a catalogue pass through {@link PictureSheet}, which lets only path data through.
 */
import type { ReportPicture } from "./report-data.ts";

/** Markup that is safe to place in a page as it is. Only this module's functions make it. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type HtmlValue = Html | string | number | undefined | null | false | readonly HtmlValue[];

/** Markup with values filled in: text is escaped, lists are joined, `undefined`, `null` and `false` are left out. */
export function html(strings: TemplateStringsArray, ...values: HtmlValue[]): Html {
  let parts = trimmed.get(strings);
  if (!parts) trimmed.set(strings, (parts = strings.map((part) => part.replace(/\n\s+/g, "\n"))));
  let text = parts[0] ?? "";
  values.forEach((value, i) => {
    text += renderValue(value) + (parts[i + 1] ?? "");
  });
  return new Html(text);
}

/** Templates without the indentation that is theirs in the source, which would be a third of a large page. */
const trimmed = new WeakMap<TemplateStringsArray, readonly string[]>();

function renderValue(value: HtmlValue): string {
  if (value === undefined || value === null || value === false) return "";
  if (value instanceof Html) return value.text;
  if (typeof value === "string" || typeof value === "number") return escapeText(String(value));
  return value.map(renderValue).join("");
}

const escapes: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** `text` for element content and quoted attributes; control characters that HTML forbids become U+FFFD. */
export function escapeText(text: string): string {
  return text

    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\ufffe\uffff]/g, "\ufffd")
    .replace(/[&<>"']/g, (character) => escapes[character] as string);
}

/**
 * Text that a person, model or catalogue wrote: its reading direction kept apart from the page's, whitespace folded,
 * and past `maxLength` characters cut, saying by how much.
 */
export function foreignText(text: string, maxLength = 400): Html {
  const characters = Array.from(text.replace(/\s+/gu, " ").trim());
  const rest = characters.length - maxLength;
  if (rest <= 0) return html`<bdi>${characters.join("")}</bdi>`;
  return html`<bdi>${characters.slice(0, maxLength).join("")}…</bdi>
    <small>(${groupDigits(rest)} more characters)</small>`;
}

/** `1234567` as `1,234,567`. */
export function groupDigits(count: number): string {
  return count.toLocaleString("en-US");
}

/** `count` with its noun, `1 query`, `1,200 queries`. */
export function countNoun(count: number, singular: string, plural: string): string {
  return `${groupDigits(count)} ${count === 1 ? singular : plural}`;
}

/** A score with `digits` decimals and a true minus sign; a dash where it isn't finite. */
export function formatScore(score: number, digits = 3): string {
  if (!Number.isFinite(score)) return "–";
  const text = score.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : text.replace("-", "−");
}

/** A difference with its sign. */
export function formatDifference(difference: number, digits = 3): string {
  const text = formatScore(difference, digits);
  return difference > 0 && Number(text) !== 0 ? `+${text}` : text;
}

/** `p < 0.0001` or `p = 0.031`. */
export function formatP(p: number): string {
  if (!Number.isFinite(p)) return "p unknown";
  if (p < 0.0001) return "p < 0.0001";
  return `p = ${p < 0.001 ? p.toFixed(4) : p.toFixed(3)}`;
}

/** Seconds as people say them: `850 ms`, `42 s`, `12 min 5 s`, `1 h 4 min`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const pathData = /^[MmZzLlHhVvCcSsQqTtAa0-9eE+\-.,\s]+$/;
const boxNumbers = /^\s*-?[\d.]+(?:[\s,]+-?[\d.]+){3}\s*$/;
const longestPath = 50_000;

/** Every picture of a page, each kept once and drawn wherever it is asked for. */
export class PictureSheet {
  readonly #ids = new Map<string, string>();
  readonly #symbols: Html[] = [];

  /** The picture by itself, named `title` for those who can't see it and on hover; nothing where it is no path data. */
  draw(picture: ReportPicture | undefined, title: string): Html | undefined {
    const id = this.#add(picture);
    return id === undefined
      ? undefined
      : html`<svg role="img">
          <title>${title}</title>
          <use href="#${id}" />
        </svg>`;
  }

  /** Pictures in a row, those marked `found` on a ground of their own; nothing unless every one can be drawn. */
  drawRow(
    items: readonly { picture: ReportPicture | undefined; title: string; found: boolean }[],
    slots: number,
  ): Html | undefined {
    const drawn = items.map((item) => ({ ...item, id: this.#add(item.picture) }));
    if (drawn.length === 0 || drawn.some(({ id }) => id === undefined)) return undefined;
    return html`<svg class="hits pictured" viewBox="0 0 ${slots * 32} 32" role="group" aria-label="Hits">
      ${drawn.map(({ id, title, found }, i) => {
        const use = html`<use href="#${id}" x="${i * 32 + 4}" y="4" width="24" height="24"
          ><title>${title}</title></use
        >`;
        return found
          ? html`<g class="found"><rect x="${i * 32 + 1}" y="1" width="30" height="30" rx="5" />${use}</g>`
          : use;
      })}
    </svg>`;
  }

  /** The id under which the sheet holds the picture. */
  #add(picture: ReportPicture | undefined): string | undefined {
    if (!picture || typeof picture.path !== "string") return undefined;
    const viewBox = picture.viewBox ?? "0 0 24 24";
    if (picture.path.length > longestPath || !pathData.test(picture.path) || !boxNumbers.test(viewBox))
      return undefined;
    const key = `${viewBox} ${picture.path}`;
    let id = this.#ids.get(key);
    if (id === undefined) {
      id = `p${this.#ids.size.toString(36)}`;
      this.#ids.set(key, id);
      this.#symbols.push(html`<symbol id="${id}" viewBox="${viewBox}"><path d="${picture.path}" /></symbol>`);
    }
    return id;
  }

  /** What the drawings refer to; goes into the page once. */
  symbols(): Html {
    return html`<svg class="sheet" aria-hidden="true">${this.#symbols}</svg>`;
  }
}
