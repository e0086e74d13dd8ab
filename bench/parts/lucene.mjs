// Lucene 9 as a peer: fetched by Maven, run by Java, asked by bench/lucene/LuceneBench.java.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startPeer } from "./line-peer.mjs";

const pathOf = (name) => fileURLToPath(new URL(`../lucene/${name}`, import.meta.url));

/** Lucene's class path; null where Java or Maven are missing, or can't fetch it. */
export function findLucene(folder, log) {
  for (const program of ["java", "mvn"]) {
    if (spawnSync(program, ["-version"]).error) {
      log(`${program} is not installed: our side runs alone`);
      return null;
    }
  }
  const file = join(folder, "lucene-class-path.txt");
  const plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath";
  const args = ["-q", "-B", "-f", pathOf("pom.xml"), plugin, `-Dmdep.outputFile=${file}`];
  const { status, stdout } = spawnSync("mvn", args, { encoding: "utf8" });
  if (status === 0) return readFileSync(file, "utf8").trim();
  log(`Maven could not fetch Lucene: our side runs alone\n${stdout.slice(-2000)}`);
  return null;
}

/**
 * Indexes `documents` (lines of id, tab, text) into `folder` and waits until `queries` (one a line) can be asked.
 * @returns a peer whose rounds give `seconds`, `buildSeconds`, `peakMegabytes` and the `first` ten ids of each answer
 */
export function startLucene(classPath, { documents, queries, folder, topK, batchSize, threads }) {
  const program = ["-Xmx2g", "-cp", classPath, pathOf("LuceneBench.java")];
  return startPeer("lucene", "java", [
    ...program,
    documents,
    queries,
    folder,
    ...[topK, batchSize, threads].map(String),
  ]);
}

/** Share of `expected` that `found` has, mean over queries. */
export function overlap(found, expected) {
  const shares = expected.map((ids, i) => {
    const own = new Set(found[i]);
    return ids.length === 0 ? 1 : ids.filter((id) => own.has(id)).length / ids.length;
  });
  return Number((shares.reduce((a, b) => a + b, 0) / shares.length).toFixed(4));
}
