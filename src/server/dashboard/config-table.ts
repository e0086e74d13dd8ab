/** Settings of several runs side by side. */
import type { RunManifest } from "../../runs/records.ts";
import type { ConfigTable } from "./wire.ts";

/** Values of a manifest by their path, `config.learningRate`; those that describe the moment are left out. */
function flatten(value: unknown, path: string, into: Map<string, string>): void {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    for (const [key, inner] of Object.entries(value)) flatten(inner, path === "" ? key : `${path}.${key}`, into);
    return;
  }
  if (value !== undefined) into.set(path, typeof value === "string" ? value : (JSON.stringify(value) ?? ""));
}

/** One row for each setting that a run has, those that differ marked. Order: as the first run that has it. */
export function compareConfigs(manifests: readonly { id: string; manifest: RunManifest }[]): ConfigTable {
  const settings = manifests.map(({ manifest }) => {
    const { task, config, engine, recommender, data, versions, launch } = manifest;
    const flat = new Map<string, string>();
    flatten({ task, config, engine, recommender, data, versions, launch }, "", flat);
    return flat;
  });
  const keys = [...new Set(settings.flatMap((flat) => [...flat.keys()]))];
  return {
    runs: manifests.map(({ id }) => id),
    rows: keys.map((key) => {
      const values = settings.map((flat) => flat.get(key) ?? null);
      return { key, values, differs: new Set(values).size > 1 };
    }),
  };
}
