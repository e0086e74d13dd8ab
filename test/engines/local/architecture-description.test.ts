/** A family of models is a description: the graph builder knows no family by name. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { architectures } from "../../../src/models/architectures.ts";

it.each(["src/engines/local", "src/graph"])("%s names no family of models", (folder) => {
  const path = fileURLToPath(new URL(`../../../${folder}/`, import.meta.url));
  const files = readdirSync(path).filter((file) => file.endsWith(".ts"));
  expect(files.length).toBeGreaterThan(3);
  const names = architectures.map(({ name }) => name);
  for (const file of files) {
    const code = readFileSync(path + file, "utf8");
    expect(code, file).not.toMatch(/config\.architecture|\.architecture\b/);
    for (const name of names) expect(code, file).not.toContain(`"${name}"`);
  }
});
