// A search API in 30 lines, as a team might have one: icons by the words of their names.
//   node examples/http/server.mjs [PORT]
//   curl -s 127.0.0.1:8765/search -H 'content-type: application/json' -d '{"q": "account box", "n": 3}'
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const file = createRequire(import.meta.url).resolve("@mdi/svg/meta.json");
const icons = JSON.parse(readFileSync(file, "utf8")).map(({ name }) => ({ name, words: name.split("-") }));
const { version } = createRequire(import.meta.url)("@mdi/svg/package.json");

/** Icons that have a word of the query, by how much of their name it covers. */
function search(text, n) {
  const asked = new Set(text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);
  return icons
    .map(({ name, words }) => ({ name, score: words.filter((word) => asked.has(word)).length ** 2 / words.length }))
    .filter(({ score }) => score > 0)
    .sort((a, b) => b.score - a.score || (a.name < b.name ? -1 : 1))
    .slice(0, n);
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { q = "", n = 10 } = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks)) : {};
  const answer = request.url === "/version" ? { version } : { results: search(q, n) };
  response.setHeader("content-type", "application/json").end(JSON.stringify(answer));
});
server.listen(Number(process.argv[2] ?? 8765), "127.0.0.1", () => console.log("ready"));
