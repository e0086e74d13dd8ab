/** How wide a text is on a terminal, which counts columns and not characters. */

const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;

function widthOf(char: string): number {
  if (/[\p{M}\u200b-\u200d\ufeff]/u.test(char)) return 0;
  return wide.test(char) ? 2 : 1;
}

/** Columns of a terminal that a text takes: two for wide characters, none for marks that combine. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const char of text) width += widthOf(char);
  return width;
}

/** The text's beginning that fits into `width` columns; an ellipsis ends it where something was cut off. */
export function fitToWidth(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let [kept, used] = ["", 0];
  for (const char of text) {
    used += widthOf(char);
    if (used > width - 1) break;
    kept += char;
  }
  return width < 1 ? "" : `${kept}…`;
}
