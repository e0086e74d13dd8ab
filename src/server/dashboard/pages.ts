/** The dashboard's pages: files of the build, read once; nothing else can be asked for. */
import { readdir, readFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { ConfigError } from "../../core/errors.ts";
import { HttpError } from "../http/http-error.ts";
import { commonHeaders } from "../http/reply.ts";

const types: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

/**
 * Scripts and styles from here and nothing inline; no frames, no forms, no plug-ins; whatever writes markup from a text
 * throws.
 * @param imageHosts origins that pictures may come from, besides the page itself
 */
function contentSecurityPolicy(imageHosts: readonly string[]): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    `img-src 'self' data: ${imageHosts.join(" ")}`.trim(),
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
}

export class Pages {
  private readonly files: ReadonlyMap<string, { type: string; body: Buffer }>;
  private readonly headers: Readonly<Record<string, string>>;

  private constructor(files: ReadonlyMap<string, { type: string; body: Buffer }>, imageHosts: readonly string[]) {
    this.files = files;
    this.headers = { ...commonHeaders, "content-security-policy": contentSecurityPolicy(imageHosts) };
  }

  /** @throws ConfigError `NO_PAGES` where the package was not built */
  static async load(dir: string, imageHosts: readonly string[]): Promise<Pages> {
    const names: string[] = await readdir(dir).catch(() => []);
    if (!names.includes("index.html")) {
      throw new ConfigError("NO_PAGES", `The dashboard's pages are not built (${dir}). Run: npm run build`);
    }
    const files = new Map<string, { type: string; body: Buffer }>();
    for (const name of names) {
      const type = types[name.split(".").at(-1) ?? ""];
      if (type) files.set(`/${name}`, { type, body: await readFile(join(dir, name)) });
    }
    files.set("/", files.get("/index.html") as { type: string; body: Buffer });
    return new Pages(files, imageHosts);
  }

  /** @throws HttpError 404 */
  send(response: ServerResponse, path: string): void {
    const file = this.files.get(path);
    if (!file) throw new HttpError(404, "NOT_FOUND", "There is no such page.");
    response.writeHead(200, {
      ...this.headers,
      "content-type": file.type,
      "content-length": file.body.length,
      "cache-control": "no-cache",
    });
    response.end(response.req.method === "HEAD" ? undefined : file.body);
  }
}
