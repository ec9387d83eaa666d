// Does in two tabs what docs/getting-started.md says, when its commands have run.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [site] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });

async function open(name) {
  const page = await browser.newPage();
  page.on("dialog", (dialog) => dialog.accept(name));
  await page.goto(site);
  return page;
}

try {
  const [ann, bob, nobody] = [await open("Ann"), await open("Bob"), await open("")];
  await nobody.getByText("say your name").waitFor();
  await bob.locator("input").fill("hello");
  await bob.locator("input").press("Enter");
  for (const page of [ann, bob]) await page.getByText("Bob: hello").waitFor();
  assert.equal(await nobody.locator("li").count(), 1);
} finally {
  await browser.close();
}
