import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";
import { quoteForShell } from "../../src/core/shell-quote.ts";

it("leaves plain arguments alone", () => {
  for (const plain of ["runs/first", "task.ts", "a=b,c", "../x@1.0", "--flag"])
    expect(quoteForShell(plain)).toBe(plain);
});

it.runIf(process.platform !== "win32")("gives a shell back what it was given", () => {
  const odd = ["", "my run", "rün ✓", "it's", "$(id)", "`id`", "a;b", 'say "x"', "back\\slash", "two\nlines", "*"];
  const { stdout } = spawnSync("sh", ["-c", `printf '%s\\0' ${odd.map(quoteForShell).join(" ")}`], {
    encoding: "utf8",
  });
  expect(stdout.split("\0").slice(0, -1)).toEqual(odd);
});
