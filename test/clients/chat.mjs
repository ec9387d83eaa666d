// Two people chat in two tabs of a browser.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";

import { browser, complaints, openTab } from "./browser.mjs";
import { tell, told } from "./driver.mjs";

const context = await browser.newContext({ viewport: { width: 1100, height: 720 } });

/** Opens the chat and enters it with a name. */
async function enter(name) {
  const page = await openTab(context, process.env.CHAT_URL, { mayFail: /ERR_CONNECTION_REFUSED|WebSocket connection/ }); // the server restarts
  await page.fill("#name", name);
  await page.press("#name", "Enter");
  await shows(page, "#state", /^connected · websocket$/);
  return page;
}

/** Waits until an element's text matches, or does not. */
async function shows(page, selector, pattern, wanted = true) {
  try {
    await page.waitForFunction(([selector, source, flags, wanted]) => {
      const element = document.querySelector(selector);
      return element && new RegExp(source, flags).test(element.textContent) === wanted;
    }, [selector, pattern.source, pattern.flags, wanted], { polling: 50 });
  } catch {
    throw new Error(`${selector} ${wanted ? "does not show" : "still shows"} ${pattern}: ${await page.textContent(selector)}`);
  }
}

async function say(page, words) {
  await page.fill("#message", words);
  await page.click("#send");
  await shows(page, "#log", literal(words));
  assert.equal(await page.inputValue("#message"), "", "the field is empty again");
}

const literal = (text) => new RegExp(text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));

const ann = await enter("Ann");
const ben = await enter("Ben");
await shows(ann, "#room", /^lobby$/);

// The list of people.
await shows(ann, "#people", /Ben/);
await shows(ben, "#people", /Ann/);
assert.equal(await ann.locator("#people li").count(), 2);

// Typing.
const typing = shows(ben, "#typing", /Ann is typing/); // this text fades
await ann.locator("#message").pressSequentially("Hello, ");
await typing;
await shows(ann, "#typing", /^$/);
await shows(ben, "#typing", /^$/); // it has faded

// Messages in both directions, each shown once.
await say(ann, "Hello, Ben! 👋");
await shows(ben, "#log", /Hello, Ben! 👋/);
await say(ben, "Hello, Ann.");
await shows(ann, "#log", /Hello, Ann\./);
const markup = `<img src=x onerror="alert(1)"><b>bold</b> & "quoted"`;
await say(ann, markup);
await shows(ben, "#log", literal(markup));
assert.equal(await ben.locator("#log img, #log b").count(), 0, "text stays text");

await mkdir("artifacts", { recursive: true });
await ben.screenshot({ path: "artifacts/chat.png" });

// Another room is another conversation.
await ann.evaluate(() => { location.hash = "kitchen"; });
await shows(ann, "#room", /^kitchen$/);
await shows(ben, "#people", /Ann/, false);
await say(ann, "Anyone in the kitchen?");
await say(ben, "Ann has left.");
await ann.evaluate(() => { location.hash = "lobby"; });
await shows(ben, "#people", /Ann/);
await shows(ann, "#people", /Ben/);
await say(ben, "Welcome back.");
await shows(ann, "#log", /Welcome back\./);
assert.doesNotMatch(await ann.textContent("#log"), /Ann has left/);
assert.doesNotMatch(await ben.textContent("#log"), /kitchen\?/);

// A reload of the server's configuration, which nobody notices.
const before = await Promise.all([ann, ben].map((page) => page.textContent("#socket-id")));
tell("reload");
await told("reloaded");
await say(ann, "Still here?");
await shows(ben, "#log", /Still here\?/);
assert.deepStrictEqual(await Promise.all([ann, ben].map((page) => page.textContent("#socket-id"))), before);

// A restart. A message that is written meanwhile arrives.
tell("kill");
await told("killed");
await shows(ann, "#state", /^reconnecting/);
await say(ann, "Written while the server was away.");
tell("start");
await told("started");
for (const page of [ann, ben]) await shows(page, "#state", /^connected · websocket$/);
await shows(ben, "#log", /Written while the server was away\./);

const times = async (page, words) => (await page.textContent("#log")).split(words).length - 1;
for (const words of ["Hello, Ben! 👋", "Hello, Ann.", "Welcome back.", "Still here?"])
  for (const page of [ann, ben]) assert.equal(await times(page, words), 1, words);

// The list of people loses who leaves.
await ben.close();
await shows(ann, "#people", /Ben/, false);
assert.deepStrictEqual(complaints, []);
await browser.close();
tell("finished");
