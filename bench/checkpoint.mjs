// What a checkpoint of SmolLM2-135M costs: an adapter of rank 16 on every linear layer with its optimizer's moments,
// written as a run writes it (flushed to disk, with checksums), and read back with every checksum compared.
// Options: --rounds N (7).
import { mkdir, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalEngine } from "../dist/engines/local/index.js";
import { loadModel } from "../dist/models/load.js";
import { pullModel } from "../dist/models/pull.js";
import { readCheckpoint, writeCheckpoint } from "../dist/runs/checkpoints.js";
import { median, numberOption } from "./parts/statistics.mjs";

export async function run(args, log) {
  const rounds = numberOption(args, "rounds", 7);
  const { path } = await pullModel("smollm2-135m-instruct");
  const engine = new LocalEngine(await loadModel(path), {});
  const dir = await mkdtemp(join(tmpdir(), "rec-r1-checkpoint-"));
  try {
    const data = [{ prompt: [1, 100, 200], completion: [300, 400], weight: 1 }];
    await engine.forwardBackward(data, { name: "cross_entropy" });
    await engine.optimStep({ learningRate: 1e-4 });
    const [writes, reads] = [[], []];
    let bytes = 0;
    for (let round = 0; round < rounds; round++) {
      const checkpoints = join(dir, String(round));
      await mkdir(checkpoints);
      let start = performance.now();
      await writeCheckpoint(checkpoints, 1, { step: 1 }, (folder) => engine.saveState(folder));
      writes.push((performance.now() - start) / 1000);
      start = performance.now();
      const { engineDir } = await readCheckpoint(checkpoints, 1);
      await engine.loadState(engineDir);
      reads.push((performance.now() - start) / 1000);
      bytes = await sizeOf(checkpoints);
      await rm(checkpoints, { recursive: true });
      log(`round ${round + 1}: written in ${writes.at(-1).toFixed(2)} s, read in ${reads.at(-1).toFixed(2)} s`);
    }
    return {
      megabytes: Number((bytes / 1e6).toFixed(1)),
      writeSeconds: Number(median(writes).toFixed(3)),
      slowestWriteSeconds: Number(Math.max(...writes).toFixed(3)),
      readSeconds: Number(median(reads).toFixed(3)),
    };
  } finally {
    await engine.close();
    await rm(dir, { recursive: true, force: true });
  }
}

async function sizeOf(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
