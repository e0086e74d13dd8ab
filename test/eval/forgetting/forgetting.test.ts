import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  assembleProgram,
  extractNumber,
  readArithmetic,
  readChoices,
  readInstructions,
  readPrograms,
  takeShares,
} from "../../../src/eval/forgetting/benchmarks.ts";
import { generalPrompts, heldOutText } from "../../../src/eval/forgetting/general-text.ts";
import { checkInstructions, instructionCheckers } from "../../../src/eval/forgetting/instructions.ts";
import { measureAbility, measureDivergence, measurePerplexity } from "../../../src/eval/forgetting/measure.ts";
import { forgettingTable } from "../../../src/eval/forgetting/report.ts";
import { runsClean } from "../../../src/eval/forgetting/run-program.ts";
import { TabularEngine } from "../../support/tabular-engine.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rec-r1-forget-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const lines = (rows: readonly unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const write = async (name: string, content: string): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
};

describe("IFEval's checkers", () => {
  const cases: [id: string, given: Record<string, unknown>, follows: string, breaks: string][] = [
    ["keywords:existence", { keywords: ["lake", "boat"] }, "A Lake and a boat.", "A lake."],
    ["keywords:frequency", { keyword: "cat", frequency: 2, relation: "at least" }, "cat, Cat", "one cat"],
    ["keywords:frequency", { keyword: "cat", frequency: 2, relation: "less than" }, "one cat", "cat cat"],
    ["keywords:forbidden_words", { forbidden_words: ["rain"] }, "It rained; a raincoat.", "The rain."],
    ["keywords:letter_frequency", { letter: "z", let_frequency: 2, let_relation: "at least" }, "Zigzag", "zoo"],
    [
      "language:response_language",
      { language: "de" },
      "Das ist nicht der Hund von dem Nachbarn.",
      "This is not the dog of the man.",
    ],
    ["language:response_language", { language: "ru" }, "Привет, как дела?", "Hello there"],
    ["language:response_language", { language: "ja" }, "これは日本語の文章です", "这是中文"],
    [
      "length_constraints:number_sentences",
      { num_sentences: 2, relation: "at least" },
      "It is 3.5 m, Dr. May. Yes!",
      "Only 3.5 m, Dr. May",
    ],
    ["length_constraints:number_paragraphs", { num_paragraphs: 2 }, "one\n***\ntwo", "one two"],
    ["length_constraints:number_words", { num_words: 3, relation: "less than" }, "two words", "three words here"],
    [
      "length_constraints:nth_paragraph_first_word",
      { num_paragraphs: 2, nth_paragraph: 2, first_word: "However" },
      "One.\n\nHowever, two.",
      "One.\n\nBut two.",
    ],
    ["detectable_content:number_placeholders", { num_placeholders: 2 }, "[name] at [place]", "[name]"],
    ["detectable_content:postscript", { postscript_marker: "P.S." }, "Bye\nP.S. more", "Bye"],
    ["detectable_content:postscript", { postscript_marker: "P.P.S" }, "Bye\nP.P.S more", "Bye\nP.S. more"],
    ["detectable_format:number_bullet_lists", { num_bullets: 2 }, "* a\n* b", "* a\n* b\n- c"],
    ["detectable_format:constrained_response", {}, "My answer is maybe.", "maybe"],
    ["detectable_format:number_highlighted_sections", { num_highlights: 2 }, "*one* and **two**", "*one*"],
    [
      "detectable_format:multiple_sections",
      { section_spliter: "SECTION", num_sections: 2 },
      "SECTION 1\na\nSECTION 2\nb",
      "SECTION 1\na",
    ],
    ["detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "{a: 1}"],
    ["detectable_format:title", {}, "<<A title>>\ntext", "<title>"],
    ["combination:two_responses", {}, "one\n******\ntwo", "same\n******\nsame"],
    ["combination:repeat_prompt", { prompt_to_repeat: "Say it." }, "say it. Done.", "Done. Say it."],
    ["startend:end_checker", { end_phrase: "That is all." }, 'Well. "That is all."', "That is all. Well."],
    ["startend:quotation", {}, '"quoted"', '"half'],
    [
      "change_case:capital_word_frequency",
      { capital_frequency: 2, capital_relation: "at least" },
      "THE BIG dog",
      "THE dog",
    ],
    ["change_case:english_capital", {}, "ALL OF 3!", "Not ALL"],
    ["change_case:english_lowercase", {}, "all of 3!", "Not all"],
    ["punctuation:no_comma", {}, "none here", "one, here"],
  ];

  it.each(cases)("%s %j", (id, given, follows, breaks) => {
    const item = { key: "1", prompt: "", instructions: [{ id, given }] };
    expect([checkInstructions(item, follows).strict, checkInstructions(item, breaks).strict]).toEqual([
      [true],
      [false],
    ]);
  });

  it("are all 25 of the benchmark, and none takes an empty answer", () => {
    expect(Object.keys(instructionCheckers)).toHaveLength(25);
    expect(new Set(cases.map(([id]) => id)).size).toBe(25);
    for (const [id, given] of cases) {
      expect(checkInstructions({ key: "1", prompt: "", instructions: [{ id, given }] }, " ")).toEqual({
        strict: [false],
        loose: [false],
      });
    }
  });

  it("are loose about first and last lines and asterisks", () => {
    const item = { key: "1", prompt: "", instructions: [{ id: "startend:quotation", given: {} }] };
    expect(checkInstructions(item, 'Sure!\n*"quoted"*')).toEqual({ strict: [false], loose: [true] });
  });
});

describe("benchmarks from files", () => {
  it("read IFEval, and refuse an instruction that there isn't", async () => {
    const row = { key: 7, prompt: "p", instruction_id_list: ["punctuation:no_comma"], kwargs: [{ num: null }] };
    expect(await readInstructions(await write("ifeval.jsonl", lines([row])))).toEqual([
      { key: "7", prompt: "p", instructions: [{ id: "punctuation:no_comma", given: { num: null } }] },
    ]);
    const wrong = await write(
      "ifeval-wrong.jsonl",
      lines([row, { ...row, instruction_id_list: ["punctuation:none"] }]),
    );
    await expect(readInstructions(wrong)).rejects.toThrow(/ifeval-wrong.jsonl line 2: expected \{key, prompt/);
    expect(await readInstructions(wrong, 1)).toHaveLength(1);
    await expect(readInstructions(join(folder, "nowhere"))).rejects.toThrow(/no such file/);
  });

  it("read GSM8K and find the number of an answer", async () => {
    const path = await write("gsm8k.jsonl", lines([{ question: "q", answer: "so <<1+1=2>>\n#### 1,250" }]));
    expect(await readArithmetic(path)).toEqual([{ question: "q", answer: "1250" }]);
    expect(
      ["It is $1,250.00.", "3 and then #### 1250 apples", "first 7, last -4.5", "none"].map(extractNumber),
    ).toEqual(["1250", "1250", "-4.5", undefined]);
  });

  it("read MMLU as CSV and as JSON Lines", async () => {
    const csv = await write("high_school_physics_test.csv", '"What, ""really""?\nYes",a,b,c,d,C\r\nnext,1,2,3,4,A\n');
    expect(await readChoices(csv)).toEqual([
      { subject: "high school physics", question: 'What, "really"?\nYes', choices: ["a", "b", "c", "d"], answer: 2 },
      { subject: "high school physics", question: "next", choices: ["1", "2", "3", "4"], answer: 0 },
    ]);
    const jsonl = await write(
      "mmlu.jsonl",
      lines([
        { question: "q", choices: ["x", "y"], answer: 1 },
        { question: "q", choices: ["x", "y"], answer: "A" },
      ]),
    );
    expect((await readChoices(jsonl)).map(({ answer }) => answer)).toEqual([1, 0]);
    await expect(readChoices(await write("bad.csv", "q,a,b,c,d,E\n"))).rejects.toThrow(/bad.csv row 1/);
  });

  it("are limited as a whole, and every file has its share", () => {
    const files = [["a1", "a2", "a3", "a4"], ["b1"], ["c1", "c2", "c3"]];
    expect(takeShares(files, 6)).toEqual(["a1", "a2", "a3", "b1", "c1", "c2"]);
    expect(takeShares(files, 2)).toEqual(["a1", "b1"]);
    expect(takeShares(files, 0)).toEqual(files.flat());
    expect(takeShares(files, 100)).toEqual(files.flat());
    expect(takeShares([], 5)).toEqual([]);
  });

  const item = {
    id: "t/0",
    prompt: 'import math\n\ndef add(a, b):\n    """Sum."""\n',
    entryPoint: "add",
    test: "def check(f):\n    assert f(1, 2) == 3",
  };

  it("read HumanEval and put programs together from what models answer", async () => {
    const row = { task_id: item.id, prompt: item.prompt, entry_point: "add", test: item.test, canonical_solution: "" };
    expect(await readPrograms(await write("humaneval.jsonl", lines([row])))).toEqual([item]);
    expect(assembleProgram(item, "    return a + b\nprint(1)\n")).toBe(
      `${item.prompt}    return a + b\n\n${item.test}\n\ncheck(add)\n`,
    );
    expect(assembleProgram(item, "Sure:\n```python\ndef add(a, b):\n    return a + b\n```\nDone")).toMatch(
      /^import math\n\n\ndef add[^]*check\(add\)\n$/,
    );
  });

  it.skipIf(spawnSync("python3", ["-V"]).status !== 0)(
    "run programs in a process of their own, under limits (skipped without python3)",
    async () => {
      expect(await runsClean(assembleProgram(item, "    return a + b"))).toBe(true);
      expect(await runsClean(assembleProgram(item, "    return a - b"))).toBe(false);
      const start = performance.now();
      expect(await runsClean("while True: pass", { seconds: 1 })).toBe(false);
      expect(await runsClean("import time; time.sleep(60)", { seconds: 1 })).toBe(false);
      expect(performance.now() - start).toBeLessThan(20_000);
      expect(await runsClean("x = bytearray(2_000_000_000)", { megabytes: 256 })).toBe(false);
      expect(await runsClean("open('big', 'wb').write(bytes(5_000_000))")).toBe(false);
      expect(
        await runsClean("import os; assert set(os.environ) <= {'LC_CTYPE'}; assert os.listdir('.') == ['program.py']"),
      ).toBe(true);
    },
  );

  it.skipIf(spawnSync("python3", ["-V"]).status !== 0)(
    "fail programs that end before their check, but not for what they keep for __main__ (skipped without python3)",
    async () => {
      const answer = (body: string): string => assembleProgram(item, `\`\`\`python\n${body}\n\`\`\``);
      const wrong = "import os, sys\ndef add(a, b):\n    return a - b\n";
      for (const end of ["sys.exit()", "os._exit(0)", 'if __name__ != "x": sys.exit(0)', "raise SystemExit"]) {
        expect(await runsClean(answer(wrong + end)), end).toBe(false);
      }
      expect(await runsClean(answer("import os\ndef add(a, b):\n    os._exit(0)"))).toBe(false);
      const right = 'def add(a, b):\n    return a + b\nif __name__ == "__main__":\n    raise SystemExit(1)';
      expect(await runsClean(answer(right))).toBe(true);
    },
  );

  it.skipIf(spawnSync("python3", ["-V"]).status !== 0)(
    "are run by the Python of the PATH, and see nothing else of the environment (skipped without python3)",
    async () => {
      const bin = await mkdtemp(join(folder, "bin-"));
      await writeFile(join(bin, "own-python"), '#!/bin/sh\nexec python3 "$@"\n', { mode: 0o755 });
      vi.stubEnv("PATH", `${bin}${delimiter}${process.env.PATH}`);
      vi.stubEnv("REC_R1_SECRET", "secret");
      try {
        const program = "import os; assert not os.environ; assert 'REC_R1' not in open('/proc/self/environ').read()";
        expect(await runsClean(process.platform === "linux" ? program : "", { python: "own-python" })).toBe(true);
      } finally {
        vi.unstubAllEnvs();
      }
    },
  );

  it("say when there is no Python", async () => {
    await expect(runsClean("", { python: join(folder, "no-python") })).rejects.toThrow(/could not be started/);
  });
});

describe("measures without a data set", () => {
  const words = ["anchor", "beacon", "castle"];
  const base = { engine: new TabularEngine(words), weights: "policy" as const };

  it("have prompts and a text of the project's own", () => {
    expect(new Set(generalPrompts).size).toBe(40);
    expect(heldOutText.split(/\s+/).length).toBeGreaterThan(400);
  });

  it("find a uniform model's perplexity and no divergence from itself", async () => {
    // Four equally likely tokens. Of a window of 100, the first 32 are context.
    const text = Array.from({ length: 100 }, (_, i) => words[i % 3]).join(" ");
    const engine = new TabularEngine(words);
    engine.logprobs = (data) =>
      Promise.resolve(data.map(({ completion }) => new Float32Array(completion.length).fill(Math.log(1 / 4))));
    const { value, count } = await measurePerplexity({ engine, weights: "policy" }, { text });
    expect(value).toBeCloseTo(4, 5);
    expect(count).toBe(68);
    const same = await measureDivergence(base, base, { prompts: ["a", "b"] });
    expect(same.fromBase.value).toBeCloseTo(0, 9);
  });

  it("find how far a trained policy has moved, as its own distribution says", async () => {
    const engine = new TabularEngine(words);
    const prompt = engine.tokenizer.encodeChat([{ role: "user", content: "a" }]);
    for (let step = 0; step < 20; step++) {
      await engine.forwardBackward([{ prompt, completion: [1, 0] }], { name: "cross_entropy" });
      await engine.optimStep({ learningRate: 0.1 });
    }
    const policy = { engine, weights: "policy" as const };
    const { fromBase, toBase } = await measureDivergence(policy, base, {
      prompts: Array<string>(400).fill("a"),
      maxTokens: 1,
    });
    // All prompts are equal and so are their samples; the estimate is k3 of that one token.
    const [first] = await engine.sample([prompt], { n: 1, maxTokens: 1, temperature: 1, seed: 0 });
    const d = Math.log(1 / 4) - (first?.[0]?.logprobs[0] as number);
    expect(fromBase.value).toBeCloseTo(Math.expm1(d) - d, 5);
    expect(toBase.value).toBeGreaterThan(0);
  });

  it("score benchmarks by greedy answers and by the likeliest letter", async () => {
    const engine = new TabularEngine(["A", "B", "#### 3"]);
    const measures = await measureAbility(
      { engine, weights: "policy" },
      {
        text: "A B ".repeat(40),
        maxTokens: 4,
        instructions: [{ key: "1", prompt: "p", instructions: [{ id: "punctuation:no_comma", given: {} }] }],
        arithmetic: [{ question: "1+2?", answer: "3" }],
        choices: [
          { subject: "", question: "q", choices: ["x", "y"], answer: 0 },
          { subject: "s", question: "q", choices: ["x", "y"], answer: 1 },
        ],
        programs: [{ id: "1", prompt: "def f():\n", entryPoint: "f", test: "" }],
      },
    );
    expect(measures["MMLU accuracy"]).toEqual({ value: 0.5, better: "more", count: 2 });
    expect(Object.keys(measures)).not.toContain("HumanEval pass@1");
    expect(measures["IFEval prompt strict"]?.count).toBe(1);
    const table = forgettingTable({
      format: 1,
      createdAt: "",
      seed: 0,
      notes: [],
      policies: [
        { name: "base", measures: { x: { value: 2, base: null, better: "less", count: 3 } } },
        { name: "tuned", measures: { x: { value: 3, base: 2, better: "less", count: 3 } } },
      ],
    });
    expect(table.rows).toEqual([["x", "less", "3", "2.0000", "3.0000 (+50.0 %)"]]);
  });
});
