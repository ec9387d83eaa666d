// A headless Chromium that talks only to the server under test.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
if (!existsSync(executablePath)) throw new Error(`Chromium is needed at ${executablePath}; run make test, which installs it, or set CHROMIUM`);

export const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ...(process.env.BROWSER_FLAGS?.split("\n") ?? ["--disable-quic"])],
});

/** Errors that pages have logged, thrown or shown. */
export const complaints = [];

/** Opens a tab and keeps its errors, except those in the console that `mayFail` matches. */
export async function openTab(context, address, { mayFail = /^$/ } = {}) {
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => complaints.push(`${error}`));
  page.on("console", (message) => {
    const text = `${message.text()} ${message.location().url}`;
    if (message.type() === "error" && !mayFail.test(text)) complaints.push(text);
  });
  page.on("dialog", (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(address);
  return page;
}
