// Three people on the page of the Fastify example, each in a browser of their own.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";

import { browser, complaints, openTab } from "./browser.mjs";

async function enter(name) {
  const page = await openTab(await browser.newContext({ viewport: { width: 720, height: 560 } }), process.env.PAGE_URL);
  await page.selectOption("#email", `${name}@example.com`);
  await page.click("#login button");
  await page.waitForFunction((text) => document.getElementById("state").textContent === text, `connected as ${name}@example.com`);
  return page;
}
const shows = (page, text) => page.waitForFunction((text) => document.getElementById("log").textContent.includes(text), text);

async function say(page, button, text) {
  await page.fill("#text", text);
  await page.click(button);
}

const [ann, bob, eve] = [await enter("ann"), await enter("bob"), await enter("eve")];
await say(ann, "#message button", "Hello, Bob! <b>👋</b>");
await shows(ann, "you: Hello, Bob! <b>👋</b>");
await shows(bob, "ann@example.com: Hello, Bob! <b>👋</b>");
await say(bob, "#message button", "Hello, Ann.");
await shows(ann, "bob@example.com: Hello, Ann.");
await say(ann, "#announce", "Lunch is ready.");
await shows(ann, "Lunch is ready.");
await shows(bob, "Lunch is ready.");
await say(ann, "#message button", "");
await shows(ann, "a message has a text");
assert.equal(await eve.textContent("#log"), "", "another organisation sees nothing");
await mkdir("artifacts", { recursive: true });
await ann.screenshot({ path: "artifacts/fastify.png" });

await browser.close();
assert.deepStrictEqual(complaints, []);
console.log("all as it should be");
