// Clients with socket.io-msgpack-parser. Socket.IO's own server needs the same parser, and then knows no other.

import notepack from "notepack.io";
import * as msgpack from "socket.io-msgpack-parser";

import { onClients, onSessions } from "../scenario.mjs";
import { show } from "../trace.mjs";

const on = "msgpack";
const client = { parser: msgpack };

onClients("msgpack: connecting", { on, client: { ...client, auth: { token: "user:ann", n: [1, null, { é: "日本" }] } } }, async (t, client) => {
  await client.asks("whoami");
});
const values = {
  "nothing": [],
  "null and truth": [null, true, false],
  "numbers": [0, 1, -1, 127, 128, 255, 256, 65535, 65536, 2 ** 31, 2 ** 32, -129, -32769, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 0.1, 1e300, 5e-324],
  "numbers that JSON has not": [NaN, Infinity, -0],
  "undefined": [undefined, [undefined]],
  "text": ["", "日本 😀", "x".repeat(40), "x".repeat(300), "x".repeat(70_000)],
  "lists and objects": [[], {}, [[1], [2]], { a: { b: { c: [] } } }, Array.from({ length: 20 }, (_, i) => i)],
  "a date": [new Date(0)],
  "binary data": [Buffer.from([1, 2, 3]), { deep: [Buffer.alloc(300, 7)] }],
  "what is like a placeholder": [{ _placeholder: true, num: 0 }],
};
for (const [name, args] of Object.entries(values)) {
  onClients(`msgpack: there and back: ${name}`, { on, client }, async (t, client) => {
    client.emit("message", ...args);
    await client.sees("event message-back");
    await client.asks("message-with-ack", ...args);
  });
}
onClients("msgpack: a server that asks", { on, client }, async (t, client) => {
  client.socket.on("question", (...args) => args.pop()("answer", Buffer.from("x")));
  await client.asks("ask", "question", 1, Buffer.from("y"));
});
onClients("msgpack: another namespace", { on, client }, async (t, client) => {
  const custom = client.socket.io.socket("/custom", { auth: { token: "forbidden" } });
  client.watch(custom);
  await client.sees("connect_error");
  custom.auth = {};
  custom.connect();
  await client.sees("event auth");
  custom.emit("message", 1);
  await client.sees("event message-back");
});
onClients("msgpack: an unknown namespace", { on, client }, async (t, client) => {
  client.watch(client.socket.io.socket("/unknown"));
  await client.sees("connect_error");
});
onClients("msgpack: a broadcast", { on, client }, async (t, client) => {
  const other = await t.client("other", client.options).connected();
  await client.asks("send", { to: [other.id] }, "news", 1, Buffer.from("x"));
  await other.settle();
});
onClients("msgpack: a client that is sent away", { on, client }, async (t, client) => {
  client.emit("kick");
  await client.sees("disconnect");
});
onClients("msgpack: a client that is sent away altogether", { on, client }, async (t, client) => {
  client.emit("kick", "all");
  await client.sees("disconnect");
});

/** Adds a scenario for packets, each decoded in the trace. */
function packets(name, ...sent) {
  onSessions(`msgpack on the wire: ${name}`, { on }, async (t, session) => {
    const encode = (packet) => (Buffer.isBuffer(packet) || typeof packet === "string" ? packet : notepack.encode(packet));
    await session.transmit(encode({ type: 0, nsp: "/", data: undefined }));
    const { data } = notepack.decode(await session.receive());
    t.trace.learn("socket", data.sid);
    await session.receive();
    for (const packet of sent) await session.transmit(encode(packet));
    await session.transmit(encode({ type: 2, nsp: "/", id: 31337, data: ["message-with-ack"] }));
    for (;;) {
      const packet = await session.receive();
      if (packet === undefined) return void session.log("< closed");
      const { type, nsp, id, data, ...more } = notepack.decode(packet);
      if (id === 31337) return void session.log("all is handled");
      session.log(`< type ${type}, nsp ${nsp}, id ${id}, data ${show(data)}, more ${show(more)}`);
    }
  });
}
packets("an event", { type: 2, nsp: "/", data: ["message", 1] });
packets("an event with options", { type: 2, nsp: "/", data: ["message", 1], options: { compress: true } });
packets("an event that awaits an ack", { type: 2, nsp: "/", id: 7, data: ["message-with-ack", 1] });
packets("an event whose name is a number", { type: 2, nsp: "/", data: [1, 2] });
packets("an event whose name is an object", { type: 2, nsp: "/", data: [{}, 2] });
packets("an event without data", { type: 2, nsp: "/" });
packets("an event whose data is no list", { type: 2, nsp: "/", data: { a: 1 } });
packets("an event without a namespace", { type: 2, data: ["message", 1] });
packets("an event of the reserved name connect", { type: 2, nsp: "/", data: ["connect"] });
packets("an event of another namespace", { type: 2, nsp: "/custom", data: ["message", 1] });
packets("a binary event's type", { type: 5, nsp: "/", data: ["message", 1] });
packets("an unknown type", { type: 9, nsp: "/", data: ["message", 1] });
packets("a type that is text", { type: "2", nsp: "/", data: ["message", 1] });
packets("an id that is negative", { type: 2, nsp: "/", id: -1, data: ["message-with-ack", 1] });
packets("an id that is text", { type: 2, nsp: "/", id: "7", data: ["message-with-ack", 1] });
packets("CONNECT twice", { type: 0, nsp: "/" });
packets("CONNECT_ERROR", { type: 4, nsp: "/", data: { message: "x" } });
packets("text", '42["message",1]');
packets("what is no packet", Buffer.from([0xc1]));
packets("a packet cut short", notepack.encode({ type: 2, nsp: "/", data: ["message", 1] }).subarray(0, 10));
packets("a packet and more", Buffer.concat([notepack.encode({ type: 2, nsp: "/", data: ["message", 1] }), Buffer.from([1])]));
packets("nothing", Buffer.alloc(0));
packets("a number", 7);
packets("null", null);
