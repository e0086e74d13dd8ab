/**
 * Amazon's Shopping Queries Dataset, ESCI (Reddy et al. 2022, arXiv 2206.06588): queries with products judged exact,
 * substitute, complement or irrelevant. As published (parquet), or joined with its products.
 */
import type { ReadLinesOptions } from "../core/data-lines.ts";
import { DataError } from "../core/errors.ts";
import { selectDomain } from "./amazon-c4.ts";
import { idOf, RowFault, shown, textOf } from "./fields.ts";
import { passReport, RowCounter, type DropOptions } from "./load-report.ts";
import { checkColumns } from "./parquet.ts";
import { recogniseFile } from "./recognise.ts";
import { readRows } from "./rows.ts";
import type { SearchExample } from "./task-examples.ts";

export type EsciLabel = "E" | "S" | "C" | "I";

/** Gains of the labels in the dataset's own ranking task (KDD Cup 2022). */
export const esciGains: Readonly<Record<EsciLabel, number>> = { E: 1, S: 0.1, C: 0.01, I: 0 };

/** The Rec-R1 paper's four test domains, as Amazon Reviews 2023 names the categories. */
export const paperEsciDomains = ["Video_Games", "Baby_Products", "Office_Products", "Sports_and_Outdoors"] as const;

export interface EsciOptions extends DropOptions, ReadLinesOptions {
  /** `us`, `es` or `jp`. Default `us`. */
  locale?: string;
  /** Default: both. */
  split?: "train" | "test";
  /** The dataset's smaller version has the harder queries. Default `large`: all. */
  version?: "small" | "large";
  /** Gain of each label. Default {@link esciGains}. */
  gains?: Readonly<Record<EsciLabel, number>>;
  /** Only products with these labels count as judged. Default: all. */
  labels?: readonly EsciLabel[];
  /** Only products that this accepts, such as those of an item pool. */
  hasProduct?: (id: string) => boolean;
  /** Category of each product, see `readCategories`; with it, examples get a domain: their first product's. */
  categories?: ReadonlyMap<string, string>;
  /** Only queries of this domain. */
  domain?: string;
}

/** How the Rec-R1 authors made their training pool and tests from ESCI: exact matches of the small version, in English. */
export const paperEsci = { locale: "us", version: "small", labels: ["E"] } as const satisfies EsciOptions;

interface JudgedQuery {
  id: string;
  query: string;
  gains: Map<string, number>;
  targets: string[];
}

const needed = ["query", "product_id", "product_locale", "esci_label"];

function labelOf(value: unknown): EsciLabel {
  const letter = typeof value === "string" ? value.trim().charAt(0).toUpperCase() : "";
  const names: Readonly<Record<string, string>> = { E: "EXACT", S: "SUBSTITUTE", C: "COMPLEMENT", I: "IRRELEVANT" };
  const name = names[letter];
  const text = typeof value === "string" ? value.trim().toUpperCase() : "";
  if (name !== undefined && (text === letter || text === name)) return letter as EsciLabel;
  throw new RowFault(`the label ${shown(value)} is none of E, S, C, I`);
}

/**
 * Queries of ESCI with graded gains, in the file's order.
 * @throws DataError when the file can't be read, lacks a column, or too many rows can't be used. @throws AbortError
 */
export async function readEsci(path: string, options: EsciOptions = {}): Promise<SearchExample[]> {
  const { fields, format } = await recogniseFile(path);
  const wanted = [
    ...needed,
    ...(fields.includes("query_id") ? ["query_id"] : []),
    ...(options.split ? ["split"] : []),
    ...(options.version === "small" ? ["small_version"] : []),
  ];
  checkColumns(path, fields, wanted);
  const gains = options.gains ?? esciGains;
  const labels = options.labels;
  const counter = new RowCounter(path);
  const byQuery = new Map<string, JudgedQuery>();
  for await (const { line, value } of readRows(path, { ...options, format: formatOf(format), columns: wanted })) {
    counter.read();
    try {
      const filtered =
        value.product_locale !== (options.locale ?? "us")
          ? "of another locale"
          : options.split && value.split !== options.split
            ? "of another split"
            : options.version === "small" && Number(value.small_version) !== 1
              ? "not in the small version"
              : undefined;
      if (filtered) {
        counter.filter(filtered);
        continue;
      }
      const query = textOf(value, "query").trim().replaceAll("\t", " ");
      const product = idOf(value, "product_id");
      const label = labelOf(value.esci_label);
      if ((labels && !labels.includes(label)) || (options.hasProduct && !options.hasProduct(product))) {
        counter.filter(labels && !labels.includes(label) ? "with another label" : "of another pool");
        continue;
      }
      const key = value.query_id === undefined ? query : idOf(value, "query_id");
      const entry: JudgedQuery = byQuery.get(key) ?? { query, id: key, gains: new Map(), targets: [] };
      entry.gains.set(product, Math.max(gains[label], entry.gains.get(product) ?? 0));
      entry.targets.push(product);
      byQuery.set(key, entry);
    } catch (error) {
      if (!(error instanceof RowFault)) throw error;
      counter.drop(error.message, line);
    }
  }
  const examples: SearchExample[] = [];
  for (const { id, query, gains: graded, targets } of byQuery.values()) {
    if (![...graded.values()].some((gain) => gain > 0)) {
      counter.filter("queries without a product of gain above 0");
      continue;
    }
    const isBinary = [...graded.values()].every((gain) => gain === 1);
    examples.push(
      isBinary
        ? { id, query, relevant: [...graded.keys()], targets }
        : { id, query, relevant: Object.fromEntries(graded) },
    );
  }
  counter.finish(examples, options);
  const selected = selectDomain(examples, options);
  if (selected.length === 0) {
    throw new DataError("DATA_EMPTY", `${path}: no query of the domain "${options.domain}".`, { details: { path } });
  }
  passReport(examples, selected);
  return selected;
}

function formatOf(format: string): "parquet" | "jsonl" | "json" | "csv" | "tsv" {
  return format === "text" ? "csv" : (format as "parquet");
}
