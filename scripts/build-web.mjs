// Bundles the dashboard's pages: web/ to the folder that is given (default: dist/web), with the libraries' licences.
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

/** The licence of a bundled library, as a comment that stays in the bundle. */
async function licenceOf(name, entry) {
  const folder = join(require.resolve(entry).split(`node_modules/${name}/`)[0], "node_modules", name);
  const { version } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const text = (await readFile(join(folder, "LICENSE"), "utf8")).trim();
  return `/*!\n${name} ${version}\n\n${text.replaceAll("*/", "* /")}\n*/\n`;
}

/** Builds the pages into `outDir`, which is emptied. */
export async function buildWeb(outDir) {
  await build({
    root: join(root, "web"),
    base: "./",
    configFile: false,
    logLevel: "warn",
    build: {
      outDir,
      emptyOutDir: true,
      target: "es2022",
      modulePreload: false,
      assetsDir: ".",
      assetsInlineLimit: 0,
      rolldownOptions: {
        output: { entryFileNames: "app.js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
      },
    },
    oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  });
  const licences = [await licenceOf("preact", "preact"), await licenceOf("uplot", "uplot")].join("");
  const bundle = join(outDir, "app.js");
  await writeFile(bundle, licences + (await readFile(bundle, "utf8")));
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  await buildWeb(resolve(process.argv[2] ?? join(root, "dist/web")));
