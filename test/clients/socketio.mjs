// A Socket.IO client and the handlers of Socket.IO's own test suite, over the transports in TRANSPORTS. With PARSER=msgpack it has
// socket.io-msgpack-parser in place of the default parser.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import msgpackParser from "socket.io-msgpack-parser";

import { event, until, url } from "./driver.mjs";
import { ask, isOlder, Manager, request } from "./library.mjs";

const transports = process.env.TRANSPORTS.split(",");
const msgpack = process.env.PARSER === "msgpack";
const parser = msgpack ? msgpackParser : undefined;
const managers = [];

/** Opens a new connection. */
function connect(auth, namespace = "/", options = {}) {
  const manager = new Manager(url, { transports, parser, reconnection: false, ...options });
  managers.push(manager);
  return manager.socket(namespace, { auth });
}

/** Opens a new connection, and resolves with its socket when it is connected over the last transport. */
async function connected(...args) {
  const socket = connect(...args);
  await event(socket, "connect");
  if (transports.length > 1) {
    const { engine } = socket.io;
    await until(engine, "upgrade", () => engine.transport.name === "websocket");
  }
  return socket;
}

after(() => managers.forEach((manager) => manager._close()));

/** Sends arguments there and back, by an event and by an ack. Compares the JSON, too, which has the order of keys. */
async function roundTrip(socket, ...args) {
  const back = event(socket, "message-back");
  socket.emit("message", ...args);
  assert.deepStrictEqual(await back, args);
  const acked = await request(socket, "message-with-ack", ...args);
  assert.deepStrictEqual(acked, args);
  assert.equal(JSON.stringify(acked), JSON.stringify(args));
}

test("the transport is the one asked for", async () => {
  const socket = await connected();
  assert.equal(socket.io.engine.transport.name, transports.at(-1));
  assert.match(socket.id, /^[\w-]{20,}$/);
  assert.match(socket.io.engine.id, /^[\w-]{20,}$/);
  assert.notEqual(socket.id, socket.io.engine.id, "the session's id is a secret, the socket's is not");
});

test("auth arrives", async (t) => {
  const all = {
    none: undefined,
    object: { token: "user:alice", n: 1 },
    nested: { a: { b: [1, { c: null, d: "é<>&\u2028" }] }, "": "", z: 1, y: 2 },
  };
  for (const [name, auth] of Object.entries(all)) {
    await t.test(name, async () => {
      const socket = connect(auth);
      const [received] = await event(socket, "auth");
      assert.deepStrictEqual(received, auth ?? {});
      assert.equal(JSON.stringify(received), JSON.stringify(auth ?? {}));
    });
  }
  await t.test("function", async () => {
    const socket = connect((answer) => setImmediate(() => answer({ late: true })));
    assert.deepStrictEqual(await event(socket, "auth"), [{ late: true }]);
  });
});

test("every type of JSON goes there and back", async (t) => {
  const socket = await connected();
  const values = {
    nothing: [],
    null: [null],
    booleans: [true, false],
    integers: [0, 1, -1, 2 ** 31, -(2 ** 31), Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER],
    floats: [0.1, -1.5, 1e-7, 5e-324, Math.PI],
    huge: [1e21, -1e22, Number.MAX_VALUE],
    strings: ["", " ", "plain", "\"quoted\" \\ / \b\f\n\r\t", "\u0000\u001f\u007f"],
    html: ["<script>alert('&amp;')</script>", "<>&"],
    unicode: ["äöü ß €", "日本語", "עברית", "e\u0301 ≠ é", "\u2028\u2029\ufeff\ufffd"],
    surrogates: ["😀👩‍👩‍👧‍👦", "𝒳", "lone \ud800", "\udc00 lone", "\udfff\ud800"],
    arrays: [[], [[]], [1, [2, [3, [4]]]], [null, [null]]],
    objects: [{}, { a: {} }, { "": 0 }, { b: 1, a: 2, 10: 3, 9: 4 }, { "<k>": "&" }],
    // An own property, not the prototype.
    names: [JSON.parse('{"__proto__":{"x":1},"constructor":1,"toString":null,"_placeholder":true,"num":0}')],
    nested: [JSON.parse('{"a":'.repeat(128) + "1" + "}".repeat(128))],
    many: [Array.from({ length: 5000 }, (_, i) => i)],
    separators: ["\u001e", "b", "0", "4", "42", "[", "]", ","], // texts that mean something in the protocols below
  };
  // The msgpack parser of JavaScript cannot write these, or writes other values.
  if (msgpack) for (const name of ["huge", "surrogates", "names"]) delete values[name];
  for (const [name, args] of Object.entries(values)) await t.test(name, () => roundTrip(socket, ...args));
  await t.test("hundreds of arguments", () => roundTrip(socket, ...Array.from({ length: 300 }, (_, i) => `${i}`)));
});

test("binary data goes there and back, at any depth", async (t) => {
  const socket = await connected();
  const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  const buffer = (...bytes) => Buffer.from(bytes);
  await t.test("a buffer", () => roundTrip(socket, all));
  await t.test("an empty buffer", () => roundTrip(socket, buffer(), "between", buffer()));
  await t.test("several, at several depths", () =>
    roundTrip(socket, { a: buffer(1), b: [buffer(2, 3), { c: { d: [[buffer(4)]] } }] }, "text", buffer(5), [buffer()]));
  await t.test("ten, the most", () => roundTrip(socket, Array.from({ length: 10 }, (_, i) => buffer(i))));
  await t.test("the same buffer twice", () => {
    const twice = buffer(1, 2, 3);
    return roundTrip(socket, twice, { again: twice });
  });
  await t.test("beside what only looks like it", () =>
    // The client would take an object with the right mark for an attachment.
    roundTrip(socket, buffer(9), { _placeholder: "true", num: 0 }, { _placeholder: false }));
  await t.test("other kinds of buffers", async () => {
    const floats = new Float64Array([1.5, -2]);
    const part = Uint8Array.from(all).subarray(10, 30); // not all of its buffer
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, 0xdeadbeef);
    const args = [floats, part, view, all.buffer.slice(all.byteOffset, all.byteOffset + 3)];
    const answer = await ask(socket, "message-with-ack", { args });
    const second = Buffer.from(msgpack ? part.buffer : part); // that parser sends the whole buffer
    const bytes = [Buffer.from(floats.buffer), second, buffer(0xde, 0xad, 0xbe, 0xef), buffer(0, 1, 2)];
    assert.deepStrictEqual(answer, { args: bytes });
  });
});

test("acks go both ways", async (t) => {
  const socket = await connected();
  await t.test("to the client", async () => {
    assert.equal(await ask(socket, "message-with-ack", "a"), "a");
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => ask(socket, "message-with-ack", i)));
    assert.deepStrictEqual(answers, Array.from({ length: 50 }, (_, i) => i), "each gets its own");
  });
  await t.test("to the server", async () => {
    socket.once("question", (a, b, answer) => answer("answer", [a, b], null));
    const answer = await request(socket, "ask", "question", 1, { two: 2 });
    assert.deepStrictEqual(answer, ["answer", [1, { two: 2 }], null]);
  });
  await t.test("to the server, with binary data", async () => {
    socket.once("picture", (data, answer) => answer({ size: data.length, data }, data));
    const answer = await request(socket, "ask", "picture", Buffer.from("bytes"));
    assert.deepStrictEqual(answer, [{ size: 5, data: Buffer.from("bytes") }, Buffer.from("bytes")]);
  });
  await t.test("many at once, answered in reverse", async () => {
    const held = [];
    const all = Array.from({ length: 20 }, (_, i) => ask(socket, "ask", "reversed", i));
    const done = new Promise((resolve) => socket.on("reversed", (i, answer) => {
      held.push(() => answer(`answer ${i}`));
      if (held.length === 20) resolve();
    }));
    await done;
    held.reverse().forEach((answer) => answer());
    assert.deepStrictEqual(await Promise.all(all), all.map((_, i) => `answer ${i}`));
  });
  await t.test("the client's time is up", async () => {
    if (isOlder) return; // it has no time-outs
    await assert.rejects(socket.timeout(50).emitWithAck("never"), /operation has timed out/);
  });
  await t.test("the server's time is up", async () => {
    socket.once("unanswered", () => {});
    const answer = await request(socket, "ask", "unanswered");
    assert.deepStrictEqual(answer, ["error", "context deadline exceeded"]);
  });
  await t.test("of an event that fails, without its secrets", async () => {
    assert.deepStrictEqual(await ask(socket, "fail"),
      { error: { code: "internal", message: "the event could not be handled" } });
  });
  await t.test("of an event that nobody handles", async () => {
    const { error } = await ask(socket, "no such event");
    assert.equal(error.code, "unhandled_event");
  });
});

test("two namespaces share one connection", async () => {
  const socket = await connected({ in: "main" });
  const custom = socket.io.socket("/custom", { auth: { in: "custom" } });
  const tenant = socket.io.socket("/tenant-7", { auth: { in: "tenant" } });
  const [[auth], [other]] = await Promise.all([event(custom, "auth"), event(tenant, "auth")]);
  assert.deepStrictEqual([auth, other], [{ in: "custom" }, { in: "tenant" }]);
  const ids = [socket, custom, tenant].map((s) => s.id);
  assert.equal(new Set(ids).size, 3);

  for (const s of [socket, custom, tenant]) s.on("message-back", (text) => (s.received ??= []).push(text));
  socket.emit("message", "to main");
  custom.emit("message", "to custom", Buffer.from("x"));
  assert.equal(await ask(custom, "message-with-ack", 1), 1);
  assert.equal(await ask(socket, "message-with-ack", 2), 2);
  assert.deepStrictEqual([socket.received, custom.received, tenant.received], [["to main"], ["to custom"], undefined]);

  const gone = event(custom, "disconnect");
  custom.disconnect();
  assert.deepStrictEqual((await gone)[0], "io client disconnect");
  assert.equal(await ask(socket, "message-with-ack", 3), 3, "the other namespaces live on");

  custom.connect(); // on the same connection
  assert.deepStrictEqual(await event(custom, "auth"), [{ in: "custom" }]);
  assert.notEqual(custom.id, ids[1]);
});

test("an unknown namespace is refused, and the connection lives on", async () => {
  const socket = await connected();
  for (const name of ["/unknown", "/custom/", "/CUSTOM", "/custom?x=1"]) {
    const [error] = await event(socket.io.socket(name), "connect_error");
    assert.equal(error.message, "Invalid namespace", name);
    assert.equal(error.data, undefined);
  }
  assert.equal(await ask(socket, "message-with-ack", "alive"), "alive");
});

test("a refusal has message and data, and can be followed by another try", async () => {
  const socket = await connected();
  const custom = socket.io.socket("/custom", { auth: { token: "forbidden" } });
  const [error] = await event(custom, "connect_error");
  assert.ok(error instanceof Error);
  assert.equal(error.message, "not authorized");
  assert.deepStrictEqual(error.data, { code: "E_FORBIDDEN", hints: ["<ask>", { an: "admin" }] });
  assert.equal(custom.connected, false);
  assert.equal(custom.active, isOlder, "the client waits for the application");

  custom.auth = { token: "expired" };
  custom.connect();
  const [expired] = await event(custom, "connect_error");
  assert.equal(expired.message, "token has expired");
  assert.equal(expired.data, undefined);

  custom.auth = { token: "user:bob" };
  custom.connect();
  await event(custom, "connect");
  const known = await ask(custom, "whoami");
  assert.equal(known.id, custom.id);
  assert.equal(known.user, "bob");
  assert.deepStrictEqual(known.rooms.toSorted(), ["org:bob", "staff"]);
  assert.deepStrictEqual(known.data, { auth: { token: "user:bob" }, namespace: "/custom", transport: transports.at(-1) });
  assert.equal(await ask(socket, "message-with-ack", "alive"), "alive");
});

// Between several servers, nothing tells when an event has arrived everywhere.
test("rooms through relay", { skip: process.env.SERVERS === "several" }, async () => {
  const [ann, ben, cy, dee] = await Promise.all([connected(), connected(), connected(), connected()]);
  const got = new Map();
  for (const s of [ann, ben, cy, dee]) {
    got.set(s, []);
    s.on("chat:line", (...args) => got.get(s).push(args));
  }
  const ok = { ok: true };
  assert.deepStrictEqual(await ask(ann, "join", "room:a"), ok);
  assert.deepStrictEqual(await ask(ben, "join", ["room:a", "room:b"]), ok);
  assert.deepStrictEqual(await ask(cy, "join", "room:b"), ok);
  assert.deepStrictEqual((await ask(ben, "whoami")).rooms.toSorted(), ["room:a", "room:b"]);

  // The ack of a later event says that earlier ones have been relayed. After one more round trip, each receiver has got them.
  const settle = async (...sockets) => {
    for (const s of sockets) await ask(s, "message-with-ack");
    for (const s of [ann, ben, cy, dee]) await ask(s, "message-with-ack");
  };
  ann.emit("chat:line", "from ann", Buffer.from("pic"), { n: 1 });
  await settle(ann);
  const line = ["from ann", Buffer.from("pic"), { n: 1 }];
  assert.deepStrictEqual([...got.values()], [[], [line], [], []], "only to the others in the room");

  ben.emit("chat:line", "from ben");
  await settle(ben);
  assert.deepStrictEqual([got.get(ann), got.get(cy), got.get(dee)], [[["from ben"]], [["from ben"]], []]);

  // A member of two of the sender's rooms gets the event once.
  assert.deepStrictEqual(await ask(cy, "join", "room:a"), ok);
  ben.emit("chat:line", "again");
  await settle(ben);
  assert.deepStrictEqual(got.get(cy), [["from ben"], ["again"]]);

  // A client in no room reaches nobody, and still gets an ack.
  assert.equal(await ask(dee, "chat:line", "hello?"), undefined);
  // Other events are not relayed, and clients cannot join other rooms.
  ann.emit("message", "private");
  await settle(ann, dee);
  assert.deepStrictEqual(got.get(ben), [line]);

  for (const room of ["secret", "Room:a", "org:alice", ann.id, ""]) {
    const { error } = await ask(dee, "join", room);
    assert.ok(["forbidden", "bad_argument"].includes(error.code), room);
  }
  const mixed = await ask(dee, "join", ["room:a", "secret"]);
  assert.equal(mixed.error.code, "forbidden", "all of the rooms or none");
  assert.deepStrictEqual((await ask(dee, "whoami")).rooms, []);

  assert.deepStrictEqual(await ask(ben, "leave", "room:a"), ok);
  ann.emit("chat:line", "bye ben");
  await settle(ann);
  assert.deepStrictEqual(got.get(ben), [line]);
  assert.deepStrictEqual(got.get(cy).at(-1), ["bye ben"]);

  ann.disconnect();
  cy.emit("chat:line", "anyone?");
  await ask(cy, "message-with-ack");
  await ask(ben, "message-with-ack");
  assert.deepStrictEqual(got.get(ben).at(-1), ["anyone?"], "ben is in room:b still");
});

test("messages close to the limit", async (t) => {
  const socket = await connected();
  const maxPayload = 1_000_000;
  // The size of a message without its argument, with room for the ack's number.
  const ballast = msgpack ? 100 : "42[\"message-with-ack\",\"\"]".length + 20;
  // Over polling, binary messages are base64, which takes a third more. The client calculates with 1.33, and may send the packet
  // before it and a pong in the same request.
  const inBase64 = Math.floor((maxPayload - 200) / 4) * 3;
  // The text of a packet and its attachments count together.
  const binarySize = transports.at(-1) === "polling" ? inBase64 : maxPayload - 100;
  const textSize = (msgpack ? binarySize : maxPayload) - ballast;
  await t.test("text", async () => {
    const text = "x".repeat(textSize);
    assert.equal(await ask(socket, "message-with-ack", text), text);
  });
  await t.test("text of many bytes a character", async () => {
    const text = "€".repeat(textSize / 3);
    assert.equal(await ask(socket, "message-with-ack", text), text);
  });
  await t.test("binary", async () => {
    const data = Buffer.alloc(msgpack ? textSize : binarySize, "data");
    assert.ok(data.equals(await ask(socket, "message-with-ack", data)));
  });
  // With msgpack they are one message. An older client sends them in one request.
  const together = msgpack || isOlder && transports.at(-1) === "polling";
  await t.test("several attachments, above it in base64", { skip: together }, async () => {
    const parts = Array.from({ length: 5 }, (_, i) => Buffer.alloc(190_000, i));
    const back = await ask(socket, "message-with-ack", parts);
    back.forEach((part, i) => assert.ok(part.equals(parts[i])));
  });
});

test("reasons that a client gives and gets", async (t) => {
  await t.test("leaving", async () => {
    const socket = await connected();
    const gone = event(socket, "disconnect");
    socket.disconnect();
    assert.equal((await gone)[0], "io client disconnect");
  });
  await t.test("being sent away", async () => {
    const socket = await connected();
    const custom = socket.io.socket("/custom");
    await event(custom, "connect");
    const gone = event(custom, "disconnect");
    custom.emit("kick");
    assert.equal((await gone)[0], "io server disconnect");
    assert.equal(custom.active, false);
    assert.equal(await ask(socket, "message-with-ack", "alive"), "alive");
  });
  await t.test("being sent away altogether", async () => {
    const socket = await connected(undefined, "/", { reconnection: true });
    const custom = socket.io.socket("/custom");
    await event(custom, "connect");
    const gone = Promise.all([event(socket, "disconnect"), event(custom, "disconnect")]);
    const closed = event(socket.io.engine, "close");
    custom.emit("kick", "all");
    assert.deepStrictEqual((await gone).map(([reason]) => reason), ["io server disconnect", "io server disconnect"]);
    await closed;
    assert.equal(socket.active, false, "it does not come back by itself");
  });
});
