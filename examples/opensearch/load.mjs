// Puts the icons into an index of a local OpenSearch.
//   node examples/opensearch/load.mjs [URL]
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Client } from "@opensearch-project/opensearch";

const client = new Client({ node: process.argv[2] ?? "http://127.0.0.1:9220" });
const icons = JSON.parse(readFileSync(createRequire(import.meta.url).resolve("@mdi/svg/meta.json"), "utf8"));
const index = "icons";
await client.indices.delete({ index }, { ignore: [404] });
await client.indices.create({
  index,
  body: {
    settings: { number_of_shards: 1, number_of_replicas: 0 },
    mappings: { properties: { name: { type: "keyword" }, title: { type: "text" } } },
  },
});
const body = icons.flatMap(({ name }) => [{ index: { _id: name } }, { name, title: name.replaceAll("-", " ") }]);
const { body: result } = await client.bulk({ index, refresh: true, body });
if (result.errors) throw new Error("Some icons could not be indexed.");
console.log(`${icons.length} icons in the index "${index}"`);
await client.close();
