// socket.io-client 2, which speaks Engine.IO 3, and the handlers of Socket.IO's own test suite, over the transports in TRANSPORTS.
// In one test it shares a room with the current client.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, test } from "node:test";
import { io as connect4 } from "socket.io-client";

import { event, until, url, within } from "./driver.mjs";

const connect2 = createRequire(import.meta.url)("socket.io-client-2");
const transports = process.env.TRANSPORTS.split(",");
const open = [];

/** Opens a new connection. */
function connect(namespace = "/", { headers, ...options } = {}) {
  const transportOptions = Object.fromEntries(transports.map((name) => [name, { extraHeaders: headers }]));
  const socket = connect2(url + namespace, { transports, forceNew: true, reconnection: false, transportOptions, ...options });
  open.push(socket);
  return socket;
}

/** Opens a new connection, and resolves with its socket when it is connected over the last transport. */
async function connected(...args) {
  const socket = connect(...args);
  await event(socket, "connect");
  const { engine } = socket.io;
  if (engine.transport.name !== transports.at(-1)) await event(engine, "upgrade");
  assert.equal(engine.transport.name, transports.at(-1));
  return socket;
}

after(() => open.forEach(({ io }) => (io._close ? io._close() : io.close())));

/** Emits an event; resolves with all arguments of the ack. */
const ask = (socket, ...args) => within(`the ack of ${args[0]}`, new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer))));

/** Sends arguments there and back, by an event and by an ack. */
async function roundTrip(socket, ...args) {
  const back = event(socket, "message-back");
  socket.emit("message", ...args);
  assert.deepStrictEqual(await back, args);
  assert.deepStrictEqual(await ask(socket, "message-with-ack", ...args), args);
}

test("others know the client's socket by an id that says nothing of the session", async () => {
  for (const namespace of ["/", "/custom"]) {
    const socket = await connected(namespace);
    const [{ id }] = await ask(socket, "whoami");
    assert.equal(id.length, 22);
    assert.ok(!id.includes(socket.io.engine.id));
  }
});

test("events and acks go there and back", async () => {
  const socket = await connected();
  await roundTrip(socket);
  await roundTrip(socket, 1, null, true, "äöü € 😀👩‍👩‍👧‍👦 \u2028", [[], {}], { a: { b: [1, { c: null }] } });
  await roundTrip(socket, "4:2", "\u001e", ":", "b4AQ==", "\u0000\u00ff");
  await roundTrip(socket, "€😀".repeat(20_000));
  await Promise.all(Array.from({ length: 300 }, async (_, i) => assert.deepStrictEqual(await ask(socket, "message-with-ack", i), [i])));
});

test("binary data goes there and back, at any depth", async () => {
  const socket = await connected();
  const bytes = Buffer.from([0, 1, 2, 255]);
  await roundTrip(socket, bytes);
  await roundTrip(socket, "€", { a: [{ b: bytes }], c: Buffer.alloc(0) }, Buffer.from("😀"), null);
  await roundTrip(socket, Buffer.alloc(100_000, 0xff));
  for (let i = 0; i < 20; i++) await roundTrip(socket, i, bytes, "text");
});

test("the server asks, with and without binary data", async () => {
  const socket = await connected();
  socket.on("question", (...args) => args.pop()(...args, "answered"));
  assert.deepStrictEqual(await ask(socket, "ask", "question", 1, "€"), [1, "€", "answered"]);
  const bytes = Buffer.from([4, 0, 255]);
  assert.deepStrictEqual(await ask(socket, "ask", "question", { deep: [bytes] }), [{ deep: [bytes] }, "answered"]);
});

test("what is emitted before the connection is kept", async () => {
  const socket = connect();
  const answer = ask(socket, "message-with-ack", "early", Buffer.from([1]));
  assert.deepStrictEqual(await answer, ["early", Buffer.from([1])]);
});

/** A socket in /custom beside one in "/", over one connection. */
async function both(query) {
  const main = await connected();
  const custom = main.io.socket("/custom", { query });
  await event(custom, "connect");
  return { main, custom };
}

test("a namespace has a query of its own", async () => {
  const alone = connect("/custom", { query: { token: "user:anna", x: "a&b=c é😀" } });
  assert.deepStrictEqual(await event(alone, "auth"), [{ token: "user:anna", x: "a&b=c é😀" }]);
  const { main, custom } = await both({ token: "user:anna" });
  const [{ user, data }] = await ask(custom, "whoami");
  assert.equal(user, "anna");
  assert.equal(data.namespace, "/custom");
  const [other] = await ask(main, "whoami");
  assert.equal(other.user, "");
  await roundTrip(main, "main");
  await roundTrip(custom, "custom");
});

test("who is not let in is told why", async () => {
  const [data] = await event(connect("/custom", { query: { token: "forbidden" } }), "error");
  assert.deepStrictEqual(data, { code: "E_FORBIDDEN", hints: ["<ask>", { an: "admin" }] });
  assert.deepStrictEqual(await event(connect("/custom", { query: { token: "expired" } }), "error"), ["token has expired"]);
  assert.deepStrictEqual(await event(connect("/", { headers: { Authorization: "Bearer expired" } }), "error"), ["token has expired"]);
  assert.deepStrictEqual(await event(connect("/nope"), "error"), [{ message: "Invalid namespace" }]);
});

test("a namespace is left and entered again", async () => {
  const { main, custom } = await both({});
  const left = event(custom, "disconnect");
  custom.close();
  assert.deepStrictEqual(await left, ["io client disconnect"]);
  await roundTrip(main, "still here");
  const again = event(custom, "connect");
  custom.open();
  await again;
  await roundTrip(custom, "back");
});

test("members of a room hear each other, whatever they speak", async () => {
  const two = await connected();
  const four = connect4(url, { transports: ["websocket"], forceNew: true, reconnection: false });
  open.push(four);
  await event(four, "connect");
  const joined = (socket) => within("joining", new Promise((resolve) => socket.emit("join", "room:lobby", resolve)));
  await Promise.all([joined(two), joined(four)]);
  const bytes = Buffer.from([0, 4, 255]);
  for (const [from, to] of [[two, four], [four, two]]) {
    const heard = event(to, "chat:message");
    from.emit("chat:message", "hello €", { deep: [bytes] });
    assert.deepStrictEqual(await heard, ["hello €", { deep: [bytes] }]);
  }
});

test("a large batch comes whole and in order", async () => {
  const socket = await connected();
  const got = [];
  socket.on("drop", (i) => got.push(i));
  assert.deepStrictEqual(await ask(socket, "flood", 500, 1000), [500]);
  await until(socket, "drop", () => got.length === 500);
  assert.deepStrictEqual(got, Array.from({ length: 500 }, (_, i) => i));
});
