/** The engine that settings ask for: what a chat template is told, here and before a server. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { engineConfigSchema, resolveLaunchConfig } from "../../src/cli/launch-config.ts";
import { openEngine } from "../../src/cli/open-engine.ts";
import { Reporter } from "../../src/cli/progress.ts";
import { LocalEngine } from "../../src/engines/local/index.ts";
import { loadModel } from "../../src/models/load.ts";
import { listenTinker } from "../../src/server/tinker/listen.ts";
import { temporaryFolder } from "../engines/local/tiny-models.ts";
import { writeTinyModelFolder } from "../support/tiny-model-folder.ts";

it.each(["local", "server"])("tells the chat template what it is told to, %s", async (place) => {
  const model = join(await temporaryFolder(), "model");
  await writeTinyModelFolder(model);
  await writeFile(
    join(model, "chat_template.jinja"),
    "{% if enable_thinking is defined and enable_thinking is false %}a{% endif %}{{ word }}",
  );
  const loaded = await loadModel(model);
  const server = await listenTinker({
    modelName: loaded.name,
    contextLength: loaded.config.contextLength,
    openPolicy: async ({ loraRank, seed }) => new LocalEngine(loaded, { loraRank, seed, threads: 1 }),
    dir: await temporaryFolder(),
    port: 0,
  });
  onTestFinished(() => server.close());
  const open = async (templateVariables?: string): Promise<string> => {
    const given = { model, engine: place === "local" ? "local" : server.url, threads: 1, templateVariables };
    const { signal } = new AbortController();
    const engine = await openEngine(engineConfigSchema.parse(given), { seed: 1, reporter: new Reporter(), signal });
    onTestFinished(() => engine.close());
    return engine.tokenizer.decode(engine.tokenizer.encodeChat([{ role: "user", content: "x" }]));
  };
  expect(await open()).toBe("a");
  expect(await open('{"word":"bc"}')).toBe("abc");
  expect(await open('{"word":"bc","enable_thinking":true}')).toBe("bc");
});

it.each(["enable_thinking=true", "[1]", "null", "3", ""])(
  "refuses %j as a template's variables",
  (templateVariables) => {
    const layer = { source: "flag", values: { templateVariables } };
    expect(() => resolveLaunchConfig([layer])).toThrow(/--template-variables.*expected a JSON object/);
  },
);
