/**
 * The documentation's examples: links lead somewhere, whole TypeScript examples type-check, commands exist with their
 * options, and the tutorial is run as written (with a smaller data set, and a tiny model where one is trained).
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { Command } from "commander";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { commands } from "../../src/cli/commands.ts";
import { runProcess } from "../cli/project.ts";
import { wordLetters, writeTinyModelFolder } from "../support/tiny-model-folder.ts";

const root = join(import.meta.dirname, "../..");
const pages = ["README.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith(".md"),
);

interface Block {
  page: string;
  language: string;
  text: string;
  /** Of the fence, from 1. */
  line: number;
}

function blocksOf(page: string): Block[] {
  const text = readFileSync(join(root, page), "utf8");
  return [...text.matchAll(/^```(\w+)\n([^]*?)^```$/gm)].map((match) => ({
    page,
    language: match[1] as string,
    text: match[2] as string,
    line: text.slice(0, match.index).split("\n").length,
  }));
}
const blocks = pages.flatMap(blocksOf);

/** Commands of shell examples, with lines that go on joined and comments left out. */
function commandsOf({ text }: Block): string[] {
  return text
    .replace(/\\\n\s*/g, "")
    .split("\n")
    .map((line) => line.replace(/\s+#.*$|^#.*$/, "").trim())
    .filter((line) => line !== "");
}

describe("links", () => {
  const headings = (path: string): string[] =>
    [...readFileSync(path, "utf8").matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) =>
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, "")
        .trim()
        .replace(/\s/g, "-"),
    );

  it.each(pages)("of %s lead to files and headings that exist", (page) => {
    const text = readFileSync(join(root, page), "utf8").replace(/^```[^]*?^```$/gm, "");
    const broken: string[] = [];
    for (const [, target = ""] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [file = "", anchor] = target.split("#");
      const path = file === "" ? join(root, page) : resolve(dirname(join(root, page)), file);
      if (!existsSync(path)) broken.push(target);
      else if (anchor && path.endsWith(".md") && !headings(path).includes(anchor)) broken.push(target);
    }
    expect(broken).toEqual([]);
  });

  it("lead from the index to every page", () => {
    const index = readFileSync(join(root, "docs/README.md"), "utf8");
    for (const page of pages.filter((name) => name.startsWith("docs/") && name !== "docs/README.md")) {
      expect(index).toContain(`(${page.slice("docs/".length)})`);
    }
  });
});

describe("shell examples", () => {
  const lines = blocks
    .filter(({ language }) => language === "sh")
    .flatMap((block) => commandsOf(block).map((line) => ({ ...block, line })));
  const ours = lines.filter(({ line }) => /^rec-r1 /.test(line)).map(({ page, line }) => [page, line] as const);

  it.each(ours)("in %s: %s", async (_page, line) => {
    const words = (line.match(/'[^']*'|"[^"]*"|[^\s|&>]+/g) ?? []).slice(1);
    const entry = commands.find(({ name }) => name === words[0]);
    expect(entry, `the command ${words[0]}`).toBeDefined();
    const command = new Command(words[0]);
    (await entry?.load())?.define(command);
    const inner = command.commands.find((candidate) => candidate.name() === words[1]) ?? command;
    const known = new Set([...inner.options, ...command.options].flatMap(({ long, short }) => [long, short]));
    const unknown = words.filter((word) => /^--?[a-z]/.test(word) && !known.has(word.split("=")[0]));
    expect(unknown.filter((word) => !["--help", "--debug"].includes(word))).toEqual([]);
  });

  it("call scripts that package.json has", () => {
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      scripts: Record<string, string>;
    };
    for (const { line } of lines) {
      for (const [, name = ""] of line.matchAll(/npm run (?:-s |--silent )?([\w:-]+)/g))
        expect(scripts).toHaveProperty([name]);
    }
  });
});

describe("TypeScript examples", () => {
  /** Examples that import from the package and leave nothing out are whole. */
  const whole = blocks.filter(
    ({ language, text }) => language === "ts" && /from "rec-r1/.test(text) && !text.includes("…"),
  );

  it("type-check", { timeout: 240_000 }, () => {
    expect(whole.length).toBeGreaterThan(4);
    const given = `import type { Engine, Recommender, Task } from "rec-r1";
declare global { const task: Task; const recommender: Recommender; const engine: Engine; const console: { warn(text: string): void }; }
`;
    const names = whole.map((_, i) => join(root, `test/docs/example-${i}.ts`));
    const texts = new Map(whole.map(({ text }, i) => [names[i] as string, `${text}\nexport {};\n`]));
    const globals = join(root, "test/docs/example-globals.ts");
    texts.set(globals, given);
    const config = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile).config as object;
    const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
    const paths = {
      "rec-r1": [join(root, "src/index.ts")],
      "rec-r1/engines/*": [join(root, "src/engines/*/index.ts")],
      "rec-r1/recommenders/*": [join(root, "src/recommenders/*/index.ts")],
    };
    const host = ts.createCompilerHost(options);
    const { getSourceFile, fileExists, readFile } = host;
    host.fileExists = (name) => texts.has(name) || fileExists(name);
    host.readFile = (name) => texts.get(name) ?? readFile(name);
    host.getSourceFile = (name, target, ...rest) =>
      texts.has(name)
        ? ts.createSourceFile(name, texts.get(name) as string, target)
        : getSourceFile(name, target, ...rest);
    const program = ts.createProgram(
      [...names, globals],
      { ...options, paths, noUnusedLocals: false, noUnusedParameters: false },
      host,
    );
    const faults = names.flatMap((name, i) => {
      const source = program.getSourceFile(name);
      return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map(
        ({ messageText }) =>
          `${whole[i]?.page} line ${whole[i]?.line}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`,
      );
    });
    expect(faults).toEqual([]);
  });
});

describe("the tutorial", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rec-r1-tutorial-"));
  });
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it("runs as written, on items of one letter and a random model", { timeout: 300_000 }, async () => {
    const letters = wordLetters;
    await writeFile(
      join(folder, "products.csv"),
      `sku,name\n${letters.map((letter) => `${letter},${letter}${letter} ${letter}`).join("\n")}\n`,
    );
    const clicks = letters.flatMap((letter) => [`${letter},${letter},1,8,20`, `${letter},${letter},2,4,20`]);
    await writeFile(join(folder, "clicks.csv"), `query,clicked_id,position,clicks,impressions\n${clicks.join("\n")}\n`);
    await writeTinyModelFolder(join(folder, "model"));
    const written = blocksOf("docs/tutorial.md")
      .filter(({ language }) => language === "sh")
      .flatMap(commandsOf);
    const lines = written.filter((line) => /^rec-r1 (?!serve|dashboard)/.test(line));
    expect(lines.length).toBeGreaterThan(5);
    const tiny =
      "--model model --threads 1 --steps 2 --warmup-steps 1 --warmup-batch 4 --prompts-per-step 4 --max-tokens 4 --no-doctor";
    for (const line of lines) {
      const words = `${line} ${/^rec-r1 train/.test(line) ? tiny : ""}`.match(/"[^"]*"|\S+/g) ?? [];
      const args = words.slice(1).map((word) => word.replaceAll('"', ""));
      const { code, stderr } = await runProcess(folder, args);
      // The doctor finds that a letter's own name leaves nothing to gain.
      if (args[0] !== "doctor") expect(code, `${line}\n${stderr}`).toBe(0);
    }
    for (const name of ["shop/task.ts", "shop/runs/first/report.html", "shop/runs/first/report.md"]) {
      expect(existsSync(join(folder, name)), name).toBe(true);
    }
  });
});
