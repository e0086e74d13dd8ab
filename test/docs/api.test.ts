/** docs/api.md is made from the types. Bring it up to date with `npm run docs:reference`. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { it } from "vitest";
import { describeExports } from "./describe-exports.ts";
import { expectPage, root } from "./expect-page.ts";

/** Entries of package.json's "exports". */
function listEntries(): { name: string; path: string }[] {
  const folders = (kind: string): { name: string; path: string }[] =>
    readdirSync(join(root, "src", kind), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => ({ name: `rec-r1/${kind}/${name}`, path: join(root, "src", kind, name, "index.ts") }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  return [{ name: "rec-r1", path: join(root, "src/index.ts") }, ...folders("engines"), ...folders("recommenders")];
}

it("is up to date", { timeout: 240_000 }, async () => {
  const sections = listEntries().map(({ name, path }) => `## ${name}\n\n${describeExports(path)}`);
  const text = `# API

What the package exports, made from its types by \`npm run docs:reference\`; a test holds it up to date. Options of a run are
in the [reference](reference.md).

${sections.join("\n\n")}
`;
  await expectPage("api.md", text);
});
