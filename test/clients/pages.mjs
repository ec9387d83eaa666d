// Pages of other sites, in a browser, with the real client and its default transports. One page may connect, the other may not.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

import { browser, complaints, openTab } from "./browser.mjs";
import { tell, url } from "./driver.mjs";

const library = fileURLToPath(new URL("../node_modules/socket.io-client/dist/socket.io.min.js", import.meta.url));

/** Opens a site's page with the client in it. */
async function open(address, options) {
  const page = await openTab(await browser.newContext(), address, options);
  await page.addScriptTag({ path: library });
  return page;
}

const friend = await open(process.env.FRIEND);
const got = await friend.evaluate(async (url) => {
  const socket = io(url, { withCredentials: true, auth: { token: "user:ann" }, reconnection: false });
  const { engine } = socket.io;
  const first = engine.transport.name; // by the time it connects, it may have another one
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject));
  if (engine.transport.name === "polling") await new Promise((resolve) => engine.once("upgrade", resolve));
  const bytes = new Uint8Array([1, 2, 3]);
  const answer = await socket.emitWithAck("message-with-ack", { text: "é😀<>&", bytes, blob: new Blob(["blob"]) });
  const known = await socket.emitWithAck("whoami");
  socket.disconnect();
  return {
    first,
    last: engine.transport.name,
    user: known.user,
    text: answer.text,
    bytes: [...new Uint8Array(answer.bytes)],
    blob: new TextDecoder().decode(answer.blob),
  };
}, url);
assert.deepStrictEqual(got, { first: "polling", last: "websocket", user: "ann", text: "é😀<>&", bytes: [1, 2, 3], blob: "blob" });

// The browser hides from scripts why a request fails.
const stranger = await open(process.env.STRANGER, { mayFail: /./ });
for (const transports of [["polling"], ["websocket"]]) {
  const error = await stranger.evaluate(([url, transports]) => new Promise((resolve) => {
    const socket = io(url, { transports, withCredentials: true, reconnection: false });
    socket.on("connect", () => resolve("connected"));
    socket.on("connect_error", ({ message }) => resolve(message));
  }), [url, transports]);
  assert.match(error, /xhr poll error|websocket error/, transports[0]);
}
const plain = await stranger.evaluate((address) => new Promise((resolve) => {
  const ws = new WebSocket(address);
  ws.onopen = () => resolve("open");
  ws.onclose = ({ code }) => resolve(code);
}), url.replace("http", "ws") + "/ws");
assert.equal(plain, 1006);

assert.deepStrictEqual(complaints, []);
await browser.close();
tell("finished");
