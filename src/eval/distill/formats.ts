/**
 * Rules in the formats of search engines. Rules are made of words (letters and digits) alone, so that nothing in them can
 * be taken for syntax.
 */
import type { Rule } from "./rules.ts";

/** `add => add, plus`: an explicit mapping of Solr's format, which Elasticsearch and OpenSearch read, too. */
function mapping({ phrase, words, keepsPhrase }: Rule): string {
  const from = phrase.join(" ");
  return `${from} => ${[...(keepsPhrase ? [from] : []), ...words].join(", ")}`;
}

/** A synonyms file for Solr's SynonymGraphFilter, and for `synonyms_path` of Elasticsearch and OpenSearch. */
export function formatSolr(rules: readonly Rule[]): string {
  return rules.map((rule) => `${mapping(rule)}\n`).join("");
}

/** The body of Elasticsearch's `PUT _synonyms/NAME`. */
export function formatSynonymsSet(rules: readonly Rule[]): string {
  const synonyms_set = rules.map((rule, i) => ({ id: `rule-${i + 1}`, synonyms: mapping(rule) }));
  return `${JSON.stringify({ synonyms_set }, null, 1)}\n`;
}

/** Index settings of Elasticsearch and OpenSearch with an analyzer for queries that applies the rules. */
export function formatAnalysis(rules: readonly Rule[]): string {
  const analysis = {
    filter: { rec_r1_synonyms: { type: "synonym_graph", synonyms: rules.map(mapping), lenient: true } },
    analyzer: { rec_r1_query: { tokenizer: "standard", filter: ["lowercase", "rec_r1_synonyms"] } },
  };
  return `${JSON.stringify({ settings: { analysis } }, null, 1)}\n`;
}

/** Querqy's common rules: a synonym for each word, and the phrase deleted where the words take its place. */
export function formatQuerqy(rules: readonly Rule[]): string {
  return rules
    .map(({ phrase, words, keepsPhrase }) => {
      const lines = [`${phrase.join(" ")} =>`, ...words.map((word) => `  SYNONYM: ${word}`)];
      if (!keepsPhrase) lines.push(`  DELETE: ${phrase.join(" ")}`);
      return `${lines.join("\n")}\n`;
    })
    .join("\n");
}

/** All that is known of each rule, tab-separated, with a head line. */
export function formatTable(rules: readonly Rule[]): string {
  const head = ["phrase", "words", "keeps_phrase", "support", "confidence", "gain"];
  const rows = rules.map(({ phrase, words, keepsPhrase, support, confidence, gain }) => [
    phrase.join(" "),
    words.join(" "),
    String(keepsPhrase),
    String(support),
    confidence.toFixed(3),
    gain.toFixed(4),
  ]);
  return [head, ...rows].map((row) => `${row.join("\t")}\n`).join("");
}
