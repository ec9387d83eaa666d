// What people do with socket.io-client.

import { onClients, scenario } from "../scenario.mjs";

const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

onClients("connecting", async () => {});
onClients("auth that is an object", { client: { auth: { a: { b: [1, { c: null, d: "é<>&\u2028" }] }, "": "", z: 1, y: 2 } } }, async (t, client) => {
  await client.asks("whoami");
});
onClients("auth that is a function", { client: { auth: (answer) => setImmediate(() => answer({ late: true })) } }, async () => {});
onClients("auth with binary data", { client: { auth: { data: Buffer.from("x") } } }, async () => {});
onClients("a user in rooms", { client: { auth: { token: "user:ann" } } }, async (t, client) => {
  await client.asks("whoami");
});
for (const [over, token] of [["polling", "forbidden"], ["websocket", "forbidden"], ["websocket", "expired"], ["websocket", "other"]]) {
  scenario(`a client that is refused with ${token}, ${over}`, { over: [over] }, async (t) => {
    const client = t.client("client", { auth: { token } });
    await client.sees("connect_error");
    t.log(`active: ${client.socket.active}, connected: ${client.socket.connected}`);
    client.socket.auth = { token: "user:bob" };
    client.socket.connect();
    await client.connected();
    await client.asks("whoami");
  });
}
for (const namespace of ["/unknown", "/custom/", "/CUSTOM", "/custom?x=1", "/tenant-", "/tenant-1", "/日本"]) {
  scenario(`a client enters ${namespace}`, async (t) => {
    const client = t.client("client", { namespace });
    await client.sees("connect");
    if (client.socket.connected) await client.settle();
  });
}
onClients("two namespaces on a connection, of which one fails", async (t, client) => {
  const custom = client.socket.io.socket("/custom", { auth: { token: "expired" } });
  client.watch(custom);
  await client.sees("connect_error");
  await client.asks("message-with-ack", "alive");
  client.socket.io.socket("/tenant-9").on("connect", () => client.log("the third is in"));
  await client.sees("the third");
});
onClients("a namespace is left and entered again", async (t, client) => {
  const custom = client.socket.io.socket("/custom");
  client.watch(custom);
  await client.sees("event auth");
  custom.disconnect();
  await client.settle(); // Socket.IO's own server is not done with the first packet when the second comes at once
  custom.connect();
  await client.sees("event auth");
  await client.asks("message-with-ack", "alive");
});

const values = {
  "nothing": [],
  "undefined": [undefined, [undefined], { a: undefined }],
  "null": [null],
  "numbers": [0, -0, 1, -1, 2 ** 31, 0.1, 1e21, 1e-7, 5e-324, Number.MAX_VALUE, Number.MAX_SAFE_INTEGER, NaN, Infinity],
  "text": ["", "\"quoted\" \\ / \b\f\n\r\t", "\u0000\u001f\u007f", "<script>&amp;", "\u2028\u2029\ufeff\ufffd", "日本語 עברית e\u0301"],
  "surrogates": ["😀👩‍👩‍👧‍👦", "lone \ud800", "\udc00 lone", "\udfff\ud800"],
  "objects": [{}, { "": 0 }, { b: 1, a: 2, 10: 3, 9: 4 }, { "<k>": "&" }, JSON.parse('{"__proto__":{"x":1},"constructor":1}')],
  "a date": [new Date(0)],
  "a map": [new Map([[1, 2]])],
  "depth": [JSON.parse("[".repeat(150) + "]".repeat(150))],
  "three hundred arguments": Array.from({ length: 300 }, (_, i) => `${i}`),
  "half a megabyte": ["x".repeat(500_000)],
  "what is like a placeholder": [{ _placeholder: true, num: 0 }],
  "a buffer": [all],
  "an empty buffer": [Buffer.alloc(0)],
  "buffers in depth": [{ a: Buffer.from([1]), b: [Buffer.from([2, 3]), { c: { d: [[Buffer.from([4])]] } }] }, "text", Buffer.from([5])],
  "ten buffers": [Array.from({ length: 10 }, (_, i) => Buffer.from([i]))],
  "a buffer twice": (() => { const twice = Buffer.from("abc"); return [twice, { again: twice }]; })(),
  "other kinds of buffers": [new Float64Array([1.5, -2]), all.buffer.slice(all.byteOffset, all.byteOffset + 3), new Uint8Array([1, 2])],
  "a large buffer": [Buffer.alloc(300_000, "data")],
};
for (const [name, args] of Object.entries(values)) {
  onClients(`there and back: ${name}`, async (t, client) => {
    client.emit("message", ...args);
    await client.sees("event message-back");
    await client.asks("message-with-ack", ...args);
  });
}

onClients("an ack that never comes", async (t, client) => {
  await client.socket.timeout(100).emitWithAck("never").catch(({ message }) => client.log(message));
  await client.socket.timeout(20_000).emitWithAck("message-with-ack", 1).then((answer) => client.log(answer));
});
onClients("an event that nobody handles", async (t, client) => {
  client.emit("no such event", 1);
  await client.asks("message-with-ack", "alive");
});
onClients("an event that nobody handles, and an ack for it", async (t, client) => {
  await client.socket.timeout(500).emitWithAck("no such event").then((answer) => client.log(JSON.stringify(answer)), ({ message }) => client.log(message));
});
onClients("many acks at once", async (t, client) => {
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => client.answer("message-with-ack", i)));
  client.log(answers.flat().join(" "));
});
onClients("a server that asks", async (t, client) => {
  client.socket.on("question", (a, b, answer) => answer("answer", [a, b], null));
  await client.asks("ask", "question", 1, { two: 2 });
});
onClients("a server that asks and gets binary data", async (t, client) => {
  client.socket.on("picture", (data, answer) => answer({ size: data.length, data }));
  await client.asks("ask", "picture", Buffer.from("bytes"));
});
onClients("a server that asks in vain", async (t, client) => {
  await client.asks("ask", "unanswered");
});
onClients("a server that asks twice and is answered in reverse", async (t, client) => {
  const held = [];
  client.socket.on("reversed", (i, answer) => {
    held.push(() => answer(i));
    if (held.length === 2) held.reverse().forEach((answer) => answer());
  });
  const first = client.answer("ask", "reversed", 1);
  await client.sees("event reversed 1");
  const second = client.answer("ask", "reversed", 2);
  client.log(`${await first} ${await second}`);
});
onClients("a hundred events in order", async (t, client) => {
  await client.asks("flood", 100, 10);
});
onClients("events before the connection are kept", async (t) => {
  const late = t.client("late", { autoConnect: false });
  late.emit("message", "early");
  late.socket.volatile.emit("message", "volatile");
  late.socket.connect();
  await late.sees("event message-back");
});
onClients("compress(false) of a client", async (t, client) => {
  client.socket.compress(false).emit("message", "x".repeat(3000));
  await client.sees("event message-back");
});
