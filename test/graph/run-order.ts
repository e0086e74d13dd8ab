/** The order in which onnxruntime runs a graph's nodes, from its own profile. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Graph } from "../../src/graph/graph.ts";
import { type AnyTensor, Session, type TensorData } from "../../src/graph/session.ts";

interface ProfileEvent {
  cat: string;
  name: string;
  args: { op_name?: string };
}

/** Runs `graph` for all of its outputs; gives these and the kinds of its nodes as they ran. */
export async function findRunOrder(
  graph: Graph,
  feeds: Readonly<Record<string, AnyTensor>>,
): Promise<{ kinds: string[]; outputs: Record<string, TensorData> }> {
  const folder = await mkdtemp(join(tmpdir(), "rec-r1-run-order-"));
  try {
    const session = await Session.create("order", graph, { threads: 1, profilePrefix: join(folder, "profile") });
    const outputs = await session.run(feeds, {}, session.outputNames);
    session.endProfiling();
    await session.close();
    const [file] = (await readdir(folder)) as [string];
    const events = JSON.parse(await readFile(join(folder, file), "utf8")) as ProfileEvent[];
    const nodes = events.filter(({ cat, name }) => cat === "Node" && name.endsWith("_kernel_time"));
    return { kinds: nodes.map(({ args }) => args.op_name ?? ""), outputs };
  } finally {
    await rm(folder, { recursive: true });
  }
}
