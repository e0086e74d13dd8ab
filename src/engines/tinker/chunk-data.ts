/** Data in chunks of at most so many data and about so many bytes, in order. */
import type { ServerLimits } from "./client.ts";
import type { DatumWire } from "./wire.ts";

/** A chunk holds at least one datum, however large that is. */
export function chunkData(
  data: readonly DatumWire[],
  { chunkData: maxData, chunkBytes }: Pick<ServerLimits, "chunkData" | "chunkBytes">,
): DatumWire[][] {
  const chunks: DatumWire[][] = [];
  let bytes = 0;
  for (const datum of data) {
    const own = estimateBytes(datum);
    const last = chunks.at(-1);
    if (last && last.length < maxData && bytes + own <= chunkBytes) {
      last.push(datum);
      bytes += own;
    } else {
      chunks.push([datum]);
      bytes = own;
    }
  }
  return chunks;
}

/** Size of a datum in a request, in bytes, about. */
function estimateBytes({ tokens, inputs }: DatumWire): number {
  const tensors = Object.values(inputs).reduce(
    (sum, { dtype, data }) => sum + data.length * (dtype === "int64" ? 8 : 4),
    0,
  );
  return 4 * tokens.length + tensors + 64;
}
