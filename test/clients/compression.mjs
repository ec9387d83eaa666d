// Broadcasts to clients of all kinds, some of which have negotiated compression. All get the same arguments, and those with
// compression receive fewer bytes. The test changes the configuration in between.

import assert from "node:assert/strict";
import { Fetch, io } from "socket.io-client";
import WebSocket from "ws";

import { address, closeAll, connect, connectJSON } from "./connection.mjs";
import { event, patience, tell, told, url, within } from "./driver.mjs";

/** A Socket.IO client in the room. `extensions` are what it has negotiated, `bytes()` says how much its WebSocket has received. */
async function enter(options) {
  const pollsOn = !options.transports.includes("websocket");
  const socket = io(url, { forceNew: true, reconnection: false, ...options });
  await event(socket, "connect");
  if (!pollsOn && socket.io.engine.transport.name === "polling") await event(socket.io.engine, "upgrade");
  assert.deepStrictEqual(await socket.timeout(patience).emitWithAck("join", "room:all"), { ok: true });
  const { ws } = socket.io.engine.transport;
  return {
    kind: JSON.stringify(options.perMessageDeflate ?? "polling"),
    extensions: ws?.extensions,
    bytes: () => ws?._socket.bytesRead,
    next: () => event(socket, "chat:line"),
    ask: (...args) => socket.timeout(patience).emitWithAck(...args),
    say: (...args) => socket.emit("chat:line", ...args),
    close: () => socket.disconnect(),
  };
}

/** A plain WebSocket in the room, with the json format. */
async function enterPlain(perMessageDeflate) {
  const ws = await connectJSON({ perMessageDeflate });
  assert.deepStrictEqual(await ws.ask("join", "room:all"), [{ ok: true }]);
  return {
    kind: `plain ${JSON.stringify(perMessageDeflate)}`,
    extensions: ws.extensions,
    bytes: () => ws._socket.bytesRead,
    next: async () => {
      const { event, args } = await ws.hear();
      assert.equal(event, "chat:line");
      return args.map((arg) => (arg?.$binary ? Buffer.from(arg.$binary, "base64") : arg));
    },
    close: () => ws.close(),
  };
}

const webSocket = { transports: ["websocket"] };
const speaker = await enter({ ...webSocket, perMessageDeflate: { threshold: 1024 } });
const everyone = [
  await enter({ ...webSocket, perMessageDeflate: { threshold: 1024 } }),
  await enter({ ...webSocket, perMessageDeflate: { threshold: 0, clientMaxWindowBits: 9 } }),
  await enter({ transports: ["polling", "websocket"], perMessageDeflate: { serverMaxWindowBits: 15 } }),
  await enter({ ...webSocket, perMessageDeflate: { serverMaxWindowBits: 10 } }),
  await enter({ ...webSocket, perMessageDeflate: false }),
  await enter({ transports: ["polling"] }),
  await enter({ transports: [Fetch] }),
  await enterPlain(true),
  await enterPlain(false),
];
const negotiated = ({ extensions }) => extensions?.includes("permessage-deflate");
assert.deepStrictEqual(everyone.map(negotiated), [true, true, true, false, false, undefined, undefined, true, false]);

// Random letters cannot be compressed. Zeros would hide lost bytes.
const text = Array.from({ length: 4000 }, (_, i) => `line ${i % 97} of é😀 `).join("");
const picture = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i >> 4) % 251));
const noise = Buffer.from(Array.from({ length: 3000 }, () => Math.random() * 256));
const small = Buffer.from([1, 2, 3]);
const size = Buffer.byteLength(text) + picture.length;

for (let round = 0; round < 3; round++) {
  const compressed = round !== 1; // the test turns compression off for the second round
  for (const args of [[text, picture, small, noise], ["short"]]) {
    const before = everyone.map((client) => client.bytes());
    const got = Promise.all(everyone.map((client) => client.next()));
    speaker.say(...args);
    (await got).forEach((got, i) => assert.deepStrictEqual(got, args, everyone[i].kind));
    if (args.length === 1) continue;
    everyone.forEach((client, i) => {
      if (client.extensions === undefined) return;
      const bytes = client.bytes() - before[i];
      if (negotiated(client) && compressed) assert.ok(bytes < size / 5, `${client.kind} got ${bytes} of ${size} bytes`);
      else assert.ok(bytes > size, `${client.kind} got ${bytes} of ${size} bytes`);
    });
  }
  // A message to one client.
  const before = speaker.bytes();
  assert.deepStrictEqual(await speaker.ask("message-with-ack", text), text);
  assert.equal(speaker.bytes() - before < size / 5, compressed, `the speaker got ${speaker.bytes() - before} bytes`);
  if (round < 2) {
    tell("reload");
    await told("reloaded");
  }
}

// Frames that break the rules.
/** Opens a WebSocket and sends bytes; resolves with the close code. */
async function closedWith(...bytes) {
  const ws = new WebSocket(address("/raw"), { perMessageDeflate: true });
  await event(ws, "open");
  assert.match(ws.extensions, /permessage-deflate/);
  const closed = event(ws, "close");
  ws._socket.write(Buffer.from(bytes));
  return within("the close", closed).then(([code]) => code);
}
assert.equal(await closedWith(0xc1, 0x84, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), 1002);
const bomb = await connect("/raw", { perMessageDeflate: { threshold: 0 } });
bomb.send(Buffer.alloc(50_000_000));
assert.equal((await bomb.ended).code, 1009);

everyone.forEach((client) => client.close());
speaker.close();
closeAll();
tell("finished");
