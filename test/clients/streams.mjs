// A page of a site that only has HTTP/2 or HTTP/3, in a browser, with the real client and with plain WebSockets.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

import { browser, complaints, openTab } from "./browser.mjs";
import { tell, told } from "./driver.mjs";

const library = fileURLToPath(new URL("../node_modules/socket.io-client/dist/socket.io.min.js", import.meta.url));
const page = await openTab(await browser.newContext({ ignoreHTTPSErrors: true }), process.env.PAGE, { mayFail: /favicon/ });
await page.addScriptTag({ path: library });

const version = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
assert.equal(version, process.env.VERSION);

for (const transports of [["websocket"], ["polling", "websocket"]]) {
  const got = await page.evaluate(async (transports) => {
    const socket = io({ transports, reconnection: false, forceNew: true });
    const { engine } = socket.io;
    const first = engine.transport.name;
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject));
    if (engine.transport.name === "polling") await new Promise((resolve) => engine.once("upgrade", resolve));
    const bytes = new Uint8Array([1, 2, 3]);
    const big = "é".repeat(200_000);
    const answer = await socket.emitWithAck("message-with-ack", { text: "é😀<>&", bytes, blob: new Blob(["blob"]), big });
    const kicked = new Promise((resolve) => socket.once("disconnect", resolve));
    socket.emit("kick", "all");
    return {
      first,
      last: engine.transport.name,
      text: answer.text,
      bytes: [...new Uint8Array(answer.bytes)],
      blob: new TextDecoder().decode(answer.blob),
      big: answer.big === big,
      reason: await kicked,
    };
  }, transports);
  assert.deepStrictEqual(got, { first: transports[0], last: "websocket", text: "é😀<>&", bytes: [1, 2, 3], blob: "blob", big: true, reason: "io server disconnect" });
}

// What a page sees of the end of a stream.
const plain = await page.evaluate(() => new Promise((resolve) => {
  const got = [];
  const ws = new WebSocket(location.origin.replace("http", "ws") + "/ws");
  ws.onmessage = ({ data }) => {
    got.push(JSON.parse(data).event);
    if (got.at(-1) === "connect") ws.send(JSON.stringify({ event: "message", args: ["x"] }));
    if (got.at(-1) === "message-back") ws.send(JSON.stringify({ event: "kick" }));
  };
  ws.onclose = ({ code, wasClean }) => resolve({ got: got.filter((event) => event !== "auth"), code, wasClean });
}));
assert.deepStrictEqual(plain, { got: ["connect", "message-back"], code: 1000, wasClean: true });

// A connection that stays until the server exits.
await page.evaluate(() => new Promise((resolve, reject) => {
  globalThis.socket = io({ transports: ["websocket"], reconnection: false, forceNew: true });
  globalThis.ended = new Promise((resolve) => socket.once("disconnect", (reason, details) => resolve({ reason, code: details?.context?.code, clean: details?.context?.wasClean })));
  socket.once("connect", resolve).once("connect_error", reject);
}));
tell("open");
await told("reloaded");
assert.equal(await page.evaluate(() => socket.emitWithAck("message-with-ack", "still")), "still");
tell("stays");
assert.deepStrictEqual(await page.evaluate(() => ended), { reason: "transport close", code: 1001, clean: true });

assert.deepStrictEqual(complaints, []);
await browser.close();
tell("finished");
