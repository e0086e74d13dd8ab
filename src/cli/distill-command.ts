/** `rec-r1 distill`: a run's policy as synonym and rewrite rules, for where no model may run when a query comes. */
import { join } from "node:path";
import type { Command } from "commander";
import { listenForInterrupt } from "../core/abort.ts";
import { makeFolder, writeFileAtomic } from "../core/atomic-write.ts";
import { ConfigError, DataError } from "../core/errors.ts";
import { compareSystems, scoresByExample } from "../eval/compare.ts";
import { distillRules } from "../eval/distill/distill.ts";
import type { DistilledRules } from "../eval/distill/distill.ts";
import * as formats from "../eval/distill/formats.ts";
import { RuleSet } from "../eval/distill/rules.ts";
import { evaluatePolicy, evaluateQueries, evaluateRaw } from "../eval/evaluate.ts";
import { answerExamples, askingOf } from "../rl/evaluation.ts";
import type { Evaluation } from "../rl/evaluation.ts";
import { loadCheckedSplit } from "../rl/run-session.ts";
import type { LoadedExample } from "../rl/task.ts";
import { Closing } from "./closing.ts";
import { loadPolicy } from "./load-policy.ts";
import { openRun } from "./open-run.ts";
import { parseCount } from "./options.ts";
import { formatSeconds, printable, Reporter } from "./progress.ts";

interface DistillFlags {
  out?: string;
  checkpoint: string;
  limit: string;
  testLimit: string;
  minSupport: string;
  minConfidence: string;
  maxPhraseWords: string;
  task?: string;
  data?: string;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument("<run>", "run folder")
    .option("--out <folder>", "where the rules go (default: distilled in the run folder)")
    .option("--checkpoint <which>", "best (on validation), last, or the number of a step", "best")
    .option("--limit <number>", "training queries that the policy rewrites; 0: all", "0")
    .option("--test-limit <number>", "test queries that the rules are measured on; 0: all", "0")
    .option("--min-support <number>", "training queries in which the policy has to write a word for a phrase", "2")
    .option("--min-confidence <share>", "share of the training queries with the phrase in which it has to", "0.1")
    .option("--max-phrase-words <number>", "longest phrase of a rule", "3")
    .option("--task <file>", "task file, if it has moved since the run")
    .option("--data <folder>", "folder of the data, if it has moved since the run")
    .option("--json", "print the result as one JSON object on the last line")
    .addHelpText(
      "after",
      `
Writes synonyms.txt (Solr, Elasticsearch, OpenSearch), analysis.json (index settings), synonyms-set.json (Elasticsearch's
synonyms API), querqy.txt (Querqy's common rules) and rules.tsv (every rule with support, confidence and gain).
Rules come from what the policy writes for training queries; each is tried with the task's own recommender, how many are
kept is decided on the validation split, and what they keep of the policy's gain is measured on the test split.`,
    )
    .action(async (runDir: string, flags: DistillFlags) => runDistill(runDir, flags));
}

async function runDistill(runDir: string, flags: DistillFlags): Promise<void> {
  const limit = parseCount(flags.limit, "--limit");
  const testLimit = parseCount(flags.testLimit, "--test-limit");
  const minSupport = Math.max(1, parseCount(flags.minSupport, "--min-support"));
  const maxPhraseWords = Math.max(1, parseCount(flags.maxPhraseWords, "--max-phrase-words"));
  const minConfidence = Number(flags.minConfidence);
  if (!(minConfidence >= 0 && minConfidence <= 1)) {
    throw new ConfigError(
      "BAD_OPTION",
      `--min-confidence: expected a share from 0 to 1, got "${flags.minConfidence}".`,
    );
  }
  const out = flags.out ?? join(runDir, "distilled");
  const reporter = new Reporter();
  const interrupt = listenForInterrupt(() => reporter.line("stopping; once more ends at once"));
  const { signal } = interrupt;
  const closing = new Closing();
  try {
    const run = await openRun(runDir, flags);
    const { task, config } = run;
    const onWarning = (message: string): void => reporter.line(`warning: ${message}`);
    const recommender = closing.add(await run.openRecommender({ signal, onWarning }));
    const load = async (split: "train" | "valid" | "test"): Promise<LoadedExample<object>[]> =>
      task.data[split] ? loadCheckedSplit(task, split, recommender, config.maxMissingShare) : [];
    const first = <T>(examples: T[], most: number): T[] => (most > 0 ? examples.slice(0, most) : examples);
    const train = first(
      (await load("train")).filter(({ example }) => task.raw(example) !== null),
      limit,
    );
    if (train.length === 0) {
      throw new DataError(
        "DISTILL_NO_QUERIES",
        `Task "${task.name}" has no users' words to make rules of: see \`raw\`.`,
      );
    }
    const [valid, test] = [await load("valid"), first(await load("test"), testLimit)];
    const engine = closing.add(await run.openEngine({ reporter, signal }));
    const step = await loadPolicy(engine, runDir, flags.checkpoint, reporter);

    const start = performance.now();
    const show = (doing: string, done: number, total: number): void => {
      const left = ((performance.now() - start) / 1000 / Math.max(1, done)) * (total - done);
      const eta = doing === "rewriting training queries" ? `, ${formatSeconds(left)} left` : "";
      reporter.status(`${doing}: ${done}/${total}${eta}`);
    };
    const answers = await answerExamples(train, {
      engine,
      task,
      recommender,
      ...askingOf(config),
      signal,
      onProgress: (done, total) => show("rewriting training queries", done, total),
    });
    const rows = answers.map(({ example, query }) => ({
      example: example.example,
      query: task.raw(example.example) as string,
      written: query,
    }));
    const distilled = await distillRules(rows, valid, {
      task,
      recommender,
      signal,
      minSupport,
      minConfidence,
      maxPhraseWords,
      onProgress: show,
    });
    await makeFolder(out);
    await writeRules(out, distilled);
    let measured: Measured | undefined;
    if (test.length > 0) {
      const common = { task, recommender, split: test, signal };
      const set = new RuleSet(distilled.rules);
      measured = measure({
        raw: await evaluateRaw(common),
        rules: await evaluateQueries({
          ...common,
          queryOf: (example) => {
            const query = task.raw(example);
            return query === null ? null : set.apply(query);
          },
        }),
        tuned: await evaluatePolicy({
          ...common,
          engine,
          ...askingOf(config),
          onProgress: (done, total) => reporter.status(`the policy on test queries: ${done}/${total}`),
        }),
      });
    } else reporter.line(`Task "${task.name}" has no "test" split, so what the rules keep is not measured.`);
    reporter.clear();
    const { rules, ...facts } = distilled;
    const result = {
      run: runDir,
      step,
      out,
      trainQueries: train.length,
      rules: rules.length,
      ...facts,
      test: measured ?? null,
    };
    await writeFileAtomic(join(out, "distilled.json"), `${JSON.stringify(result, null, 2)}\n`);
    process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : describe(distilled, measured, out));
  } finally {
    reporter.clear();
    await closing.close();
    interrupt.dispose();
  }
}

async function writeRules(out: string, { rules }: DistilledRules): Promise<void> {
  const files: Record<string, string> = {
    "synonyms.txt": formats.formatSolr(rules),
    "synonyms-set.json": formats.formatSynonymsSet(rules),
    "analysis.json": formats.formatAnalysis(rules),
    "querqy.txt": formats.formatQuerqy(rules),
    "rules.tsv": formats.formatTable(rules),
  };
  for (const [name, text] of Object.entries(files)) await writeFileAtomic(join(out, name), text);
}

interface Measured extends ReturnType<typeof compareSystems> {
  metric: string;
  /** What the rules gain as a share of what the policy gains; null where the policy gains nothing. */
  share: number | null;
}

function measure(evaluations: Record<"raw" | "rules" | "tuned", Evaluation>): Measured {
  const { metric, records } = evaluations.raw;
  const ids = records.map(({ example }) => example);
  const names = { raw: "raw words", rules: "rules", tuned: "policy" };
  const scored = (["raw", "rules", "tuned"] as const).map((id) => ({
    id,
    name: names[id],
    scores: scoresByExample(evaluations[id], metric, ids),
  }));
  const compared = compareSystems(scored, [
    ["rules", "raw"],
    ["tuned", "raw"],
    ["tuned", "rules"],
  ]);
  const [raw, rules, tuned] = compared.systems.map(({ mean }) => mean) as [number, number, number];
  return { metric, share: tuned > raw ? (rules - raw) / (tuned - raw) : null, ...compared };
}

function describe({ rules, tried, helped, valid }: DistilledRules, test: Measured | undefined, out: string): string {
  const lines = [`${tried} candidates tried, ${helped} helped in training, ${rules.length} rules kept`];
  if (valid) lines.push(`on validation: ${valid.raw.toFixed(4)} without rules, ${valid.rules.toFixed(4)} with them`);
  for (const { phrase, words, keepsPhrase, support } of rules.slice(0, 10)) {
    const to = [...(keepsPhrase ? [phrase.join(" ")] : []), ...words].join(", ");
    lines.push(`  ${printable(phrase.join(" "))} => ${printable(to)}  (${support} queries)`);
  }
  if (test) {
    lines.push(`${test.metric} on the test split`);
    for (const { name, mean, low, high } of test.systems) {
      lines.push(`  ${name.padEnd(9)}  ${mean.toFixed(4)}  95 % interval ${low.toFixed(4)} to ${high.toFixed(4)}`);
    }
    const [rulesPair] = test.comparisons;
    if (rulesPair) {
      lines.push(`rules: better on ${rulesPair.wins}, worse on ${rulesPair.losses}, p = ${rulesPair.p.toPrecision(2)}`);
    }
    lines.push(
      test.share === null
        ? "the policy gains nothing on the test split, so there is nothing to keep"
        : `the rules keep ${(100 * test.share).toFixed(0)} % of the policy's gain`,
    );
  }
  return `${lines.join("\n")}\nwritten to ${out}\n`;
}
