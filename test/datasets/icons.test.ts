import { beforeAll, describe, expect, it } from "vitest";
import { iconSvg, loadIcons, type IconDataset } from "../../src/datasets/index.ts";

describe("icons", () => {
  let icons: IconDataset;
  beforeAll(async () => {
    icons = await loadIcons();
  });

  it("have the catalogue and all aliases of @mdi/svg", () => {
    expect(icons.catalogue).toHaveLength(7447);
    expect(icons.catalogue).toContainEqual({ id: "account-box", title: "account box" });
    const all = [...icons.train, ...icons.valid, ...icons.test];
    expect(all).toHaveLength(6466);
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
    expect(all.reduce((pairs, { relevant }) => pairs + relevant.length, 0)).toBe(7007);
    const ids = new Set(icons.catalogue.map(({ id }) => id));
    expect(all.every(({ relevant }) => relevant.every((id) => ids.has(id)))).toBe(true);
    expect(all.find(({ query }) => query === "writing system arabic")?.relevant).toEqual(["abjad-arabic"]);
  });

  it("are split into 700 for the test and 300 for validation, and no icon is in two parts", () => {
    expect(icons.test).toHaveLength(700);
    expect(icons.valid).toHaveLength(300);
    const partsByIcon = new Map<string, Set<string>>();
    for (const part of ["train", "valid", "test"] as const) {
      for (const { relevant } of icons[part]) {
        for (const id of relevant) partsByIcon.set(id, (partsByIcon.get(id) ?? new Set()).add(part));
      }
    }
    expect([...partsByIcon.values()].filter((parts) => parts.size > 1)).toEqual([]);
  });

  it("are split the same way every time, and another way by another seed", async () => {
    expect(await loadIcons()).toEqual(icons);
    const other = await loadIcons({ seed: 1, testSize: 50, validSize: 20 });
    expect([other.test.length, other.valid.length, other.train.length]).toEqual([50, 20, 6396]);
    expect(other.test).not.toEqual(icons.test.slice(0, 50));
  });

  it("can all be drawn", async () => {
    for (const { id } of icons.catalogue) expect(await iconSvg(id)).toMatch(/^[Mm][-\d., A-Za-z]+$/);
  });

  it("that don't exist are refused, also as paths", async () => {
    for (const name of ["no-such-icon", "../meta", "", "a/b", "Home"]) {
      await expect(iconSvg(name)).rejects.toMatchObject({ code: "DATA_UNKNOWN_ICON" });
    }
  });
});
