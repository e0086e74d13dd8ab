/** The settings of a cluster's size are settings that this version takes. */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { resolveLaunchConfig } from "../../src/cli/launch-config.ts";
import { fileLayer } from "../../src/cli/options.ts";
import { openRecommender } from "../../src/cli/recommender-settings.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const folder = join(root, "examples/cluster");
const readJson = async (name: string): Promise<unknown> => JSON.parse(await readFile(join(folder, name), "utf8"));

describe("examples/cluster", () => {
  it.each([
    ["paper-size.json", 32],
    ["hundredfold.json", 3200],
  ])("has training's options in %s", async (name, promptsPerStep) => {
    const { train, engine } = resolveLaunchConfig([await fileLayer(join(folder, name))]);
    expect(train).toMatchObject({ promptsPerStep, groupSize: 12, maxTokens: 512 });
    // What an engine on a server takes.
    expect(engine).toMatchObject({ engine: "http://127.0.0.1:8000", full: false });
    expect(train.temperature).toBe(1);
    expect(train.minP).toBe(0);
    expect(train.overlapSteps).toBeGreaterThan(0);
  });

  it("gives every GPU of the servers' settings something to do", async () => {
    const gpus = async (name: string): Promise<number> => {
      const settings = (await readJson(name)) as Record<string, number>;
      const of = (key: string): number => settings[key] as number;
      const training = of("trainer.placement.policy_num_nodes") * of("trainer.placement.policy_num_gpus_per_node");
      const engines = of("generator.inference_engine.num_engines");
      return training + engines * of("generator.inference_engine.tensor_parallel_size");
    };
    expect(await gpus("skyrl-paper-size.json")).toBe(8);
    expect(await gpus("skyrl-hundredfold.json")).toBe(13 * 8);
  });

  it("are the settings that the documentation shows", async () => {
    const text = await readFile(join(root, "docs/scaling.md"), "utf8");
    const shown = [...text.matchAll(/```json\n([\s\S]*?)```/g)].map(
      ([, json]) => JSON.parse(json as string) as unknown,
    );
    for (const name of ["paper-size", "skyrl-paper-size", "hundredfold", "skyrl-hundredfold"]) {
      expect(shown).toContainEqual(await readJson(`${name}.json`));
      expect(text).toContain(`examples/cluster/${name}.json`);
    }
  });

  describe("opensearch.json", () => {
    beforeAll(() => {
      process.env.OPENSEARCH_PASSWORD = "from the environment";
    });
    afterAll(() => {
      delete process.env.OPENSEARCH_PASSWORD;
    });

    it("names a recommender and no secret", async () => {
      const settings = (await readJson("opensearch.json")) as { tls: { caFile?: string } };
      expect(JSON.stringify(settings)).not.toContain("from the environment");
      // There is no such file here.
      delete settings.tls.caFile;
      const recommender = await openRecommender(settings, { source: "opensearch.json", folder });
      expect(recommender.name).toMatch(/opensearch/i);
      await recommender.close();
    });
  });
});
