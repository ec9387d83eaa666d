// A socket.io-client that gets large events at once by the API, and volatile events between others.

import assert from "node:assert/strict";

import { event, url, until, within } from "./driver.mjs";
import { ask, io } from "./library.mjs";

const transport = process.env.TRANSPORT;
const [count, size] = transport === "polling" ? [3, 600_000] : [20, 900_000];

async function call(path, body) {
  const answer = await within(path, fetch(`${url}/api/realtime/${path}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${process.env.KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  }));
  assert.ok(answer.ok, `${answer.status} ${await answer.text()}`);
}

const socket = io(url, { transports: [transport], auth: { token: "user:reader" }, reconnection: false });
const ends = [];
socket.on("disconnect", (reason) => ends.push(reason));
await event(socket, "connect");

const sizes = [];
socket.on("numbers", (text) => sizes.push(text.length));
const calls = Array.from({ length: count }, () => call("emit", { everyone: true, event: "numbers", args: ["x".repeat(size)] }));
await Promise.all(calls);
await until(socket.io.engine, "packet", () => sizes.length === count || ends.length > 0);
assert.deepStrictEqual([sizes, ends], [Array(count).fill(size), []]);

if (transport === "websocket") {
  const got = { lasting: 0, volatile: 0 };
  for (const name of Object.keys(got)) socket.on(name, () => got[name]++);
  const commands = [];
  for (let i = 0; i < 50; i++) {
    commands.push({ emit: { everyone: true, event: "lasting", args: [i] } });
    commands.push({ emit: { everyone: true, event: "volatile", args: [i], volatile: true } });
  }
  await call("batch", { commands });
  await ask(socket, "message-with-ack", "after them");
  assert.deepStrictEqual(got, { lasting: 50, volatile: 50 });
}
assert.equal(await ask(socket, "message-with-ack", "still there"), "still there");
socket.close();
console.log("done");
