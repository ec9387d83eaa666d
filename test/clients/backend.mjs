// Clients of an application behind HTTP: their identities, their events, and their disconnects. The application is that of
// service_test.go.

import assert from "node:assert/strict";
import { io } from "socket.io-client";
import WebSocket from "ws";

import { event, url, within } from "./driver.mjs";

const transports = process.env.TRANSPORTS.split(",");
const open = (user, options = {}) =>
  io(url + (options.namespace ?? ""), { transports, forceNew: true, reconnection: false, extraHeaders: user ? { Cookie: `user=${user}` } : {}, ...options });
const ask = (socket, ...args) => within(`an ack of ${args[0]}`, socket.emitWithAck(...args));

// A client that the backend knows by its cookie. The answer to its connect emits an event.
const ann = open("ann");
const welcome = event(ann, "welcome");
await event(ann, "connect");
const [user, bytes] = await welcome;
assert.equal(user, "ann");
assert.deepStrictEqual([...bytes], [1, 2]);
const state = { userId: "ann", organizationId: "o1", role: "admin", email: "ann@example.com" };
assert.deepStrictEqual(await ask(ann, "who"), { user: "ann", state, rooms: ["org:o1"], by: "a" });

// A client that the backend knows by its auth, in another namespace.
const bob = open(null, { namespace: "/tenant-1", auth: { user: "bob" } });
await event(bob, "connect");
assert.equal((await ask(bob, "who")).user, "bob");

// A client without an identity.
const nobody = open();
await event(nobody, "connect");
assert.deepStrictEqual(await ask(nobody, "who"), { user: "", state: {}, rooms: [], by: "a" });

// A client that the backend refuses.
const mallory = open("mallory");
const [refusal] = await event(mallory, "connect_error");
assert.equal(refusal.message, "not you");
assert.deepStrictEqual(refusal.data, { retry: false });
mallory.close();

// Binary data, both ways, and more than one argument.
const echoed = await within("an ack", new Promise((resolve) => ann.emit("echo", Buffer.from([0, 255]), { deep: [Buffer.from("x")] }, null, (...args) => resolve(args))));
assert.deepStrictEqual([...echoed[0]], [0, 255]);
assert.equal(echoed[1].deep[0].toString(), "x");
assert.equal(echoed[2], null);

// Events without an answer, refused events, and events that fail.
assert.deepStrictEqual(await within("an ack", new Promise((resolve) => ann.emit("nothing", (...args) => resolve(args)))), []);
assert.deepStrictEqual(await ask(ann, "refuse"), { error: { code: "no_stock", message: "none left" } });
assert.equal((await ask(ann, "fail")).error.code, "backend_unavailable");
assert.equal(ann.connected, true);

// Rooms, their other members, and what the backend knows of a socket.
const eve = open("eve");
await event(eve, "connect");
assert.deepStrictEqual(await ask(ann, "enter", "order:7"), { ok: true });
assert.deepStrictEqual(await ask(eve, "enter", "order:7"), { ok: true });
ann.on("said", () => assert.fail("the sender gets its own event"));
const said = event(eve, "said");
await ask(ann, "say", "order:7", "hello", Buffer.from("!"));
const [text, mark] = await said;
assert.equal(`${text}${mark}`, "hello!");
assert.deepStrictEqual(await ask(eve, "exit", "order:7"), { ok: true });
assert.deepStrictEqual((await ask(eve, "who")).rooms, ["org:o1"]);
await ask(eve, "become", "guest");
assert.equal((await ask(eve, "who")).state.role, "guest");

// A hundred events at once are answered in order.
const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => ask(eve, "echo", i)));
assert.deepStrictEqual(answers, Array.from({ length: 100 }, (_, i) => i));

// A disconnect by the backend.
const away = event(eve, "disconnect");
assert.equal(await ask(eve, "kick"), "bye");
assert.equal((await away)[0], "io server disconnect");

// An identity that expires: the client comes back by itself, with a new one.
const short = open(null, { auth: { user: "tim", seconds: 6 }, reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 50 });
await event(short, "connect");
const { id } = short;
assert.equal((await event(short, "disconnect"))[0], "transport close");
await event(short, "connect");
assert.notEqual(short.id, id);
assert.equal((await ask(short, "who")).user, "tim");
short.close();

// Plain WebSockets are refused before they open.
const ws = new WebSocket(url.replace("http", "ws") + "/ws", { headers: { Cookie: "user=ann" } });
const frames = [];
const heard = new Promise((resolve) => ws.on("message", (data) => {
  frames.push(JSON.parse(data));
  if (frames.length === 3) resolve();
}));
await event(ws, "open");
ws.send(JSON.stringify({ event: "echo", args: [{ $binary: "AQI=" }], id: 7 }));
await within("frames", heard);
assert.deepStrictEqual(frames.slice(1), [
  { event: "welcome", args: ["ann", { $binary: "AQI=" }] },
  { ack: 7, args: [{ $binary: "AQI=" }] },
]);
ws.close();
await event(ws, "close");
const refused = new WebSocket(url.replace("http", "ws") + "/ws", { headers: { Cookie: "user=mallory" } });
refused.on("error", () => {});
const [, response] = await event(refused, "unexpected-response");
assert.equal(response.statusCode, 403);
refused.terminate();

for (const socket of [ann, bob, nobody]) socket.disconnect();
console.log("passed");
