// A real OpenSearch on 127.0.0.1, fetched by Maven and run in a JVM.
//   node scripts/opensearch.mjs      runs one until Ctrl-C and prints its address
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sources = join(root, "scripts/opensearch");
const cache = join(root, "node_modules/.cache/rec-r1");
/** The runner's node takes the port after a base of at most 9298. */
const ports = Array.from({ length: 80 }, (_, i) => 9220 + i);
const startSeconds = 300;

const checksum = (data) => createHash("sha256").update(data).digest("hex").slice(0, 16);

/** Why it can't run here; undefined where it can. */
export function whyNot() {
  const java = spawnSync("java", ["-version"], { encoding: "utf8" });
  if (java.error) return "java is not installed (Java 17 is needed)";
  const version = Number(/version "(\d+)/.exec(java.stderr)?.[1]);
  if (!(version >= 17)) return `java is version ${version}; 17 or later is needed`;
  if (spawnSync("mvn", ["-version"]).error) return "mvn (Maven) is not installed";
  return undefined;
}

/** Paths of what the server needs, as Maven gives them: jars, and plugins as zips. Fetched once. */
function fetchArtifacts(log) {
  const pom = join(sources, "pom.xml");
  const file = join(cache, `opensearch-${checksum(readFileSync(pom))}.txt`);
  const read = () => (existsSync(file) ? readFileSync(file, "utf8").trim().split(delimiter) : []);
  const isWhole = () => read().length > 0 && read().every((path) => existsSync(path));
  if (isWhole()) return read();
  mkdirSync(cache, { recursive: true });
  log("fetching OpenSearch by Maven");
  const plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath";
  const mvn = spawnSync("mvn", ["-q", "-B", "-f", pom, plugin, `-Dmdep.outputFile=${file}`], { encoding: "utf8" });
  if (mvn.status !== 0 || !isWhole()) {
    throw new Error(`Maven could not fetch OpenSearch (exit ${mvn.status}):\n${mvn.stdout}${mvn.stderr}`);
  }
  return read();
}

/** Unpacks a plugin's zip, once. @returns its jars and the class that it begins with */
function unpackPlugin(zip) {
  const folder = join(cache, `plugin-${checksum(zip)}`);
  const descriptor = join(folder, "plugin-descriptor.properties");
  if (!existsSync(descriptor)) {
    const parts = mkdtempSync(`${folder}-`);
    const jar = spawnSync("jar", ["--extract", "--file", zip], { cwd: parts, encoding: "utf8" });
    if (jar.status !== 0) throw new Error(`${zip} could not be unpacked: ${jar.error?.message ?? jar.stderr}`);
    rmSync(folder, { recursive: true, force: true });
    renameSync(parts, folder);
  }
  const className = /^classname=(.+)$/m.exec(readFileSync(descriptor, "utf8"))?.[1]?.trim();
  const jars = readdirSync(folder).filter((name) => name.endsWith(".jar"));
  return { className, jars: jars.map((name) => join(folder, name)) };
}

async function findFreePort() {
  for (const port of ports) {
    const isFree = await new Promise((resolve) => {
      const probe = createServer();
      probe.once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
  throw new Error(`No free port between ${ports[0]} and ${ports.at(-1)}.`);
}

/** Starts a server with no data. @returns its address and how to stop it */
export async function startOpenSearch(log = () => {}) {
  const reason = whyNot();
  if (reason) throw new Error(`OpenSearch can't run here: ${reason}.`);
  const artifacts = fetchArtifacts(log);
  const plugins = artifacts.filter((path) => path.endsWith(".zip")).map(unpackPlugin);
  // The server's own jars first: where a plugin has another version of one, the server's counts.
  const jars = [...artifacts.filter((path) => !path.endsWith(".zip")), ...plugins.flatMap((plugin) => plugin.jars)];
  const classPath = jars.join(delimiter);
  const port = await findFreePort();
  const dir = mkdtempSync(join(tmpdir(), "rec-r1-opensearch-"));
  writeFileSync(join(dir, "args"), `-Xms512m\n-Xmx1g\n-cp\n"${classPath.replaceAll("\\", "\\\\")}"\n`);
  log(`starting OpenSearch on port ${port}`);
  const child = spawn(
    "java",
    [
      `@${join(dir, "args")}`,
      join(sources, "OpenSearchServer.java"),
      join(dir, "data"),
      `${port}`,
      plugins.map(({ className }) => className).join(","),
    ],
    { cwd: dir, stdio: ["pipe", "pipe", "pipe"] },
  );
  let output = "";
  const ended = new Promise((resolve) => child.once("close", resolve));
  const stop = async () => {
    child.stdin.end();
    const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
    await ended;
    clearTimeout(timer);
    rmSync(dir, { recursive: true, force: true });
  };
  const readyPort = await new Promise((resolve, reject) => {
    const fail = (what) => reject(new Error(`OpenSearch ${what}:\n${output.slice(-3000)}`));
    const timer = setTimeout(() => fail(`was not ready after ${startSeconds} s`), startSeconds * 1000);
    const read = (chunk) => {
      output = (output + chunk).slice(-20_000);
      const ready = /READY (\d+)$/m.exec(output);
      if (!ready) return;
      clearTimeout(timer);
      resolve(Number(ready[1]));
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.once("error", (error) => fail(`did not start (${error.message})`));
    child.once("close", (code) => fail(`ended with ${code}`));
  }).catch(async (error) => {
    await stop();
    throw error;
  });
  log(`OpenSearch is ready at http://127.0.0.1:${readyPort}`);
  return { url: `http://127.0.0.1:${readyPort}`, stop };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await startOpenSearch((line) => console.error(line));
  console.log(server.url);
  const quit = () => void server.stop().then(() => process.exit(0));
  process.once("SIGINT", quit);
  process.once("SIGTERM", quit);
}
