/** What a user of the package needs for a comparison of their own, by the names that the package exports. */
import { describe, expect, it } from "vitest";
import * as rec from "../../src/index.ts";
import { BagSearch, bagTask, items } from "./bag-search.ts";

describe("the package's evaluation", () => {
  it("compares systems from its exports alone", async () => {
    const task = bagTask();
    const recommender = new BagSearch();
    const diagnosis = await rec.examineTask({ task, recommender });
    rec.requireSoundBaseline(diagnosis, "");
    const raw = await rec.evaluateRaw({ task, recommender });
    const named = await rec.evaluateQueries({
      task,
      recommender,
      queryOf: ({ relevant }) => items.find(({ id }) => id === (relevant as string[])[0])?.title ?? null,
    });
    const ids = raw.records.map(({ example }) => example);
    const { comparisons } = rec.compareSystems(
      [
        { id: "raw", name: "raw", scores: rec.scoresByExample(raw, raw.metric, ids) },
        { id: "named", name: "named", scores: rec.scoresByExample(named, raw.metric, ids) },
      ],
      [["named", "raw"]],
    );
    expect(comparisons[0]?.difference).toBeGreaterThan(0);
  });

  it("exports every part of a comparison", () => {
    const names = [
      ...[
        "prepareClassical",
        "Collection",
        "fuseRankings",
        "collectBestOfN",
        "fineTune",
        "readRewrites",
        "measureComparison",
      ],
      ...[
        "makeSlices",
        "rawSystem",
        "modelSystem",
        "keepComparison",
        "readKeptComparison",
        "recomputeMeasures",
        "RankingStore",
      ],
      ...[
        "recordRankings",
        "formatComparisonText",
        "formatComparisonMarkdown",
        "formatComparisonLatex",
        "judgeRegression",
      ],
      ...[
        "judgeAbility",
        "measureAbility",
        "measureDivergence",
        "measurePerplexity",
        "taskInMode",
        "recommenderInMode",
      ],
      ...[
        "ndcgAsPublished",
        "withLengthCost",
        "writeReport",
        "holmCorrection",
        "pairedRandomizationTest",
        "splitWords",
      ],
    ];
    const exported = rec as unknown as Record<string, unknown>;
    expect(names.filter((name) => typeof exported[name] !== "function")).toEqual([]);
  });
});
