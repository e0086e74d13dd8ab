import { describe, expect, it } from "vitest";
import { DataError } from "../../src/core/errors.ts";

describe("messages", () => {
  it("stay as they are when they are of a common length", () => {
    const message = `${"word ".repeat(700)}end`;
    expect(new DataError("X", message).message).toBe(message);
  });

  it("keep what is said around a word that is very long", () => {
    const { message } = new DataError("X", `"${"x".repeat(100_000)}" is no model; known ones: a, b.`);
    expect(message.length).toBeLessThan(500);
    expect(message).toMatch(/^"x{199} … x+" is no model; known ones: a, b\.$/);
  });

  it("lose their middle when many words are too many", () => {
    const { message } = new DataError("X", `begins ${"word ".repeat(10_000)}ends`);
    expect(message.length).toBeLessThanOrEqual(4000);
    expect(message).toMatch(/^begins word .* … .* word ends$/);
  });
});
