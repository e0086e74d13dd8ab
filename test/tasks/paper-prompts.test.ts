import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parseHistoryText } from "../../src/datasets/paper-files.ts";
import { checkDataFile } from "../../src/tasks/check-data.ts";
import {
  answerStart,
  findStyle,
  formatHistory,
  paperPrompt,
  paperStyles,
  renderChatMl,
} from "../../src/tasks/paper-prompts.ts";

const folder = fileURLToPath(new URL("../../../shared/fixtures/rec-r1-files/", import.meta.url));

describe("paperPrompt", () => {
  it("writes the paper's prompt for sparse search", () => {
    expect(renderChatMl(paperPrompt("red pen", { kind: "terms" }))).toBe(
      "<|im_start|>system\nYou are a helpful AI assistant. You first think about the reasoning process in the mind and then provide the user with the answer.<|im_end|>\n" +
        "<|im_start|>user\nYou are an expert in query generation. Given a query, your task is to create query terms to retrieve retrieve the most relevant products, ensuring they best meet customer needs.\nBelow is the query:\n```red pen```\n" +
        'Show your work in <think> </think> tags. Your final response must be in JSON format within <answer> </answer> tags. The generated query should use Boolean operators (AND, OR) to structure your query logically. For example,\n<answer>\n{\n    "query": xxx\n}\n</answer>.<|im_end|>\n' +
        "<|im_start|>assistant\nLet me solve this step by step.\n<think>",
    );
  });

  it("leaves out what a style leaves out", () => {
    const plain = renderChatMl(paperPrompt("red pen", { kind: "terms", reasoning: false, json: false }));
    expect(plain).not.toMatch(/think|JSON/);
    expect(plain.endsWith("<answer>xxx</answer>.<|im_end|>\n<|im_start|>assistant\n")).toBe(true);
    expect(renderChatMl(paperPrompt("red pen", { kind: "expand" }))).not.toContain("Boolean");
    expect(answerStart({ kind: "expand", reasoning: false })).toBe("");
  });

  it("tells every style by its prompt, whatever the input", () => {
    for (const style of paperStyles) {
      for (const input of ["red pen", "a $& b", "t", "```", ""]) {
        expect(findStyle(input, renderChatMl(paperPrompt(input, style)))).toEqual(style);
      }
    }
    expect(findStyle("red pen", "something else")).toBeUndefined();
  });

  it("writes histories and reads them back", () => {
    const titles = ["Pen, blue", "", "Item 2: a title that looks like a line", "two\nlines"];
    expect(formatHistory(titles)).toBe(
      "Item 1: Pen, blue\nItem 2: \nItem 3: Item 2: a title that looks like a line\nItem 4: two\nlines",
    );
    expect(parseHistoryText(formatHistory(titles))).toEqual(titles);
    expect(formatHistory(parseHistoryText("Item 1: a\nItem 2:"))).toBe("Item 1: a\nItem 2:");
    expect(parseHistoryText("nothing of the kind")).toEqual([]);
  });
});

describe.skipIf(!existsSync(folder))("the authors' own files (../shared/fixtures/rec-r1-files)", () => {
  it.each([
    ["esci_inst_sparse_subset_test.parquet", 798, "terms, with reasoning, JSON"],
    ["esci_inst_sparse_sft_no_reason_test.parquet", 798, "terms, without reasoning, JSON"],
    ["esci_inst_dense_subset_test.parquet", 798, "expand, with reasoning, JSON"],
    ["amazon_c4_inst_subset_Video_Games_test.parquet", 150, "boolean, with reasoning, JSON"],
    ["amazon_review_inst_test.parquet", 1538, "next-item, with reasoning, JSON"],
  ])("%s: all %i prompts equal the preset's", async (name, rows, style) => {
    const check = await checkDataFile(`${folder}${name}`);
    expect(check).toMatchObject({ rows, usable: rows, dropped: [] });
    expect(check.prompts).toEqual({ rows, equal: rows, styles: { [style]: rows } });
  });

  it("esci_test_subset_Video_Games.json: 103 queries with their items", async () => {
    const check = await checkDataFile(`${folder}esci_test_subset_Video_Games.json`);
    expect(check).toMatchObject({ kind: "query-items", preset: "product-search", rows: 103, usable: 103, dropped: [] });
  });
});
