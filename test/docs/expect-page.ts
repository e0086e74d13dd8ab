/** Pages of docs/ that are made from the program. */
import { join } from "node:path";
import prettier from "prettier";
import { expect } from "vitest";

export const root = join(import.meta.dirname, "../..");

/** Fails where the page docs/`name` isn't `text`, formatted as all pages are; `vitest -u` writes it. */
export async function expectPage(name: string, text: string): Promise<void> {
  const page = join(root, "docs", name);
  const formatted = await prettier.format(text, { ...(await prettier.resolveConfig(page)), parser: "markdown" });
  await expect(formatted).toMatchFileSnapshot(page);
}
