/** Tables as data, and their three renderings: for a terminal, Markdown and LaTeX. Knows nothing of what is in them. */
import { displayWidth } from "../../core/display-width.ts";

export interface Table {
  /** Above the table. */
  caption: string;
  headers: readonly string[];
  rows: readonly (readonly string[])[];
  /** How many columns from the left are text; the others are set flush right. Default 1. */
  textColumns?: number;
}

const isText = ({ textColumns = 1 }: Table, column: number): boolean => column < textColumns;

/** Aligned columns; control characters of names become spaces. */
export function renderText(table: Table): string {
  const all = [table.headers, ...table.rows].map((row) => row.map(oneLine));
  const widths = table.headers.map((_, column) => Math.max(...all.map((row) => displayWidth(row[column] ?? ""))));
  const pad = (cell: string, column: number): string => {
    const space = " ".repeat(Math.max(0, (widths[column] ?? 0) - displayWidth(cell)));
    return isText(table, column) ? cell + space : space + cell;
  };
  const lines = all.map((row) => row.map(pad).join("  ").trimEnd());
  return `${table.caption}\n${lines.map((line) => `  ${line}`).join("\n")}\n`;
}

export function renderMarkdown(table: Table): string {
  const cell = (text: string): string => oneLine(text).replace(/[\\|<>*_`[\]]/g, (char) => `\\${char}`);
  const row = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  const rule = table.headers.map((_, column) => (isText(table, column) ? ":--" : "--:"));
  return [cell(table.caption), "", row(table.headers), `| ${rule.join(" | ")} |`, ...table.rows.map(row), ""].join(
    "\n",
  );
}

const latexEscapes: Readonly<Record<string, string>> = {
  "\\": "\\textbackslash{}",
  "~": "\\textasciitilde{}",
  "^": "\\textasciicircum{}",
  "−": "$-$",
  "–": "--",
  "<": "$<$",
  ">": "$>$",
};

/** A `table` environment; needs no packages. */
export function renderLatex(table: Table): string {
  const cell = (text: string): string =>
    oneLine(text).replace(/[\\~^−–<>]|[&%$#_{}]/g, (char) => latexEscapes[char] ?? `\\${char}`);
  const row = (cells: readonly string[]): string => `    ${cells.map(cell).join(" & ")} \\\\`;
  return [
    "\\begin{table}",
    `  \\caption{${cell(table.caption)}}`,
    `  \\begin{tabular}{${table.headers.map((_, column) => (isText(table, column) ? "l" : "r")).join("")}}`,
    "    \\hline",
    row(table.headers),
    "    \\hline",
    ...table.rows.map(row),
    "    \\hline",
    "  \\end{tabular}",
    "\\end{table}",
    "",
  ].join("\n");
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ");
}
