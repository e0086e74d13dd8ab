/** A real Chromium for tests: found on the machine, started headless, without any request of its own. */
import { existsSync } from "node:fs";
import { chromium, type Browser } from "playwright-core";

const candidates = [
  process.env["CHROMIUM_PATH"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/usr/bin/google-chrome-stable",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/** Path of the browser, or undefined where there is none. @throws Error in CI where there is none. */
export function findChromium(): string | undefined {
  const path = candidates.find((candidate) => candidate && existsSync(candidate));
  if (!path && process.env["CI"]) {
    throw new Error(`CI needs a Chromium for the browser tests; none at ${candidates.filter(Boolean).join(", ")}.`);
  }
  return path;
}

export function startChromium(executablePath: string): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--headless",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}
