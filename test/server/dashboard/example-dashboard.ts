/** A dashboard over two runs that are made up, with a playground that answers without a model. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Playground } from "../../../src/server/dashboard/playground.ts";
import { startDashboard, type Dashboard, type DashboardOptions } from "../../../src/server/dashboard/dashboard.ts";
import { creditTerms } from "../../../src/server/dashboard/term-credit.ts";
import type { ShownHit, TryEvent } from "../../../src/server/dashboard/wire.ts";
import { ndcg } from "../../../src/ranking/index.ts";
import { writeSyntheticRun, type SyntheticRunOptions } from "../../support/synthetic-run.ts";

/** Writes what a small model and a word search would say. */
export class ScriptedPlayground implements Playground {
  readonly asked: string[] = [];
  isClosed = false;
  hasCheckpoint = true;

  async *ask(text: string): AsyncGenerator<TryEvent> {
    this.asked.push(text);
    const written = { raw: text, untrained: `${text} icon`, tuned: `${text} account` };
    for (const [policy, query] of Object.entries(written)) {
      if (policy === "tuned" && !this.hasCheckpoint) {
        yield { kind: "status", message: "This run has no checkpoint yet" };
        return;
      }
      yield { kind: "status", message: `The ${policy} policy writes` };
      const hits = ["account", "account-box", "face-man"].map((id): ShownHit => ({
        id,
        title: `${id.replaceAll("-", " ")} for ${query}`,
        picture: {
          path: "M12 4a4 4 0 0 1 4 4 4 4 0 0 1-4 4 4 4 0 0 1-4-4 4 4 0 0 1 4-4m0 10c4.4 0 8 1.8 8 4v2H4v-2c0-2.2 3.6-4 8-4Z",
        },
        isRelevant: false,
      }));
      yield {
        kind: "answer",
        policy: policy as "raw",
        step: policy === "tuned" ? 40 : null,
        completion: policy === "raw" ? null : query,
        query,
        hits,
        seconds: 0.12,
      };
    }
  }

  async credit({ query }: { query: string }) {
    const [last = ""] = query.split(" ").slice(-1);
    return creditTerms({
      query,
      metric: "ndcg@10",
      search: async (queries) => queries.map((text) => [{ id: text.includes(last) ? "wanted" : "other", score: 1 }]),
      score: (hits) => ndcg(hits, ["wanted"], { k: 10 }),
    });
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }
}

const small: SyntheticRunOptions = { steps: 60, promptsPerStep: 6, groupSize: 8, evalEvery: 5, recordTokensEvery: 10 };

/** A page and a script in `folder`, for what doesn't need the real ones. @returns `folder` */
export async function writeSmallPages(folder: string): Promise<string> {
  await mkdir(folder);
  await writeFile(join(folder, "index.html"), "<!doctype html><title>pages</title>");
  await writeFile(join(folder, "app.js"), "export {};");
  return folder;
}

/** Runs `first` (done) and `second` (stopped at step 40) in `runs`, shown on a free port. */
export async function openExampleDashboard(
  runs: string,
  options: Partial<DashboardOptions> = {},
): Promise<Dashboard & { playground: ScriptedPlayground }> {
  await writeSyntheticRun(join(runs, "first"), small);
  await writeSyntheticRun(join(runs, "second"), {
    ...small,
    taken: 40,
    seed: 1,
    config: { learningRate: 2e-4, klCoef: 0.01 },
  });
  const playground = new ScriptedPlayground();
  const dashboard = await startDashboard({ runs, port: 0, openPlayground: async () => playground, ...options });
  return { url: dashboard.url, close: () => dashboard.close(), playground };
}
