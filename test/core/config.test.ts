import { describe, expect, it } from "vitest";
import { z } from "zod";
import { listOptions, parseFlagValue, resolveConfig } from "../../src/core/config.ts";
import { editDistance, nearestName } from "../../src/core/suggest.ts";
import { trainConfigSchema } from "../../src/rl/train-config.ts";

const schema = z.object({
  groupSize: z.number().int().min(2).default(8).describe("completions"),
  loss: z.enum(["ppo", "grpo"]).default("grpo").describe("loss"),
  clipLow: z.number().optional().describe("clip"),
  full: z.boolean().default(false).describe("all weights"),
});

describe("config", () => {
  it("gives flags, types, choices, defaults and help from one schema", () => {
    expect(listOptions(schema)).toEqual([
      { key: "groupSize", flag: "--group-size", type: "integer", defaultValue: 8, description: "completions" },
      {
        key: "loss",
        flag: "--loss",
        type: "string",
        choices: ["ppo", "grpo"],
        defaultValue: "grpo",
        description: "loss",
      },
      { key: "clipLow", flag: "--clip-low", type: "number", description: "clip" },
      { key: "full", flag: "--full", type: "boolean", defaultValue: false, description: "all weights" },
    ]);
  });

  it("lets later layers win and leaves out what is undefined", () => {
    const layers = [
      { source: "file.json", values: { groupSize: 4, clipLow: 0.1 } },
      { source: "flag", values: { groupSize: 6, clipLow: undefined } },
    ];
    expect(resolveConfig(schema, layers)).toEqual({ groupSize: 6, clipLow: 0.1, loss: "grpo", full: false });
  });

  it("names unknown keys as their source spells them, with the nearest name", () => {
    const resolve = (source: string, key: string) => () => resolveConfig(schema, [{ source, values: { [key]: 1 } }]);
    expect(resolve("run.json", "groupsize")).toThrow(/key in run.json: "groupsize". Did you mean "groupSize"\?/);
    expect(resolve("flag", "grupSize")).toThrow(/Unknown flag: "--grup-size". Did you mean "--group-size"\?/);
    expect(resolve("run.json", "zzzzzzzz")).toThrow(/Known: groupSize, loss, clipLow, full/);
    expect(resolve("run.json", "constructor")).toThrow(/Unknown key/);
    expect(resolve("run.json", "__proto__x")).toThrow(/Unknown key/);
  });

  it("says which option is wrong, where it came from, what was got and what was expected", () => {
    const resolve = (values: Record<string, unknown>) => () => resolveConfig(schema, [{ source: "flag", values }]);
    expect(resolve({ groupSize: 1 })).toThrow(/--group-size \(from flag\): .*>=2.*got 1/);
    expect(resolve({ groupSize: "many" })).toThrow(/--group-size.*got "many"/);
    expect(resolve({ loss: "sft" })).toThrow(/--loss.*"ppo"\|"grpo".*got "sft"/);
  });

  it("reads flags by type and leaves text that doesn't fit for the schema to refuse", () => {
    const [groupSize, loss, , full] = listOptions(schema);
    expect(parseFlagValue(groupSize!, "12")).toBe(12);
    expect(parseFlagValue(groupSize!, "1e1")).toBe(10);
    expect(parseFlagValue(groupSize!, "")).toBe("");
    expect(parseFlagValue(groupSize!, "twelve")).toBe("twelve");
    expect(parseFlagValue(loss!, "12")).toBe("12");
    expect(parseFlagValue(full!, "true")).toBe(true);
  });

  it("describes every training option", () => {
    for (const { key, description } of listOptions(trainConfigSchema)) expect(description, key).not.toBe("");
  });
});

describe("nearestName", () => {
  it.each([
    ["promtsPerStep", "promptsPerStep"],
    ["GROUP_SIZE", "groupSize"],
    ["klcoeff", "klCoef"],
    ["setps", "steps"],
    ["entropy", undefined],
    ["", undefined],
  ])("%s: %s", (name, expected) => {
    expect(nearestName(name, ["promptsPerStep", "groupSize", "klCoef", "steps"])).toBe(expected);
  });

  it("counts a swap of neighbours as one edit", () => {
    expect(editDistance("setps", "steps")).toBe(1);
    expect(editDistance("", "abc")).toBe(3);
    expect(editDistance("kitten", "sitting")).toBe(3);
  });
});
