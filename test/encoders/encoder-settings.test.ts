/** How a folder's encoder is to be used, where its files don't say all. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { readEncoderSettings } from "../../src/encoders/encoder-settings.ts";

it.each([
  [{ model_type: "bert", max_position_embeddings: 512, pad_token_id: 0 }, 512],
  [{ model_type: "roberta", max_position_embeddings: 514, pad_token_id: 1 }, 512],
  [{ model_type: "mpnet", max_position_embeddings: 514, pad_token_id: 1 }, 512],
  [{ model_type: "mpnet", max_position_embeddings: 514 }, 512],
])("texts of %j have %i tokens at most", async (config, expected) => {
  const folder = await mkdtemp(join(tmpdir(), "rec-r1-encoder-settings-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  expect((await readEncoderSettings(folder, config, {})).maxTokens).toBe(expected);
  expect((await readEncoderSettings(folder, config, { maxTokens: 1000 })).maxTokens).toBe(expected);
});
