/** The text of the files that `rec-r1 init` writes. Knows what was chosen and nothing of where it came from. */
import { ConfigError } from "../../core/errors.ts";

/** A metric of the task, which is its reward, too. */
export interface ChosenMetric {
  name: string;
  kind: "ndcg" | "recall" | "mrr" | "success";
  k: number;
}

const metricKinds = ["ndcg", "recall", "mrr", "success"] as const;

/** `ndcg@10` and the like. @throws ConfigError `BAD_OPTION` */
export function parseMetric(text: string): ChosenMetric {
  const [, kind, k] = /^(ndcg|recall|mrr|success)@([1-9]\d{0,4})$/i.exec(text.trim()) ?? [];
  if (kind === undefined) {
    throw new ConfigError(
      "BAD_OPTION",
      `The metric is "${text}"; expected ${metricKinds.join("@K, ")}@K, such as ndcg@10.`,
    );
  }
  return { name: `${kind.toLowerCase()}@${Number(k)}`, kind: kind.toLowerCase() as ChosenMetric["kind"], k: Number(k) };
}

export type ChosenRecommender =
  | { kind: "lancedb" }
  | { kind: "opensearch"; url: string; index: string }
  | { kind: "http"; url: string; hits: string; id: string };

export interface Project {
  name: string;
  /** As the task file reads them: relative to its own folder. */
  catalogue: string;
  idField: string;
  textFields: readonly string[];
  recommender: ChosenRecommender;
  metric: ChosenMetric;
  examples: { train: number; valid: number; test: number };
  /** Where the judgments came from, and how, a sentence each. */
  origin: readonly string[];
}

const json = (value: unknown): string => JSON.stringify(value);

/** The task file. */
export function taskFile(project: Project): string {
  const { name, catalogue, idField, textFields, recommender, metric, examples } = project;
  const id = idField === "id" ? "" : `, idField: ${json(idField)}`;
  const score = `${metric.kind}(hits, example.relevant, { k: ${metric.k} })`;
  const topK = Math.max(10, metric.k);
  // A batch can't be larger than what there is to draw from.
  const promptsPerStep = Math.min(16, examples.train);
  const warmupBatch = Math.min(32, examples.train);
  return `/** ${commentSafe(name)}: a policy that adds words to the users' queries. Written by rec-r1 init; it is yours to change. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { defineTask, distinctWords, expandQuery, hindsightWarmup, ${metric.kind}, readCatalogueWords } from "rec-r1";
import type { Example } from "rec-r1";
${recommenderImport(recommender)}
const here = (name: string) => join(fileURLToPath(new URL(".", import.meta.url)), name);
const catalogue = here(${json(catalogue)});

/** What is asked. It is never changed. */
${recommenderExport(project)}
/** Options of this task; flags of rec-r1 train override them. */
export const config = {
  warmupSteps: 100,
  warmupBatch: ${warmupBatch},
  warmupLearningRate: 1e-3,
  promptsPerStep: ${promptsPerStep},
  maxTokens: 16,
};

export default defineTask<Example>({
  name: ${json(name)},
  data: { train: here("train.jsonl"), valid: here("valid.jsonl"), test: here("test.jsonl") },
  prompt: ({ query }) => [
    { role: "system", content: ${json(`${name}: words to search for`)} },
    { role: "user", content: query },
  ],
  // The user's words stay, and the policy adds others, or says some of them again to give them weight: it can't lose what
  // was found before by forgetting it.
  parse: (completion, { query }) => expandQuery(query, completion, { repeat: true }),
  reward: ({ hits, example }) => (hits ? ${score} : 0),
  metrics: [{ name: ${json(metric.name)}, score: ({ hits, example }) => ${score} }],
  topK: ${topK},
  // Where to begin: words of the catalogue that, tried on the engine, bring the right items.
  warmup: hindsightWarmup({
    probes: () => readCatalogueWords(catalogue, { textFields: ${json(textFields)}${id} }),
    alsoTry: ({ query }) => distinctWords(query).slice(0, 8),
  }),
});
`;
}

function recommenderImport({ kind }: ChosenRecommender): string {
  const names = { lancedb: "LanceDbRecommender", opensearch: "OpenSearchRecommender", http: "HttpRecommender" };
  return `import { ${names[kind]} } from "rec-r1/recommenders/${kind}";\n`;
}

function recommenderExport({ recommender, idField, textFields }: Project): string {
  switch (recommender.kind) {
    case "lancedb": {
      const id = idField === "id" ? "" : `, id: ${json(idField)}`;
      return `export const recommender = () => LanceDbRecommender.fromJsonl(catalogue, { text: ${json(textFields)}${id} });\n`;
    }
    case "opensearch":
      return `export const recommender = () => {
  const { OPENSEARCH_USER: username, OPENSEARCH_PASSWORD: password } = process.env;
  return OpenSearchRecommender.open({
    node: ${json(recommender.url)},
    ...(username !== undefined && password !== undefined ? { auth: { username, password } } : {}),
    index: ${json(recommender.index)},
    query: { multi_match: { query: "{{query}}", fields: ${json(textFields)} } },
  });
};
`;
    case "http":
      return `export const recommender = () =>
  HttpRecommender.open({
    url: ${json(recommender.url)},
    body: { q: "{{query}}", n: "{{topK}}" },
    hits: ${json(recommender.hits)},
    id: ${json(recommender.id)},
  });
`;
  }
}

/** The project's README. */
export function readmeFile(project: Project, raw: RawFigures | undefined): string {
  const { name, metric, examples, origin, recommender } = project;
  const start = raw
    ? `The users' own words score ${metric.name} ${raw.mean.toFixed(4)} on the test split (95 % interval ${raw.low.toFixed(4)} to
${raw.high.toFixed(4)}, ${raw.queries} queries); ${raw.empty} of them find nothing. That is what a policy has to beat.`
    : `The users' own words were not measured yet: \`rec-r1 doctor task.ts\` looks whether the search engine answers.`;
  return `# ${oneLine(name)}

A language model that rewrites queries for the search engine behind ${recommender.kind}, trained with rec-r1
on ${metric.name}.

- \`task.ts\`: the task: prompt, how an answer becomes a query, reward
- \`train.jsonl\`: ${examples.train} queries to learn from
- \`valid.jsonl\`: ${examples.valid} queries that pick the best policy
- \`test.jsonl\`: ${examples.test} queries that only the final comparison uses

${origin.map((line) => `${oneLine(line)}\n`).join("")}
## Where it starts

${start}

## Commands

\`\`\`sh
rec-r1 doctor task.ts                     # is the baseline sound?
rec-r1 train task.ts --run runs/first     # Ctrl-C stops it, --resume goes on
rec-r1 show runs/first                    # curves and examples
rec-r1 eval runs/first --split test       # raw words, untrained, tuned; with a significance test
rec-r1 report runs/first                  # all of it as one HTML file
\`\`\`

If the reward stays flat, see rec-r1's docs/troubleshooting.md.
`;
}

/** The raw queries on the test split. */
export interface RawFigures {
  mean: number;
  low: number;
  high: number;
  queries: number;
  empty: number;
  failed: number;
}

const oneLine = (text: string): string => text.replace(/\s+/g, " ").trim();

/** A name inside a block comment can't end it. */
const commentSafe = (text: string): string => oneLine(text).replaceAll("*/", "* /");
