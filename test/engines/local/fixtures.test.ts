/**
 * The reference values of other programs (PyTorch, Transformers), where they lie beside the repository. They are read in
 * place; without them these tests are skipped, and `exactness.test.ts` stands alone.
 */
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { type Check, isWithin } from "../../../src/cli/verify/check.ts";
import { findQuantizedModel, verifyLanguageModel } from "../../../src/cli/verify/language-model.ts";
import { verifyTinyModel } from "../../../src/cli/verify/tiny-model.ts";
import { ModelError } from "../../../src/core/errors.ts";

const fixtures = resolve(import.meta.dirname, "../../../../shared/fixtures");
const tinyModels = join(fixtures, "tiny-models");
const languageModel = join(fixtures, "smollm2-135m-instruct.json");

const beyond = (checks: readonly Check[]): Check[] => checks.filter((check) => !isWithin(check));

describe("small models, by PyTorch in float64", () => {
  const names = existsSync(tinyModels) ? readdirSync(tinyModels).sort() : [];
  if (names.length === 0) it("are compared", ({ skip }) => skip("there is no ../shared/fixtures/tiny-models"));
  it.each(names)("%s: log-probs, losses, gradients, optimizer step and LoRA", { timeout: 300_000 }, async (name) => {
    const { checks } = await verifyTinyModel(join(tinyModels, name));
    expect(checks.length).toBeGreaterThan(25);
    expect(beyond(checks)).toEqual([]);
  });
});

describe("SmolLM2-135M-Instruct, by Transformers", () => {
  it("prompts, token ids, greedy answers and log-probs", { timeout: 600_000 }, async ({ skip }) => {
    if (!existsSync(languageModel)) skip("there is no ../shared/fixtures/smollm2-135m-instruct.json");
    const path = await findQuantizedModel({}).catch((error: unknown) => {
      if (error instanceof ModelError) skip(`the model can't be had: ${error.message}`);
      throw error;
    });
    const checks = await verifyLanguageModel(languageModel, path);
    expect(checks).toHaveLength(7);
    expect(beyond(checks)).toEqual([]);
  });
});
