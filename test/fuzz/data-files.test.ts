import fc from "fast-check";
import { parquetWriteBuffer } from "hyparquet-writer";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "vitest";
import { readCatalogueRows } from "../../src/core/catalogue.ts";
import { resolveConfig } from "../../src/core/config.ts";
import { readCsv } from "../../src/datasets/csv.ts";
import { readExamples } from "../../src/datasets/examples.ts";
import { readJsonl } from "../../src/core/data-lines.ts";
import { readRows } from "../../src/datasets/rows.ts";
import { readQrels, readRun } from "../../src/datasets/trec.ts";
import { readTopics } from "../../src/datasets/beir.ts";
import { resolveTrainConfig, trainConfigSchema } from "../../src/rl/train-config.ts";
import { damaged, damagedJson, faultOf, fuzz, fuzzFolder, mutatedJson, timeout } from "./fuzz.ts";

async function drain(rows: AsyncIterable<unknown>): Promise<void> {
  for await (const row of rows) void row;
}

const items = Array.from({ length: 6 }, (_, i) => ({
  id: `i${i}`,
  title: `Blue pen ${i}`,
  price: i / 3,
  tags: ["a", "é"],
}));
const jsonl = Buffer.from(items.map((item) => `${JSON.stringify(item)}\n`).join(""));
const examples = Buffer.from(
  items.map(({ id }, i) => `${JSON.stringify({ id: `q${i}`, query: "pen, blue", relevant: { [id]: 1 } })}\n`).join(""),
);
const csv = Buffer.from('id,title,text\r\n1,"a ""quoted"" one, with a comma","two\nlines"\n2,plain,é\n3,"",""\n');
const qrels = Buffer.from("q1 0 d1 1\nq1 0 d2 0\nq2\t0\td3\t2\n");
const run = Buffer.from("q1 Q0 d1 1 12.5 tag\nq1 Q0 d2 2 11 tag\nq2 Q0 d3 1 0.5 tag\n");
const topics = Buffer.from(
  "<top>\n<num> Number: 301\n<title> International crime\n<desc> Description:\nWhat\n</top>\n",
);
const parquet = Buffer.from(
  parquetWriteBuffer({
    columnData: [
      { name: "id", data: items.map(({ id }) => id), type: "STRING" },
      { name: "price", data: items.map(({ price }) => price), type: "DOUBLE" },
      { name: "count", data: items.map((_, i) => i), type: "INT32" },
      { name: "tags", data: items.map(({ tags }) => tags), type: "JSON" },
    ],
  }),
);

/** Bytes written to a file and read from there. */
function fileTarget(name: string, good: Buffer, file: string, read: (path: string) => Promise<unknown>, share = 1) {
  return async (): Promise<void> => {
    const path = join(await fuzzFolder(), file);
    await fuzz({
      name,
      share,
      inputs: damaged(good),
      sizeOf: (bytes) => bytes.length,
      run: (bytes) => {
        writeFileSync(path, bytes);
        return read(path);
      },
      check: (error) => {
        const fault = faultOf(error);
        if (fault !== undefined) return fault;
        const { message } = error as Error;
        return message.includes(path) ? undefined : "doesn't name the file";
      },
    });
  };
}

describe("data files", () => {
  test(
    "JSON Lines",
    { timeout },
    fileTarget("JSON Lines", jsonl, "a.jsonl", (path) => drain(readJsonl(path))),
  );
  test(
    "a catalogue",
    { timeout },
    fileTarget("catalogue", jsonl, "a.jsonl", (path) =>
      drain(readCatalogueRows(path, { idField: "id", textFields: ["title"] })),
    ),
  );
  test(
    "examples",
    { timeout },
    fileTarget("examples", examples, "a.jsonl", (path) => readExamples(path)),
  );
  test(
    "CSV",
    { timeout },
    fileTarget("CSV", csv, "a.csv", (path) => drain(readCsv(path))),
  );
  test(
    "qrels",
    { timeout },
    fileTarget("qrels", qrels, "a.qrels", (path) => readQrels(path)),
  );
  test(
    "a run",
    { timeout },
    fileTarget("run", run, "a.run", (path) => readRun(path)),
  );
  test(
    "topics",
    { timeout },
    fileTarget("topics", topics, "a.topics", (path) => readTopics(path)),
  );
  test(
    "parquet",
    { timeout },
    fileTarget("parquet", parquet, "a.parquet", (path) => drain(readRows(path))),
  );
});

test("configuration", { timeout }, async () => {
  const good: Record<string, unknown> = {
    ...resolveTrainConfig([]),
    recipe: "small",
    clipLow: 0.2,
    clipHigh: 0.3,
    aggregation: "token",
    warmupLearningRate: 1e-3,
  };
  await fuzz({
    name: "configuration",
    inputs: fc.oneof(
      mutatedJson(good),
      damagedJson(good).map((bytes) => tryJson(bytes.toString())),
    ),
    sizeOf: (value) => JSON.stringify(value)?.length ?? 0,
    run: (value) => {
      const values = (value ?? {}) as Record<string, unknown>;
      resolveConfig(trainConfigSchema, [{ source: "a.json", values }]);
      resolveTrainConfig([{ source: "a.json", values }]);
    },
  });
});

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
