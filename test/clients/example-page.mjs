// Three people on the page of an example, each in their own browser. Bob's has the size of a phone.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";

import { browser, complaints, openTab } from "./browser.mjs";

const state = (page, text) => page.waitForFunction((text) => document.getElementById("state").textContent === text, text);

async function enter(page, name) {
  await page.selectOption("#email", `${name}@example.com`);
  await page.click("#login button");
  await state(page, `connected as ${name}@example.com`);
}

/** Opens the page and logs in. */
async function open(name, viewport = { width: 720, height: 560 }) {
  const page = await openTab(await browser.newContext({ viewport }), process.env.PAGE_URL, { mayFail: /401 .*\/me$/ });
  await state(page, "not logged in");
  await enter(page, name);
  return page;
}
const shows = (page, text) => page.waitForFunction((text) => document.getElementById("log").textContent.includes(text), text);

async function say(page, button, text) {
  await page.fill("#text", text);
  await page.click(button);
}

const small = { width: 390, height: 844 };
const [ann, bob, eve] = [await open("ann"), await open("bob", small), await open("eve")];
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
assert.equal(await eve.textContent("#log"), "", "another organisation sees the messages");

// The page shows the button only to those who may announce.
assert.deepStrictEqual(await Promise.all([ann, bob, eve].map((page) => page.isVisible("#announce"))), [true, false, false]);

// The page is as narrow as a phone, even with a long word in it.
await say(ann, "#message button", "w".repeat(300));
await shows(bob, "w".repeat(300));
for (const page of [ann, bob]) {
  await page.setViewportSize(small);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), small.width);
}
await mkdir("artifacts", { recursive: true });
await ann.screenshot({ path: `artifacts/example-${process.env.NAME}.png` });

// A page that is opened again is still logged in.
await bob.reload();
await state(bob, "connected as bob@example.com");

// A log-out ends the session and the connection. Then somebody else can log in.
await bob.click("#logout");
await state(bob, "not logged in");
assert.equal(await bob.isVisible("main"), false);
await bob.reload();
await state(bob, "not logged in");
await enter(bob, "ann");
await say(ann, "#message button", "Is that me?");
await shows(bob, "ann@example.com: Is that me?");
assert.equal(await bob.isVisible("#announce"), true);

await browser.close();
assert.deepStrictEqual(complaints, []);
console.log("passed");
