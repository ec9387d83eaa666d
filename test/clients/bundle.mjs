// Pages that load the client from the server under test, and connect by it.

import assert from "node:assert/strict";

import { browser, complaints, openTab } from "./browser.mjs";
import { tell, url } from "./driver.mjs";

const pages = {
  "socket.io.js": `${url}/plain`,
  "socket.io.min.js": `${url}/min`,
  "socket.io.msgpack.min.js": `${url}/msgpack`,
  "socket.io.esm.min.js": `${url}/module`,
  "socket.io.esm.min.js from elsewhere": process.env.FRIEND,
};
const context = await browser.newContext();
for (const [name, address] of Object.entries(pages)) {
  const page = await openTab(context, address);
  await page.waitForFunction(() => window.io !== undefined);
  const got = await page.evaluate(async (url) => {
    const socket = io(url, { withCredentials: true, auth: { token: "user:ann" }, reconnection: false });
    const binary = new Promise((resolve) => socket.io.engine.once("packetCreate", ({ data }) => resolve(typeof data !== "string")));
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject));
    const { engine } = socket.io;
    if (engine.transport.name === "polling") await new Promise((resolve) => engine.once("upgrade", resolve));
    const answer = await socket.emitWithAck("message-with-ack", { text: "é😀<>&", deep: [{ bytes: new Uint8Array([1, 2, 3]).buffer }], n: -70000.5 });
    socket.disconnect();
    return { binary: await binary, transport: engine.transport.name, text: answer.text, bytes: [...new Uint8Array(answer.deep[0].bytes)], n: answer.n };
  }, url);
  assert.deepStrictEqual(got, { binary: name.includes("msgpack"), transport: "websocket", text: "é😀<>&", bytes: [1, 2, 3], n: -70000.5 }, name);
}
assert.deepStrictEqual(complaints, []);
await browser.close();
tell("finished");
