/**
 * Amazon-C4 (Hou et al. 2024, "Bridging Language and Items for Retrieval and Recommendation"): complex queries that a
 * language model wrote from five-star reviews, one item each. As CSV, parquet or JSON; and its pool of items.
 */
import { gainsOf } from "../ranking/judgments.ts";
import { readPaperSearch, type PaperFileOptions } from "./paper-files.ts";
import type { SearchExample } from "./task-examples.ts";

export interface AmazonC4Options extends PaperFileOptions {
  /** Category of each item, for {@link domain}; see `readCategories`. */
  categories?: ReadonlyMap<string, string>;
  /** Only queries whose item has this category, such as `Games`, `Baby`, `Office` or `Sports`. */
  domain?: string;
}

/** The paper's four test domains, as the item pool names them. */
export const amazonC4Domains = ["Games", "Baby", "Office", "Sports"] as const;

/**
 * Queries of Amazon-C4 with their item.
 * @throws DataError when the file can't be read, too many rows can't be used, or none is left
 */
export async function readAmazonC4(path: string, options: AmazonC4Options = {}): Promise<SearchExample[]> {
  const examples = await readPaperSearch(path, options);
  return selectDomain(examples, options);
}

/** Only examples of a domain, with the domain set where categories tell. The domain is the first item's, as the authors have it. */
export function selectDomain(
  examples: SearchExample[],
  { categories, domain }: { categories?: ReadonlyMap<string, string>; domain?: string },
): SearchExample[] {
  if (!categories) return examples;
  for (const example of examples) {
    const [first = ""] = example.targets ?? gainsOf(example.relevant).keys();
    const category = categories.get(first);
    if (category !== undefined) example.domain = category;
  }
  return domain === undefined ? examples : examples.filter((example) => example.domain === domain);
}
