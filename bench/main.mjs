// Runs one program of this folder: npm run bench -- NAME [--json] [its own options]
import { readdirSync } from "node:fs";

const names = readdirSync(new URL(".", import.meta.url))
  .filter((file) => file.endsWith(".mjs") && file !== "main.mjs")
  .map((file) => file.replace(/\.mjs$/, ""));
const [name, ...rest] = process.argv.slice(2);
if (!name || !names.includes(name)) {
  process.stderr.write(`Usage: npm run bench -- NAME [--json]\nPrograms: ${names.join(", ")} (see bench/README.md)\n`);
  process.exit(name === "--help" ? 0 : 2);
}
const asJson = rest.includes("--json");
const { run } = await import(`./${name}.mjs`);
const result = await run(
  rest.filter((argument) => argument !== "--json"),
  (line) => process.stderr.write(`${line}\n`),
);
if (asJson) process.stdout.write(`${JSON.stringify(result)}\n`);
else {
  for (const [key, value] of Object.entries(result)) {
    process.stdout.write(`${key}: ${typeof value === "object" ? JSON.stringify(value) : value}\n`);
  }
}
