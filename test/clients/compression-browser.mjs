// A page whose connections go through a proxy. The test counts the bytes there.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

import { browser, complaints, openTab } from "./browser.mjs";
import { tell, told } from "./driver.mjs";

const library = fileURLToPath(new URL("../node_modules/socket.io-client/dist/socket.io.min.js", import.meta.url));
const page = await openTab(await browser.newContext(), process.env.PROXY);
await page.addScriptTag({ path: library });
await page.evaluate(() => {
  globalThis.text = Array.from({ length: 10_000 }, (_, i) => `line ${i % 97} of é😀 `).join("");
  globalThis.bytes = Uint8Array.from({ length: 100_000 }, (_, i) => (i >> 4) % 251);
});

for (const transport of ["websocket", "polling", "plain"]) {
  await page.evaluate(async (transport) => {
    if (transport === "plain") {
      globalThis.ws = new WebSocket(`ws://${location.host}/ws`);
      await new Promise((resolve, reject) => Object.assign(ws, { onopen: resolve, onclose: reject }));
      return;
    }
    globalThis.socket = io({ transports: [transport], reconnection: false });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject));
  }, transport);
  tell("connected", transport);
  await told("counting");
  const { extensions, length } = await page.evaluate(async (transport) => {
    if (transport === "plain") {
      const answer = new Promise((resolve) => {
        ws.onmessage = ({ data }) => {
          const frame = JSON.parse(data);
          if (frame.ack === 1) resolve(frame.args[0]);
        };
      });
      ws.send(JSON.stringify({ event: "message-with-ack", args: [text], id: 1 }));
      const same = (await answer) === text;
      ws.close();
      if (!same) throw new Error("another text came back");
      return { extensions: ws.extensions, length: text.length };
    }
    const answer = await socket.emitWithAck("message-with-ack", { text, bytes });
    if (answer.text !== text || new Uint8Array(answer.bytes).join() !== bytes.join()) throw new Error("something else came back");
    const { extensions } = socket.io.engine.transport.ws ?? {};
    socket.disconnect();
    return { extensions, length: text.length + bytes.length };
  }, transport);
  if (transport !== "polling") assert.match(extensions, /permessage-deflate/);
  tell("counted", length);
  await told("next");
}
assert.deepStrictEqual(complaints, []);
await browser.close();
tell("finished");
